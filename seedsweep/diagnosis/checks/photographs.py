"""Photographs: are pieces of one photograph on both sides of the split, and does each hold one class only?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedsweep.audit.labels import outside_fold
from seedsweep.diagnosis.audited import answered, audited
from seedsweep.diagnosis.finding import Evidence, Finding, Verdict
from seedsweep.diagnosis.subject import Subject

ORDER = 81  # before the copies: of two faults without a cost, the earlier is named first
TITLE = "Photographs and split"
MEASURED = (
    "A linear probe judged on images of photographs that it has seen parts of, and on images of unseen photographs, "
    "where data.group_regex or the files' names tell which images belong together."
)
GAP = 0.04  # of accuracy: less is no reason to doubt a split
ERRORS = 3  # standard errors of the paired difference
HINT = 0.2  # by how much naming the photograph must beat chance to be worth a word


def check(subject: Subject, folder: Path) -> Finding:
    """Compares random folds with folds that keep photographs together."""
    facts = audited(subject)
    grouping = facts.grouping
    if grouping is None:
        text = "The files' names show no photographs that several images come from."
        return Finding("photographs", TITLE, Verdict.FINE, MEASURED, text)
    seen = answered(subject)
    classes = len(facts.table.classes)
    groups = [grouping.groups[row] for row in seen.rows]
    alone = right(outside_fold(seen.features, seen.labels, None, classes), seen.labels)
    together = right(outside_fold(seen.features, seen.labels, groups, classes), seen.labels)
    gap = float(alone.mean() - together.mean())
    error = float((alone != together).sum()) ** 0.5 / len(alone)
    leaks = gap >= GAP and gap >= ERRORS * error
    kept = facts.group_regex is not None
    told = (
        f"{grouping.pure} of {grouping.several} photographs with several images hold one class only, and an image's "
        f"neighbours in its photograph tell {grouping.told:.1%} of the classes (chance: {grouping.expected:.1%})"
    )
    numbers = (
        f"a linear probe gets {alone.mean():.1%} where it has seen other parts of the same photographs, and "
        f"{together.mean():.1%} on unseen ones"
    )
    verdict, remedy = Verdict.FINE, []
    if leaks and not kept:
        verdict, remedy = Verdict.FAULT, [f"data.group_regex='{grouping.pattern}'"]
        text = (
            f"The names tell of {grouping.count} photographs that the split tears apart, so that the accuracy is too "
            f"high: {numbers}. {told[0].upper()}{told[1:]}."
        )
    elif leaks and grouping.told - grouping.expected >= HINT:
        verdict = Verdict.SUSPECT
        text = (
            f"{told[0].upper()}{told[1:]}: the net may learn a photograph's light instead of the object. The split "
            f"keeps photographs together, which is right: {numbers}."
        )
    else:
        text = f"{grouping.count} groups of images are told apart, and they do not matter much: {numbers}."
    evidence: Evidence = {
        "pattern": grouping.pattern,
        "photographs": grouping.count,
        "of_one_class": grouping.pure,
        "with_several_images": grouping.several,
        "told_by_photograph": grouping.told,
        "told_by_chance": grouping.expected,
        "probe_random": float(alone.mean()),
        "probe_grouped": float(together.mean()),
        "images": len(alone),
    }
    return Finding("photographs", TITLE, verdict, MEASURED, text, evidence, remedy)


def right(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Says which images [n] are answered rightly."""
    answers: NDArray[np.bool_] = probabilities.argmax(1) == labels
    return answers
