"""Baselines: what an answer without looking gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seedsweep.diagnosis.finding import Finding, Verdict
from seedsweep.diagnosis.rehearse import standard_error
from seedsweep.diagnosis.subject import Subject

ORDER = 70
TITLE = "Baselines"
MEASURED = "The accuracy of always answering the largest class, and of guessing, beside the net's."


def check(subject: Subject, folder: Path) -> Finding:
    """Compares with the majority class (chosen on the training images) and with chance."""
    labels, train = subject.labels("val"), subject.labels("train")
    classes = subject.prepared.table.classes
    largest = int(np.bincount(train, minlength=len(classes)).argmax())
    majority, chance = float((labels == largest).mean()), 1 / len(classes)
    acc = subject.val_acc
    numbers = (
        f"{acc:.0%} of the validation images are answered rightly; always answering {classes[largest]} gets "
        f"{majority:.0%}, guessing {chance:.0%}"
    )
    floor = max(majority, chance)
    verdict, text = Verdict.FINE, f"{numbers}."
    if acc - floor <= 2 * standard_error(acc, subject.n_val):
        verdict, text = Verdict.SUSPECT, f"{numbers}: the net has learned next to nothing."
    evidence = {"val_acc": acc, "majority": majority, "majority_class": classes[largest], "chance": chance}
    return Finding("baselines", TITLE, verdict, MEASURED, text, evidence)  # type: ignore[arg-type]
