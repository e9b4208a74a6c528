"""Which images are of one photograph, as names, folders or capture times suggest, and what such groups explain."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from seedsweep.diagnosis.name_patterns import NamePattern, name_patterns, words_of
from seedsweep.diagnosis.nearness import Labels, Nearness, Neighbours, measure_nearness

MORE = 2  # groups, for each class: with fewer a name is but the class's own
IN_COMPANY = 0.5  # share of images that are not alone in their group: fewer groups of them tell nothing
COPIED = 0.02  # the same for copies that a program has marked
WORDS = 0.1  # of the images: with more different words in the names these are codes, no words
REPEATED = 0.5  # different endings for each image: with fewer, images are counted anew in each group
EXCESS = 0.02  # share of classes told beyond chance that is worth a word
COUNTED = 0.1  # share told less than by chance, from which names count the images of each class
FOLDERS = "the folders"
GAPS = (60, 600, 3600)  # seconds without a photograph that end a series


@dataclass(frozen=True)
class Grouping:
    """Groups of images, such as those of one photograph, and what they tell about classes."""

    pattern: str  # the regular expression that makes the groups, or what else does, such as "the folders"
    groups: list[str]  # [N] names
    count: int  # of groups
    pure: int  # groups of at least two images that hold one class only
    several: int  # groups of at least two images
    # share of images whose class is the most frequent one of the others of their group; images without others
    # count as not told
    told: float
    expected: float  # the same for groups of these sizes filled at random
    regex: str | None = None  # for ``data.group_regex``; None: no expression makes these groups
    nearness: Nearness | None = None  # of the images of a group, by a net's features; None: not looked at
    one: str = "photograph"  # what a group is called: photograph, series (of photographs) or folder

    def torn_by(self, splits: NDArray[np.str_]) -> tuple[int, int]:
        """Returns the groups with images in training and beside it, and their images beside it; ``splits`` is [N]."""
        groups, train = np.asarray(self.groups), splits == "train"
        torn = np.intersect1d(groups[train], groups[~train])
        return len(torn), int(np.isin(groups[~train], torn).sum())

    @property
    def many(self) -> str:
        """What groups are called."""
        return self.one if self.one == "series" else f"{self.one}s"


def measure_grouping(pattern: str, groups: Sequence[str], labels: Labels) -> Grouping:
    """Counts how often a group's other images tell an image's class."""
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    content = _content(numbers, labels)
    sizes = content.sum(1)
    several = sizes > 1
    pure = (content.max(1) == sizes) & several
    rng = np.random.default_rng(0)
    drawn = [_told(numbers, rng.permutation(labels)) for _ in range(5)]
    return Grouping(
        pattern,
        list(groups),
        len(sizes),
        int(pure.sum()),
        int(several.sum()),
        _told(numbers, labels),
        float(np.mean(drawn)),
    )


def guess_grouping(
    names: Sequence[str],
    labels: Labels,
    times: Sequence[float | None] | None = None,
    neighbours: Neighbours | None = None,
) -> Grouping | None:
    """Looks for photographs that several images come from.

    With features, groups are chosen whose images are nearer to one another than images of their classes are: the
    coarsest ones whose further pairs are still clearly nearer. By names alone, those that tell the classes best are
    taken, or else those whose images are counted anew in each group.

    Args:
        names: of the files, with the folders between the class's and the file, if any: ``plate7/03.png``.
        times: when each was taken, in seconds; None where unknown.
        neighbours: by a net's features; None: not looked at.

    Returns:
        None where nothing shows photographs that are more than the classes themselves.
    """
    found = list(_candidates(names, labels, times or []))
    if neighbours is None:
        return _by_names(found, names, labels)
    best: tuple[_Candidate, Nearness] | None = None
    for each in sorted(found, key=lambda candidate: -candidate.count):
        numbers = each.numbers[neighbours.rows]
        before = None if best is None else best[0].numbers[neighbours.rows]
        nearness = measure_nearness(numbers, labels, neighbours)
        further = nearness
        if before is not None and _are_parts(before, numbers):
            further = measure_nearness(numbers, labels, neighbours, before)
        elif best is not None and nearness.share - nearness.chance <= best[1].share - best[1].chance:
            continue
        if further.is_clear and nearness.is_clear:
            best = each, nearness
    return None if best is None else replace(best[0].measured(names, labels), nearness=best[1])


@dataclass(frozen=True)
class _Candidate:
    """Groups that may be photographs: their numbers [N], and what makes them."""

    numbers: Labels
    count: int
    made_by: str
    pattern: NamePattern | None = None

    def measured(self, names: Sequence[str], labels: Labels) -> Grouping:
        groups = [f"{self.made_by} {number}" for number in self.numbers.tolist()]
        if self.pattern is None:
            one = "folder" if self.made_by == FOLDERS else "series"
            return replace(measure_grouping(self.made_by, groups, labels), one=one)
        regex, one = self.pattern.regex, "series" if self.pattern.is_block else "photograph"
        return replace(measure_grouping(regex, _matched(regex, names), labels), regex=regex, one=one)


def _candidates(names: Sequence[str], labels: Labels, times: Sequence[float | None]) -> Iterator[_Candidate]:
    """Yields different groupings that have enough groups and enough images in them."""
    seen = set()

    def worth(made: Sequence[str], made_by: str, pattern: NamePattern | None = None) -> Iterator[_Candidate]:
        _, first, numbers, sizes = np.unique(
            np.asarray(made), return_index=True, return_inverse=True, return_counts=True
        )
        least = COPIED if pattern is not None and pattern.copies else IN_COMPANY
        if len(sizes) < MORE * (int(labels.max()) + 1) or (sizes[numbers] > 1).mean() < least:
            return
        key = first[numbers].tobytes()  # the same groups, whatever they are called
        if key not in seen:
            seen.add(key)
            yield _Candidate(numbers, len(sizes), made_by, pattern)

    files = [name.rpartition("/")[2] for name in names]
    for pattern in name_patterns(files):
        yield from worth(_matched(pattern.regex, names), pattern.regex, pattern)
    folders = [name.split("/")[:-1] for name in names]
    for depth in range(1, max(map(len, folders), default=0) + 1):
        yield from worth(["/".join(each[:depth]) for each in folders], FOLDERS)
    known = [(time, row) for row, time in enumerate(times) if time is not None]
    if len(known) > 0.9 * len(names):
        for gap in GAPS:
            yield from worth(
                _series(sorted(known), gap, len(names)),
                f"the times at which they were taken (a pause of {gap} s ends a group)",
            )


def _series(known: Sequence[tuple[float, int]], gap: float, n: int) -> list[str]:
    made = [f"? {row}" for row in range(n)]
    number, before = 0, known[0][0]
    for time, row in known:
        number += time - before > gap
        made[row], before = str(number), time
    return made


def _matched(regex: str, names: Sequence[str]) -> list[str]:
    """Returns each file's group as ``data.group_regex`` makes it; a file that does not match is its own."""
    compiled = re.compile(regex)
    return [match.group(1) if (match := compiled.search(name.rpartition("/")[2])) else name for name in names]


def _by_names(found: Sequence[_Candidate], names: Sequence[str], labels: Labels) -> Grouping | None:
    """Chooses by the classes that groups tell; else by counting."""
    words = np.unique([words_of(name) for name in names], return_inverse=True)[1]
    strata = words if words.max() < WORDS * len(names) else np.zeros_like(words)
    rng = np.random.default_rng(0)
    orders = [_dealt_within(strata, rng) for _ in range(5)]
    told: list[tuple[float, _Candidate]] = []
    for each in found:
        if each.pattern is not None and each.pattern.is_block and not each.pattern.has_rest:
            continue  # neighbours in a series that may be sorted by class: names alone prove nothing
        by_chance = [_told(each.numbers, labels[order]) for order in orders]
        told.append((_told(each.numbers, labels) - float(np.mean(by_chance)), each))
    excess, best = max(told, key=lambda item: item[0], default=(0.0, None))
    if best is None or excess < EXCESS:
        # one image of each class in every group: the names count the images of a class, and show no photographs
        as_mixed = (each for more, each in told if more > -COUNTED)
        best = next((each for each in as_mixed if _is_counted_anew(each, names)), None)
    return None if best is None else best.measured(names, labels)


def _is_counted_anew(candidate: _Candidate, names: Sequence[str]) -> bool:
    """Says whether what tells the images of a group apart is the same in other groups, as the numbers of pieces are."""
    pattern = candidate.pattern
    if pattern is None or pattern.is_block:
        return False
    if pattern.copies:
        return True
    compiled = re.compile(pattern.regex)
    rests = set()
    for name in names:
        if match := compiled.search(name):
            rests.add(name[: match.start(1)] + name[match.end(1) :].rpartition(".")[0])
    return len(rests) < REPEATED * len(names) and candidate.count > len(rests) ** 0.5


def _dealt_within(strata: Labels, rng: np.random.Generator) -> Labels:
    """Returns an order of rows that moves each one within its stratum."""
    order = np.arange(len(strata))
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        order[rows] = rng.permutation(rows)
    return order


def _are_parts(finer: Labels, coarser: Labels) -> bool:
    """Says whether each of the finer groups lies within one of the coarser ones."""
    pairs = np.unique(np.stack([finer, coarser], 1), axis=0)
    return len(pairs) == len(np.unique(finer))


def _content(numbers: Labels, labels: Labels) -> Labels:
    """Counts the images of each group and class."""
    content = np.zeros((int(numbers.max()) + 1, int(labels.max()) + 1), dtype=np.int64)
    np.add.at(content, (numbers, labels), 1)
    return content


def _told(numbers: Labels, labels: Labels) -> float:
    rows = np.arange(len(labels))
    others = _content(numbers, labels)[numbers]
    others[rows, labels] -= 1
    own = others[rows, labels]
    return float(((own == others.max(1)) & (own > 0)).mean())
