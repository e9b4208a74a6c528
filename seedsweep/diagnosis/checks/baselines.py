"""Baselines: the accuracy of always predicting the largest class, and of guessing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict, capital
from seedsweep.diagnosis.probes import SIGMA, Worth, floor_of
from seedsweep.diagnosis.subject import Subject

CHECK = Check(
    "baselines",
    "Baselines",
    90,
    "The accuracy of always predicting the largest class, and of guessing, beside the net's.",
    on_validation=True,
)


def check(subject: Subject, folder: Path) -> Finding:
    """Compares with the largest class of the validation images, as all tables do, and with chance."""
    labels, classes = subject.labels("val"), subject.prepared.table.classes
    counts = np.bincount(labels)
    largest, majority, chance = classes[counts.argmax()], float(counts.max() / len(labels)), 1 / len(classes)
    evidence: Evidence = {"majority": majority, "majority_class": largest, "chance": chance}
    alone = f"always predicting {largest} gets {majority:.0%}, guessing {chance:.0%}"
    predictions, acc = subject.val_predictions, subject.val_acc
    if predictions is None or acc is None:
        later = "the accuracy of this plan is known after the training"
        return CHECK.found(Verdict.UNKNOWN, f"{capital(alone)}; {later}.", evidence)
    floor = floor_of(*predictions, len(classes))
    evidence |= {"val_acc": acc, "balanced_acc": floor.balanced, "standard_error": floor.error}
    text = f"{acc:.0%} of the validation images are classified correctly; {alone}"
    each = f"it classifies {floor.balanced:.0%} of an average class's images correctly"
    if floor.worth is Worth.ABOVE:
        return CHECK.found(Verdict.FINE, f"{text}.", evidence)
    if floor.worth is Worth.NOTHING:
        return CHECK.found(Verdict.SUSPECT, f"{text}: the net has learned next to nothing, {each}.", evidence)
    unclear = f"{floor.n} images can't tell the net's accuracy from the largest class alone; {each}"
    if floor.majority - floor.acc > SIGMA * floor.error:
        unclear = f"less than the largest class alone, yet {each}"
    return CHECK.found(Verdict.UNKNOWN, f"{text}: {unclear}.", evidence)
