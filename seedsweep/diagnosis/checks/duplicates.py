"""Duplicates: the same photograph twice, in two classes, or in two splits.

Candidates are pairs whose perceptual hashes (pHash, ``imagehash``) differ in few bits. Single seeds on one background
resemble one another, so a pair counts only if its pixels agree as those of two copies do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seedsweep.diagnosis.audited import EXAMPLES, Audited, why_split_is_fixed
from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict
from seedsweep.diagnosis.subject import Subject

CHECK = Check(
    "duplicates",
    "Duplicates",
    14,
    "Files that are equal byte by byte, and photographs whose perceptual hash and pixels agree as those of two copies "
    "do, over all classes and splits.",
)
MANY = 0.01  # of the images of a split
BITS = 10  # of 64 that may differ: saving anew at quality 30 turns up to 6, another photograph about 30
BLOCK = 1024
SAME = 0.985  # likeness of the thumbnails' pixels
FLAT = 4.0  # an image whose pixels vary less than this, of 255, shows nothing that could be recognised


@dataclass(frozen=True)
class Pair:
    """Rows of two images that show the same photograph; ``exact`` if the files are equal byte by byte."""

    first: int
    second: int
    exact: bool
    likeness: float  # of the pixels, 1 for equal ones


def check(subject: Subject, folder: Path) -> list[Finding]:
    """Three findings: contradicting labels, leaks between the splits, and harmless copies."""
    facts = subject.audited
    labels, splits = facts.table.labels, facts.table.splits
    pairs = find_pairs(facts.table.digests, facts.small)
    across_classes = [pair for pair in pairs if labels[pair.first] != labels[pair.second]]
    across_splits = [pair for pair in pairs if splits[pair.first] != splits[pair.second]]
    return [
        _contradictions(facts, across_classes, folder),
        _leaks(facts, across_splits, subject.given_manifest, folder),
        _copies(facts, pairs, folder),
    ]


def _contradictions(facts: Audited, pairs: list[Pair], folder: Path) -> Finding:
    verdict, text = Verdict.FINE, "No photograph lies in two classes."
    if pairs:
        rows = {row for pair in pairs for row in (pair.first, pair.second)}
        verdict = Verdict.FAULT if len(rows) > MANY * len(facts.table.paths) else Verdict.SUSPECT
        text = (
            f"{_photographs(pairs)} in two classes, such as {_named(facts, pairs[0])}: one of two labels is wrong, or "
            "the classes overlap. Decide, and keep one file of each pair."
        )
    evidence, picture = _shown(facts, pairs, folder, "contradictions.png")
    return CHECK.found(verdict, text, evidence, picture=picture, title="Contradicting labels")


def _leaks(facts: Audited, pairs: list[Pair], manifest: str | None, folder: Path) -> Finding:
    verdict, text = Verdict.FINE, "No photograph lies in two splits."
    evidence, picture = _shown(facts, pairs, folder, "leaks.png")
    if pairs:
        splits = facts.table.splits
        trained = [pair for pair in pairs if "train" in (splits[pair.first], splits[pair.second])]
        rows = np.unique([row for pair in trained for row in (pair.first, pair.second)]).astype(int)
        shares = {
            split: float((splits[rows] == split).sum() / n)
            for split in ("val", "test")
            if (n := int((splits == split).sum()))
        }
        evidence |= {f"{split}_share": share for split, share in shares.items()}
        verdict = Verdict.FAULT if max(shares.values(), default=0.0) > MANY else Verdict.SUSPECT
        named = " and ".join(f"{share:.1%} of the {split} images" for split, share in shares.items())
        fixed = why_split_is_fixed(facts, manifest)
        how = f"each pair in one split. {fixed}" if fixed else "them together with data.group_regex"
        text = (
            f"{_photographs(pairs)} in two splits ({named} have a copy in train), such as {_named(facts, pairs[0])}: "
            f"the accuracy there is partly memory. Remove the copies, or keep {how}."
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
            "near duplicates (saved anew, resized, or two shots of one object)."
        )
    evidence, picture = _shown(facts, pairs, folder, "duplicates.png")
    return CHECK.found(verdict, text, evidence | {"share": share}, picture=picture)


def _photographs(pairs: list[Pair]) -> str:
    if len(pairs) == 1:
        return "1 photograph lies"
    return f"{len(pairs)} pairs of equal or nearly equal photographs lie"


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
    rows = [row for pair in examples for row in (pair.first, pair.second)]
    facts.draw([(row, (f"{facts.class_of(row)}, {facts.table.splits[row]}",)) for row in rows], folder / name)
    return evidence, Path(name)


def find_pairs(digests: Sequence[str], small: NDArray[np.uint8]) -> list[Pair]:
    """Returns pairs of exact and near duplicates, each copy with the first of its kind.

    Args:
        digests: SHA-256 of each file.
        small: thumbnails, [N, side, side, 3].
    """
    first: dict[str, int] = {}
    pairs = []
    for row, digest in enumerate(digests):
        if digest in first:
            pairs.append(Pair(first[digest], row, exact=True, likeness=1.0))
        first.setdefault(digest, row)
    rows = np.asarray(sorted(first.values()), dtype=np.int64)
    rows = rows[small[rows].std((1, 2)).max(1) >= FLAT]
    hashes = np.asarray([_hash(small[row]) for row in rows], dtype=np.uint64)
    for start in range(0, len(rows), BLOCK):
        distance = np.bitwise_count(hashes[start : start + BLOCK, None] ^ hashes[None])
        for left, right in np.argwhere(distance <= BITS):
            a, b = int(rows[start + left]), int(rows[right])
            if a < b and (likeness := _likeness(small[a], small[b])) >= SAME:
                pairs.append(Pair(a, b, exact=False, likeness=likeness))
    return pairs


def _hash(thumbnail: NDArray[np.uint8]) -> int:
    bits = imagehash.phash(Image.fromarray(thumbnail)).hash.ravel()
    return int(np.packbits(bits).view(">u8")[0])


def _likeness(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Returns 1 less the squared difference, in units of the images' own variance; 1 for equal images.

    Unlike a correlation it also sees another light or colour: two seeds, one form.
    """
    x, y = a.astype(np.float64), b.astype(np.float64)
    variance = (x.var((0, 1)).mean() + y.var((0, 1)).mean()) / 2
    return float(1 - ((x - y) ** 2).mean() / (2 * variance))
