"""Photographs: are pieces of one photograph on both sides of the split, and does each hold one class only?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedsweep.diagnosis.audited import why_split_is_fixed
from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict, capital
from seedsweep.diagnosis.out_of_fold import outside_fold, was_asked
from seedsweep.diagnosis.subject import Subject

CHECK = Check(
    "photographs",
    "Photographs and split",
    13,
    "A linear probe judged on images of photographs that it has seen parts of, and on images of unseen photographs, "
    "where data.group_regex or the files' names tell which images belong together.",
)
GAP = 0.04  # of accuracy: less is no reason to doubt a split
ERRORS = 3  # standard errors of the paired difference
TORN = 0.2
"""Share of the validation and test images with a part of their photograph in training that makes a split a fault.

It is judged apart from the gap, which is already a mean over all images, those that are alone in their photograph too.
A split by photographs tears none apart, but for some names that are misread. A random one tears at least 0.3: names
count from two images a photograph on, so that at least half the images have others, and with our shares at
least 0.6 of those find one of them in training.
"""
FEW = 0.1  # below it few photographs are torn apart, from it to TORN some
HINT = 0.2  # by how much naming the photograph must beat chance to be worth a word


def check(subject: Subject, folder: Path) -> Finding:
    """Compares random folds with folds that keep photographs together."""
    facts = subject.audited
    grouping = facts.grouping
    if grouping is None:
        text = "Neither the files' names, folders nor capture times show photographs that several images come from."
        return CHECK.found(Verdict.FINE, text)
    seen = subject.out_of_fold
    groups = [grouping.groups[row] for row in seen.rows]
    classes = len(facts.table.classes)
    apart, joined = (outside_fold(seen.parts, seen.labels, each, classes) for each in (None, groups))
    asked = was_asked(apart, seen.labels) & was_asked(joined, seen.labels)
    alone, together = ((each.argmax(1) == seen.labels)[asked] for each in (apart, joined))
    gap = float(alone.mean() - together.mean())
    error = float((alone != together).sum()) ** 0.5 / len(alone)
    torn = _torn_share(facts.table.splits, grouping.groups)
    evidence: Evidence = {
        "pattern": grouping.pattern,
        "photographs": grouping.count,
        "of_one_class": grouping.pure,
        "with_several_images": grouping.several,
        "told_by_photograph": grouping.told,
        "told_by_chance": grouping.expected,
        "probe_random": float(alone.mean()),
        "probe_grouped": float(together.mean()),
        "torn_by_split": torn,
        "images": len(alone),
    }
    one_class = (
        f"{grouping.pure} of {grouping.several} photographs with several images hold one class only, and an image's "
        f"neighbours in its photograph tell {grouping.told:.1%} of the classes (chance: {grouping.expected:.1%})"
    )
    numbers = (
        f"a linear probe gets {alone.mean():.1%} where it has seen other parts of the same photographs, and "
        f"{together.mean():.1%} on unseen ones"
    )
    if not asked.all():
        numbers += f", without the {(~asked).sum()} images of classes that too few photographs show"
    apart_from = f"{grouping.count} groups of images are told apart, and"
    if gap < GAP:
        text = f"{apart_from} they do not matter much: {numbers}."
        return CHECK.found(Verdict.FINE, text, evidence)
    if gap < ERRORS * error:
        text = (
            f"{apart_from} {numbers}. With {len(alone)} images the {100 * gap:.1f} points between them can be chance: "
            "more images would decide it."
        )
        return CHECK.found(Verdict.UNKNOWN, text, evidence)
    if torn < TORN and gap * torn < GAP:
        verdict, text = Verdict.FINE, f"{apart_from} {numbers}: {_kept_by(torn)}."
        if grouping.told - grouping.expected >= HINT:
            verdict = Verdict.SUSPECT
            text += f" {capital(one_class)}: the net may learn a photograph's light instead of the object."
        return CHECK.found(verdict, text, evidence)
    text = (
        f"The names tell of {grouping.count} photographs, and the split tears them apart: {torn:.0%} of the "
        f"validation and test images have a part of their photograph in training, so that the accuracy is too "
        f"high: {numbers}. {capital(one_class)}."
    )
    if fixed := why_split_is_fixed(facts, subject.given_manifest):
        text += f" {fixed}, so that each photograph's images are in one split."
    remedy = [] if fixed or grouping.regex is None else [f"data.group_regex='{grouping.regex}'"]
    return CHECK.found(Verdict.FAULT, text, evidence, remedy)


def _torn_share(splits: NDArray[np.str_], groups: Sequence[str]) -> float:
    """Returns the share (0..1) of the images beside training whose group has images in training.

    It looks at the split itself: a group_regex, a manifest or folders may have kept the photographs together.
    """
    in_training = np.isin(groups, np.asarray(groups)[splits == "train"])[splits != "train"]
    return float(in_training.mean()) if len(in_training) else 0.0


def _kept_by(torn: float) -> str:
    """Says what a split does that does not make the accuracy much too high."""
    if torn == 0:
        return "the split keeps photographs together, as it should"
    size = "few" if torn < FEW else "some"
    return f"the split tears {size} photographs apart ({torn:.1%} of the validation and test images)"
