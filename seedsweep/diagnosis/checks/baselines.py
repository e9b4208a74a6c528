"""Baselines: the accuracy of always predicting the largest class, and of guessing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seedsweep.diagnosis.finding import Evidence, Finding, Verdict
from seedsweep.diagnosis.floor import SIGMA, Standing, floor_of
from seedsweep.diagnosis.subject import Subject

ORDER = 70
TITLE = "Baselines"
MEASURED = "The accuracy of always predicting the largest class, and of guessing, beside the net's."


def check(subject: Subject, folder: Path) -> Finding:
    """Compares with the largest class of the validation images, as all tables do, and with chance."""
    labels = subject.labels("val")
    classes = subject.prepared.table.classes
    largest = int(np.bincount(labels, minlength=len(classes)).argmax())
    majority, chance = float((labels == largest).mean()), 1 / len(classes)
    answers, acc = subject.val_answers, subject.val_acc
    if answers is None or acc is None:
        text = (
            f"Always predicting {classes[largest]} gets {majority:.0%}, guessing {chance:.0%}; this plan trains the "
            "net, so its own accuracy is known after the training."
        )
        known: Evidence = {"majority": majority, "majority_class": classes[largest], "chance": chance}
        return Finding("baselines", TITLE, Verdict.UNKNOWN, MEASURED, text, known)
    floor = floor_of(*answers, largest, len(classes))
    numbers = (
        f"{acc:.0%} of the validation images are classified correctly; always predicting {classes[largest]} gets "
        f"{majority:.0%}, guessing {chance:.0%}"
    )
    each = f"it classifies {floor.balanced:.0%} of an average class's images correctly"
    verdict, text = Verdict.FINE, f"{numbers}."
    if floor.standing is Standing.NOTHING:
        verdict, text = Verdict.SUSPECT, f"{numbers}: the net has learned next to nothing, {each}."
    elif floor.standing is Standing.UNCLEAR:
        verdict = Verdict.UNKNOWN
        text = (
            f"{numbers}: {floor.n} images can't tell the net's accuracy from the largest class alone; {each}."
        )
        if floor.majority - floor.acc > SIGMA * floor.error:
            text = f"{numbers}: less than the largest class alone, yet {each}."
    evidence: Evidence = {
        "val_acc": acc,
        "majority": majority,
        "majority_class": classes[largest],
        "chance": chance,
        "balanced_acc": floor.balanced,
        "standard_error": floor.error,
    }
    return Finding("baselines", TITLE, verdict, MEASURED, text, evidence)
