"""Duplicates: the same photograph twice, in two classes, or in two splits."""

from __future__ import annotations

from pathlib import Path

from seedsweep.diagnosis.audit.duplicates import Pair
from seedsweep.diagnosis.audited import EXAMPLES, Audited, why_split_is_fixed
from seedsweep.diagnosis.finding import Evidence, Finding, Verdict
from seedsweep.diagnosis.sheet import Photograph, draw_sheet
from seedsweep.diagnosis.subject import Subject

ORDER = 82
MEASURED = (
    "Files that are equal byte by byte, and photographs whose perceptual hash and pixels agree as those of two copies "
    "do, over all classes and splits."
)
MANY = 0.01  # of the images of a split


def check(subject: Subject, folder: Path) -> list[Finding]:
    """Three findings: contradicting labels, leaks between the splits, and harmless copies."""
    facts = subject.audited
    labels, splits = facts.table.labels, facts.table.splits
    across_classes = [pair for pair in facts.pairs if labels[pair.first] != labels[pair.second]]
    across_splits = [pair for pair in facts.pairs if splits[pair.first] != splits[pair.second]]
    return [
        _contradictions(facts, across_classes, folder),
        _leaks(facts, across_splits, subject.given_manifest, folder),
        _copies(facts, folder),
    ]


def _contradictions(facts: Audited, pairs: list[Pair], folder: Path) -> Finding:
    title = "Contradicting labels"
    rows = {row for pair in pairs for row in (pair.first, pair.second)}
    if not pairs:
        return _finding(
            facts, title, Verdict.FINE, "No photograph lies in two classes.", pairs, folder, "contradictions"
        )
    verdict = Verdict.FAULT if len(rows) > MANY * len(facts.table.paths) else Verdict.SUSPECT
    first = pairs[0]
    text = (
        f"{_photographs(pairs)} in two classes, such as {facts.name(first.first)} and {facts.name(first.second)}: one "
        "of two labels is wrong, or the classes overlap. Decide, and keep one file of each pair."
    )
    return _finding(facts, title, verdict, text, pairs, folder, "contradictions")


def _leaks(facts: Audited, pairs: list[Pair], manifest: str | None, folder: Path) -> Finding:
    title = "Copies across splits"
    splits = facts.table.splits
    if not pairs:
        return _finding(
            facts, title, Verdict.FINE, "No photograph lies in two splits.", pairs, folder, "leaks"
        )
    shares = {}
    for split in ("val", "test"):
        seen = {
            row
            for p in pairs
            for row in (p.first, p.second)
            if splits[row] == split and _meets_train(splits, p)
        }
        if n := int((splits == split).sum()):
            shares[split] = len(seen) / n
    worst = max(shares.values(), default=0.0)
    named = " and ".join(f"{share:.1%} of the {split} images" for split, share in shares.items())
    first = pairs[0]
    fixed = why_split_is_fixed(facts, manifest)
    how = f"each pair in one split. {fixed}" if fixed else "them together with data.group_regex"
    text = (
        f"{_photographs(pairs)} in two splits ({named} have a copy in train), such as {facts.name(first.first)} and "
        f"{facts.name(first.second)}: the accuracy there is partly memory. Remove the copies, or keep "
        f"{how}."
    )
    verdict = Verdict.FAULT if worst > MANY else Verdict.SUSPECT
    return _finding(
        facts, title, verdict, text, pairs, folder, "leaks", {f"{k}_share": v for k, v in shares.items()}
    )


def _copies(facts: Audited, folder: Path) -> Finding:
    pairs = facts.pairs
    share = len({pair.second for pair in pairs}) / len(facts.table.paths)
    text = "No photograph is there twice."
    if pairs:
        exact = sum(pair.exact for pair in pairs)
        text = (
            f"{share:.1%} of the images are copies of others: {exact} equal files and {len(pairs) - exact} pairs of "
            "near duplicates (saved anew, resized, or two shots of one object)."
        )
    verdict = Verdict.SUSPECT if share > 10 * MANY else Verdict.FINE
    return _finding(facts, "Duplicates", verdict, text, pairs, folder, "duplicates", {"share": share})


def _meets_train(splits: object, pair: Pair) -> bool:
    return "train" in (splits[pair.first], splits[pair.second])  # type: ignore[index]


def _photographs(pairs: list[Pair]) -> str:
    return (
        "1 photograph lies"
        if len(pairs) == 1
        else f"{len(pairs)} pairs of equal or nearly equal photographs lie"
    )


def _finding(
    facts: Audited,
    title: str,
    verdict: Verdict,
    text: str,
    pairs: list[Pair],
    folder: Path,
    picture: str,
    more: dict[str, float] | None = None,
) -> Finding:
    """Makes a finding with examples; the sheet shows two photographs a pair, side by side."""
    shown = pairs[:EXAMPLES]
    evidence: Evidence = {
        "pairs": len(pairs),
        "exact": sum(pair.exact for pair in pairs),
        "examples": [[facts.name(p.first), facts.name(p.second), round(p.likeness, 4)] for p in shown],
        "not_listed": len(pairs) - len(shown),
        **(more or {}),
    }
    drawn = None
    if pairs:
        drawn = Path(f"{picture}.png")
        photographs = [_photograph(facts, row) for p in shown for row in (p.first, p.second)]
        draw_sheet(photographs, folder / drawn, how=facts.prepared.pixels.how)
    return Finding("duplicates", title, verdict, MEASURED, text, evidence, picture=drawn)


def _photograph(facts: Audited, row: int) -> Photograph:
    lines = (f"{facts.class_of(row)}, {facts.table.splits[row]}", facts.table.paths[row].name)
    return Photograph(facts.table.paths[row], lines)
