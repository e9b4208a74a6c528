"""Validation images: do they look like the training images, and do the test images?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seedsweep.diagnosis.audited import EXAMPLES
from seedsweep.diagnosis.beside_training import Apart
from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict
from seedsweep.diagnosis.plain_statistics import NAMES
from seedsweep.diagnosis.subject import Subject
from seedsweep.runs.csv_files import write_predictions

CHECK = Check(
    "validation_images",
    "Validation images",
    1,
    "How well a classifier that has not seen an image's photograph tells validation images from training images, by "
    "features and plain statistics; beside parts of training, drawn as if they were held out.",
)
TEST = Check("test_images", "Test images", 2, CHECK.measured.replace("validation images", "test images"))
SPLITS = {"val": (CHECK, "validation"), "test": (TEST, "test")}
MOST_NAMED = 3


def check(subject: Subject, folder: Path) -> list[Finding]:
    """Judges the validation images, and the test images where there are any."""
    made = [_of_split(subject, "val", folder)]
    return [*made, _of_split(subject, "test", folder)] if len(subject.labels("test")) else made


def _of_split(subject: Subject, split: str, folder: Path) -> Finding:
    made, called = SPLITS[split]
    facts, found = subject.audited, subject.beside_training(split)
    is_held, apart = found.is_held, found.apart
    held_units, train_units = (len(np.unique(found.units[is_held == side])) for side in (True, False))
    if apart is None:
        text = f"Can't tell: {train_units} photographs of training and {held_units} of {called} are too few to compare."
        return made.found(Verdict.UNKNOWN, text)
    order = found.rows[is_held][np.argsort(-apart.scores, kind="stable")]
    evidence: Evidence = {
        "auc": apart.auc,
        "auc_by_chance": [round(float(value), 3) for value in np.sort(apart.by_chance)],
        "shifts": [[name, round(float(shift), 3)] for name, shift in zip(NAMES, apart.shifts, strict=True)],
        "differs_by": [name for name, _ in apart.differs_by],
        "images": int(is_held.sum()),
        "train_units": train_units,
        "units": held_units,
    }
    grouped = train_units + held_units < len(found.rows)
    by_chance = (
        f"parts of training of that size{', by photograph' if grouped else ''}: {apart.by_chance.min():.2f} to "
        f"{apart.by_chance.max():.2f}"
    )
    numbers = f"tells its images from those of training with an AUC of {apart.auc:.2f} ({by_chance})"
    if apart.verdict is Verdict.FINE:
        text = f"The {called} split looks like training. A classifier {numbers}."
        return made.found(Verdict.FINE, text, evidence)
    evidence["examples"] = [facts.name(row) for row in order[:EXAMPLES]]
    name, scores = f"{made.name}.csv", np.sort(apart.scores)[::-1]
    write_predictions(
        folder / name,
        [
            {"path": facts.name(row), "class": facts.class_of(row), "unlike_training": float(score)}
            for row, score in zip(order, scores, strict=True)
        ],
    )
    surely = "does not look" if apart.verdict is Verdict.FAULT else "may not look"
    text = (
        f"The {called} split {surely} like training. A classifier {numbers}. {_by_what(apart)} Most unlike is "
        f"{facts.name(order[0])} ({name} lists all). What is measured on it holds for such images only: make the split "
        "anew from one set of images, prepared alike."
    )
    picture = Path(f"{made.name}.png")
    facts.draw([(int(row), (facts.class_of(row),)) for row in order[:EXAMPLES]], folder / picture)
    return made.found(apart.verdict, text, evidence, picture=picture)


def _by_what(apart: Apart) -> str:
    if not apart.differs_by:
        return "Brightness, contrast, sharpness, colour, size and crop do not tell by what."
    said = [
        f"{NAMES[name][0 if shift > 0 else 1]} ({shift:+.1f} standard deviations)"
        for name, shift in apart.differs_by[:MOST_NAMED]
    ]
    return f"Its images are {', '.join(said)}."
