"""Duplicates: the same photograph twice, in two classes, or in two splits.

What is a copy is decided in ``near_copies.py``, and found once, by the audit.
"""

from __future__ import annotations

from pathlib import Path

from seedsweep.diagnosis.audited import EXAMPLES, Audited, why_split_is_fixed
from seedsweep.diagnosis.auditor import in_two_classes, leaked, shares_beside_training
from seedsweep.diagnosis.finding import COUNTS, MOVES, Check, Evidence, Finding, Verdict
from seedsweep.diagnosis.near_copies import Pair
from seedsweep.diagnosis.subject import Subject

CHECK = Check(
    "duplicates",
    "Duplicates",
    14,
    "Files that are equal byte by byte, and photographs, mirrored or turned ones too, whose own details agree as those "
    "of two copies do, over all classes and splits.",
)
MANY = 0.01  # of all images


def check(subject: Subject, folder: Path) -> list[Finding]:
    """Three findings: contradicting labels, leaks between the splits, and harmless copies."""
    facts = subject.audited
    labels, splits = facts.table.labels, facts.table.splits
    pairs = facts.pairs
    across_classes = [pair for pair in pairs if labels[pair.first] != labels[pair.second]]
    across_splits = [pair for pair in pairs if splits[pair.first] != splits[pair.second]]
    return [
        _contradictions(facts, across_classes, folder),
        _leaks(facts, across_splits, subject.given_manifest, folder),
        _copies(facts, pairs, folder),
    ]


def _contradictions(facts: Audited, pairs: list[Pair], folder: Path) -> Finding:
    verdict, text = Verdict.FINE, "No photograph lies in two classes."
    equal, near = in_two_classes(facts), [pair for pair in pairs if not pair.exact]
    files = [row for rows in equal.values() for row in rows]
    if equal or near:
        n = len(files) + len({row for pair in near for row in (pair.first, pair.second)})
        verdict = Verdict.FAULT if n > MANY * len(facts.table.paths) else Verdict.SUSPECT
        parts = []
        if equal:
            parts.append(
                f"{_photographs(len(equal), 'equal')} in two classes, such as {files[0][0]} and {files[1][0]}"
            )
        if near:
            parts.append(
                f"{_photographs(len(near), 'nearly equal')} in two classes, such as {_named(facts, near[0])}"
            )
        text = (
            f"{'; '.join(parts)}: one of two labels is wrong, or the classes overlap. Decide, and keep one file of "
            "each pair."
        )
    evidence, picture = _shown(facts, pairs, folder, "contradictions.png")
    return CHECK.found(verdict, text, evidence, picture=picture, title="Contradicting labels")


def _leaks(facts: Audited, pairs: list[Pair], manifest: str | None, folder: Path) -> Finding:
    verdict, text = Verdict.FINE, "No photograph lies in two splits."
    evidence, picture = _shown(facts, pairs, folder, "leaks.png")
    if pairs:
        shares = shares_beside_training(facts.table.splits, leaked(facts))
        bound = max(shares.values())
        evidence |= {f"{split}_share": share for split, share in shares.items()} | {MOVES: bound}
        # what can't move the accuracy by a point is no fault
        verdict = Verdict.FAULT if bound >= COUNTS else Verdict.SUSPECT
        named = " and ".join(f"{share:.1%} of the {split} images" for split, share in shares.items())
        fixed = why_split_is_fixed(facts, manifest)
        how = (
            f"each pair in one split. {fixed}" if fixed else "each pair together by a list (data.group=FILE)"
        )
        text = (
            f"{_photographs(len(pairs), 'equal or nearly equal')} in two splits ({named} have a copy in train), "
            f"such as {_named(facts, pairs[0])}: "
            f"that can move the accuracy there by up to {100 * bound:.1f} points. Remove the copies, or keep {how}."
        )
    return CHECK.found(verdict, text, evidence, picture=picture, title="Copies across splits")


def _copies(facts: Audited, pairs: list[Pair], folder: Path) -> Finding:
    share = len({pair.second for pair in pairs}) / len(facts.table.paths)
    verdict = Verdict.SUSPECT if share > 10 * MANY else Verdict.FINE
    text = "No photograph is there twice."
    if pairs:
        exact = sum(pair.exact for pair in pairs)
        text = (
            f"{share:.1%} of the images are copies of others: {exact} equal files and {len(pairs) - exact} pairs of "
            "near copies (saved anew, resized, mirrored, turned, or two shots of one object)."
        )
    evidence, picture = _shown(facts, pairs, folder, "duplicates.png")
    return CHECK.found(verdict, text, evidence | {"share": share}, picture=picture)


def _photographs(n: int, kind: str) -> str:
    return f"1 pair of {kind} photographs lies" if n == 1 else f"{n} pairs of {kind} photographs lie"


def _named(facts: Audited, pair: Pair) -> str:
    return f"{facts.name(pair.first)} and {facts.name(pair.second)}"


def _shown(facts: Audited, pairs: list[Pair], folder: Path, name: str) -> tuple[Evidence, Path | None]:
    """Returns the evidence of a finding, and its sheet: two photographs a pair, side by side."""
    examples = pairs[:EXAMPLES]
    evidence: Evidence = {
        "pairs": len(pairs),
        "exact": sum(pair.exact for pair in pairs),
        "examples": [[facts.name(p.first), facts.name(p.second), round(p.likeness, 4)] for p in examples],
        "not_listed": len(pairs) - len(examples),
    }
    if not pairs:
        return evidence, None
    facts.draw_where([row for pair in examples for row in (pair.first, pair.second)], folder / name)
    return evidence, Path(name)
