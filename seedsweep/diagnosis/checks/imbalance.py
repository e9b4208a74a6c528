"""Class sizes: is any class too small, what does the largest give for nothing, and does balancing help?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedsweep.diagnosis.auditor import FEW, MOSTLY
from seedsweep.diagnosis.charts import saved
from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict, capital
from seedsweep.diagnosis.probes import paired_error
from seedsweep.diagnosis.rehearsals import QUICK
from seedsweep.diagnosis.remedy import apply
from seedsweep.diagnosis.subject import Subject
from seedsweep.drawing import GREY, TRAP, VAL, figure, tidy
from seedsweep.names import and_more

CHECK = Check(
    "imbalance",
    "Class sizes",
    19,
    "Images of each class in each split, and the accuracy of always predicting the largest class; where sizes are very "
    "unequal, the head trained anew on the corrected net's features with and without weights that balance the classes.",
    on_validation=True,  # what balanced weights gain
)
FEW_JUDGED = 5  # validation images of a class: its recall moves in steps of 20 points
UNEQUAL = 20.0  # largest over smallest class
BALANCED = "head.class_weights=balanced"
GAIN = 0.03  # of the mean recall: balancing that brings less is not advised


@dataclass(frozen=True)
class Balanced:
    """What weights that balance the classes change on the validation images, each with its standard error."""

    recall: float
    recall_error: float
    acc: float
    acc_error: float

    @property
    def helps(self) -> bool:
        """Whether the mean recall rises beyond noise, and accuracy does not fall beyond it."""
        return self.recall >= max(GAIN, 2 * self.recall_error) and self.acc > -2 * self.acc_error


def check(subject: Subject, folder: Path) -> Finding:
    """Counts the images of each class."""
    table = subject.prepared.table
    counts, classes = table.counts(), table.classes
    train, val = (np.asarray([counts[split][name] for name in classes]) for split in ("train", "val"))
    largest = int(train.argmax())
    majority = float(val[largest] / max(val.sum(), 1))
    ratio = float(train.max() / max(train.min(), 1))
    evidence: Evidence = {
        "majority_class": classes[largest],
        "majority": majority,
        "chance": 1 / len(classes),
        "largest_over_smallest": ratio,
        "train": [[name, int(n)] for name, n in zip(classes, train, strict=True)],
        "val": [[name, int(n)] for name, n in zip(classes, val, strict=True)],
    }
    parts = []
    if tiny := _have([classes[k] for k in np.flatnonzero(train < FEW)]):
        parts.append(f"{tiny} fewer than {FEW} training images: add photographs")
    if unjudged := _have([classes[k] for k in np.flatnonzero(val < FEW_JUDGED)]):
        parts.append(
            f"{unjudged} fewer than {FEW_JUDGED} validation images, so their recall is mostly chance"
        )
    remedy: list[str] = []
    if majority >= MOSTLY or ratio >= UNEQUAL:
        said = (
            f"the largest class is {ratio:.0f} times the smallest: read macro-F1 and the recall of each class, not "
            "accuracy alone"
        )
        if subject.is_frozen and subject.config.head.class_weights != "balanced":
            tried = balance(subject)
            evidence |= {"balanced_recall_gain": tried.recall, "balanced_recall_error": tried.recall_error}
            evidence |= {"balanced_acc_gain": tried.acc, "balanced_acc_error": tried.acc_error}
            said += (
                f"; {BALANCED} changes the mean recall by {100 * tried.recall:+.1f} points (give or take "
                f"{200 * tried.recall_error:.1f}), and accuracy by {100 * tried.acc:+.1f} (give or take "
                f"{200 * tried.acc_error:.1f})"
            )
            remedy = [BALANCED] if tried.helps else []
        parts.append(said)
    verdict = Verdict.SUSPECT if parts else Verdict.FINE
    if not parts:
        parts.append(f"every class has at least {train.min()} training and {val.min()} validation images")
    text = (
        f"{capital('; '.join(parts))}. Always predicting {classes[largest]} gets {majority:.0%} of the validation "
        "images."
    )
    return CHECK.found(verdict, text, evidence, remedy, picture=_draw(classes, train, val, folder))


def balance(subject: Subject) -> Balanced:
    """Trains the head on the corrected net's features with and without balanced classes."""
    without = subject.rehearse(subject.clean_config, QUICK).predicted
    weighted = subject.rehearse(apply(subject.clean_config, [BALANCED]), QUICK).predicted
    return compare(without, weighted, subject.material.val_labels.numpy())


def compare(before: NDArray[np.int64], after: NDArray[np.int64], labels: NDArray[np.int64]) -> Balanced:
    """Compares predicted classes [m] by mean recall and accuracy; errors are paired, and those of few images large."""
    change = (after == labels).astype(np.float64) - (before == labels)
    present = np.unique(labels)
    of_classes = [change[labels == k] for k in present]
    # one more image that changes, and one that does so in the other direction: an error is never quite 0
    errors = [np.append(each, [1.0, -1.0]).std() / len(each) ** 0.5 for each in of_classes]
    recall = float(np.mean([each.mean() for each in of_classes]))
    error = float(np.sqrt(np.square(errors).sum()) / len(present))
    return Balanced(recall, error, float(change.mean()), paired_error(before, after, labels))


def _have(names: list[str]) -> str:
    """Returns the first names with their verb; empty if there are none."""
    return f"{and_more(names, 5)} {'has' if len(names) == 1 else 'have'}" if names else ""


def _draw(classes: list[str], train: np.ndarray, val: np.ndarray, folder: Path) -> Path:
    shown = np.argsort(-train)[:40]
    made = figure(8, 1.2 + 0.26 * len(shown))
    axes = made.subplots()
    colours = [TRAP if train[k] < FEW else VAL for k in shown]
    places = range(len(shown))
    bars = axes.barh(places, train[shown], color=colours, height=0.7)
    axes.barh(places, val[shown], left=train[shown], color=GREY, height=0.7)
    axes.bar_label(bars, fontsize=8, padding=-22, color="white", label_type="edge")
    axes.set_yticks(places, [classes[k] for k in shown], parse_math=False)  # a class may be called a$b$
    axes.invert_yaxis()
    tidy(axes, "Training images of each class (grey: validation)")
    return saved(made, folder, "class_sizes.png")
