"""Photographs: are pieces of one photograph on both sides of the split, and does each hold one class only?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from seedsweep.diagnosis.audited import why_split_is_fixed
from seedsweep.diagnosis.auditor import HINT
from seedsweep.diagnosis.finding import COUNTS, MOVES, Check, Evidence, Finding, Verdict, capital
from seedsweep.diagnosis.out_of_fold import outside_fold, was_asked
from seedsweep.diagnosis.split_by_group import lacking_if_grouped, setting_that_groups
from seedsweep.diagnosis.subject import Subject
from seedsweep.stats.pairs import compare

CHECK = Check(
    "photographs",
    "Photographs and split",
    13,
    "A linear probe judged on images of photographs that it has seen parts of, and on images of unseen photographs, "
    "where data.group_regex or the files' names tell which images belong together.",
)
GAP = 0.04  # of accuracy: if it may be chance, it is worth more photographs
FEW = 0.1  # share of photographs torn below which they are few
RIM = 2  # of a thumbnail's pixels, on each side
MOST = 3000  # images that are compared, drawn
NEAR = 0.1  # of the median distance of two images' rims: two of one background
COMMON = 0.1  # share of the images on one background from which on it is the background of all
RECURRING = 0.3  # share of the images on a background that recurs, worth a word


def check(subject: Subject, folder: Path) -> Finding:
    """Compares random folds with folds that keep photographs together."""
    facts = subject.audited
    grouping = facts.grouping
    if grouping is None:
        return _without_groups(subject)
    seen = subject.out_of_fold
    groups = [grouping.groups[row] for row in seen.rows]
    classes = len(facts.table.classes)
    apart, joined = (outside_fold(seen.parts, seen.labels, each, classes) for each in (None, groups))
    asked = was_asked(apart, seen.labels) & was_asked(joined, seen.labels)
    alone, together = ((each.argmax(1) == seen.labels)[asked] for each in (apart, joined))
    gap = compare(alone, together, np.asarray(groups)[asked]).difference
    splits = facts.table.splits
    torn = grouping.torn_by(splits)[1] / max(int((splits != "train").sum()), 1)
    evidence: Evidence = {
        "pattern": grouping.pattern,
        "photographs": grouping.count,
        "of_one_class": grouping.pure,
        "with_several_images": grouping.several,
        "told_by_photograph": grouping.told,
        "told_by_chance": grouping.expected,
        "probe_random": float(alone.mean()),
        "probe_grouped": float(together.mean()),
        "too_high": [gap.value, gap.low, gap.high],
        "torn_by_split": torn,
        MOVES: max(gap.value, 0.0) * torn,
        "images": len(alone),
    }
    alike = ""
    if grouping.nearness is not None:
        evidence |= {"near_share": grouping.nearness.share, "near_chance": grouping.nearness.chance}
        alike = (
            f" ({grouping.nearness.share:.0%} of the images most alike are of one of these groups, by chance "
            f"{grouping.nearness.chance:.0%})"
        )
    one_class = (
        f"{grouping.pure} of {grouping.several} {grouping.many} with several images hold one class only, and an "
        f"image's neighbours in its {grouping.one} tell {grouping.told:.1%} of the classes (chance: "
        f"{grouping.expected:.1%})"
    )
    numbers = (
        f"a linear probe gets {alone.mean():.1%} where it has seen other parts of the same {grouping.many}, and "
        f"{together.mean():.1%} on unseen ones"
    )
    if not asked.all():
        numbers += f", without the {(~asked).sum()} images of classes that too few {grouping.many} show"
    between = f"{_points(gap.value)} between them (95 %: {_points(gap.low)} to {_points(gap.high)})"
    apart_from = f"{grouping.count} groups of images are told apart{alike}, and"
    unlike = grouping.nearness is not None and not grouping.nearness.is_clear
    if gap.low <= 0 or unlike:
        if gap.value < GAP or unlike:
            text = f"{apart_from} no difference beyond chance shows: {numbers}; {between}."
            return CHECK.found(Verdict.FINE, text, evidence)
        text = (
            f"{apart_from} {numbers}. With {len(alone)} images the {between} can be chance: more photographs would "
            "decide it."
        )
        return CHECK.found(Verdict.UNKNOWN, text, evidence)
    if gap.value * torn < COUNTS:
        verdict, text = Verdict.FINE, f"{apart_from} {numbers}: {_kept_by(torn, grouping.many)}."
        if grouping.told - grouping.expected >= HINT and gap.value >= GAP:
            verdict = Verdict.SUSPECT
            text += f" {capital(one_class)}: the net may learn a photograph's light instead of the object."
        return CHECK.found(verdict, text, evidence)
    told_by = "The names tell" if grouping.regex is not None else f"{capital(grouping.pattern)} tell"
    units = "series of photographs" if grouping.one == "series" else grouping.many
    text = (
        f"{told_by} of {grouping.count} {units}{alike}, and the split tears them apart: "
        f"{torn:.0%} of the validation and test images have a part of their {grouping.one} in training, so that the "
        f"accuracy is too high: {numbers}; {between}. {capital(one_class)}."
    )
    remedy: list[str] = []
    if fixed := why_split_is_fixed(facts, subject.given_manifest):
        text += f" {fixed}, so that each {grouping.one}'s images are in one split."
    elif lacking := lacking_if_grouped(facts, grouping, subject.config.data):
        text += f" No setting can mend it here: kept together, {lacking}; photograph these classes in more photographs."
    else:
        remedy = [setting_that_groups(facts, grouping, folder)]
    return CHECK.found(Verdict.FAULT, text, evidence, remedy)


def _without_groups(subject: Subject) -> Finding:
    """Says that nothing shows photographs, and whether the images' edges still fall into a few kinds."""
    text = (
        "Neither the files' names, folders nor capture times show photographs that several images come from."
    )
    facts = subject.audited
    share = backgrounds_that_recur(facts.small)
    evidence: Evidence = {"images_on_recurring_backgrounds": share}
    if share < RECURRING:
        return CHECK.found(Verdict.FINE, text, evidence)
    text += (
        f" But {share:.0%} of the images lie on backgrounds that recur in few images each: they may be of one "
        "photograph. If so, name the groups in a file with the columns path and group (data.group=FILE)."
    )
    return CHECK.found(Verdict.SUSPECT, text, evidence)


def _points(accuracy: float) -> str:
    return f"{100 * accuracy:.1f} points"


def _kept_by(torn: float, many: str) -> str:
    """Says what a split does that does not make the accuracy much too high."""
    if torn == 0:
        return f"the split keeps {many} together, as it should"
    size = "few" if torn < FEW else "some"
    return f"the split tears {size} {many} apart ({torn:.1%} of the validation and test images)"


def backgrounds_that_recur(small: NDArray[np.uint8]) -> float:
    """Returns the share (0..1) of thumbnails [N, side, side, 3] on a background of at least 3 and at most a tenth of
    them."""
    if len(small) > MOST:
        small = small[np.sort(np.random.default_rng(0).permutation(len(small))[:MOST])]
    rim = np.ones(small.shape[1:3], dtype=bool)
    rim[RIM:-RIM, RIM:-RIM] = False
    x = small[:, rim].reshape(len(small), -1).astype(np.float32)
    squares = (x**2).sum(1)
    distance = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * x @ x.T, 0))
    pairs = np.argwhere(distance < NEAR * np.median(distance))
    graph = coo_array((np.ones(len(pairs)), pairs.T), shape=distance.shape)
    _, number = connected_components(graph, directed=False)
    sizes = np.bincount(number)[number]
    return float(((sizes >= 3) & (sizes <= COMMON * len(small))).mean())
