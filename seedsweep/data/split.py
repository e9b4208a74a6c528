"""Splits images into train, val and test: stratified, seeded, groups kept on one side."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedsweep.errors import SeedsweepError
from seedsweep.names import some

log = logging.getLogger(__name__)


def groups_of(paths: Sequence[Path], pattern: str | None) -> list[str]:
    """Returns each file's group: the first group of ``pattern`` that matched its name, or its own path.

    Raises:
        SeedsweepError: the pattern is no regular expression, or captures nothing.
    """
    groups = [path.as_posix() for path in paths]
    if pattern is None:
        return groups
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise SeedsweepError(f"data.group_regex='{pattern}' is no regular expression: {error}.") from error
    if regex.groups == 0:
        raise SeedsweepError(
            f"data.group_regex='{pattern}' captures nothing: put the group's part in brackets."
        )
    matched = 0
    for row, path in enumerate(paths):
        match = regex.search(path.name)
        name = next((g for g in match.groups() if g is not None), None) if match else None
        if name is not None:
            groups[row] = name
            matched += 1
    if matched < len(paths):
        log.warning(
            "data.group_regex matched %d of %d files; each other file is its own group", matched, len(paths)
        )
    return groups


def joined(groups: Sequence[str], pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Returns the groups after those of each pair of rows became one."""
    leader: dict[str, str] = {}

    def of(group: str) -> str:
        while (above := leader.get(group, group)) != group:
            group = above
        return group

    for first, second in pairs:
        one, other = of(groups[first]), of(groups[second])
        if one != other:
            leader[other] = one
    return [of(group) for group in groups]


def split_images(
    labels: NDArray[np.int64],
    groups: Sequence[str],
    classes: Sequence[str],
    fractions: dict[str, float],
    seed: int,
) -> NDArray[np.str_]:
    """Assigns each image to a split.

    Groups are dealt out in random order, larger ones first; each goes where its classes are still most wanted,
    which keeps every split's class shares near the whole's. With one image a group this is plain stratified
    sampling.

    Args:
        labels: [N] class numbers.
        groups: [N] group names.
        fractions: share of each split; those of 0 are left out.

    Returns:
        [N] split names.

    Raises:
        SeedsweepError: a class has fewer images than there are splits.
    """
    splits = [name for name, share in fractions.items() if share > 0]
    counts = np.bincount(labels, minlength=len(classes))
    small = [(name, int(n)) for name, n in zip(classes, counts, strict=True) if n < len(splits)]
    if small:
        first, rest = small[0], "".join(f", {name} has {n}" for name, n in small[1:])
        those = "the class" if len(small) == 1 else "these classes"
        raise SeedsweepError(
            f"Class {first[0]} has {first[1]} image{'s' if first[1] != 1 else ''}{rest}, fewer than the "
            f"{len(splits)} splits ({', '.join(splits)}): add images or leave {those} out."
        )
    rng = np.random.default_rng(seed)
    _, group_of = np.unique(np.asarray(groups), return_inverse=True)
    n_groups = int(group_of.max()) + 1
    content = np.zeros((n_groups, len(classes)))
    np.add.at(content, (group_of, labels), 1)
    # every split gets one image of each class before shares are looked at
    wanted = np.maximum(np.outer([fractions[name] for name in splits], counts), 1)
    placed = np.zeros_like(wanted)
    chosen = np.zeros(n_groups, dtype=np.int64)
    order = rng.permutation(n_groups)
    for group in order[np.argsort(-content[order].sum(1), kind="stable")]:
        lack = (wanted - placed) / wanted
        score = (lack * (content[group] / counts)).sum(1)
        best = np.flatnonzero(score >= score.max() - 1e-12)
        pick = int(best[0]) if len(best) == 1 else int(rng.choice(best))
        chosen[group] = pick
        placed[pick] += content[group]
    return np.asarray(splits)[chosen[group_of]]


def fold_images(
    labels: NDArray[np.int64],
    groups: Sequence[str],
    classes: Sequence[str],
    folds: int,
    fold: int,
    val_fraction: float,
    seed: int,
) -> NDArray[np.str_]:
    """Makes one fold the test part, and takes validation from the rest as :func:`split_images` does.

    Args:
        labels: [N] class numbers.
        groups: [N] group names; no group is torn.
        classes: names, for messages.
        folds: in which each image is once.
        fold: number of the test part; from ``folds`` on those of further repeats, dealt anew.
        val_fraction: share of all images.
        seed: of the dealing.

    Returns:
        [N] split names.

    Raises:
        SeedsweepError: a class has fewer groups than there are folds.
    """
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    what = "groups of images" if len(names) < len(labels) else "images"
    counts = [len(np.unique(group_of[labels == label])) for label in range(len(classes))]
    if small := [f"{name} ({n})" for name, n in zip(classes, counts, strict=True) if n < folds]:
        raise SeedsweepError(
            f"data.folds={folds} needs as many {what} of each class, and some have fewer: {some(small)}; take fewer "
            "folds, add images or leave these classes out."
        )
    repeat, number = divmod(fold, folds)
    # not scikit-learn's StratifiedGroupKFold: with 20,000 images it takes nine times as long
    dealt = split_images(labels, groups, classes, {str(n): 1 / folds for n in range(folds)}, seed + repeat)
    splits = np.where(dealt == str(number), "test", "train").astype("<U5")
    rest = np.flatnonzero(splits == "train")
    of_rest = val_fraction / (1 - 1 / folds)
    splits[rest] = split_images(
        labels[rest],
        [groups[row] for row in rest.tolist()],
        classes,
        {"train": 1 - of_rest, "val": of_rest},
        seed + repeat,
    )
    return splits
