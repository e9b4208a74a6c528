"""Class sizes: is any class too small to be learned, and what does the largest one give for nothing?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seedsweep.diagnosis.charts import saved
from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict, capital
from seedsweep.diagnosis.subject import Subject
from seedsweep.drawing import GREY, TRAP, VAL, figure, tidy
from seedsweep.names import and_more

CHECK = Check(
    "imbalance",
    "Class sizes",
    84,
    "Images of each class in each split, and the accuracy of always predicting the largest class.",
)
FEW = 10  # training images of a class
FEW_JUDGED = 5  # validation images of a class: its recall moves in steps of 20 points
UNEQUAL = 20.0  # largest over smallest class
MOSTLY = 0.8  # share of the largest class from which on accuracy says little
BALANCED = "head.class_weights=balanced"


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
    if majority >= MOSTLY or ratio >= UNEQUAL:
        balanced = subject.config.head.class_weights == "balanced"
        parts.append(
            f"the largest class is {ratio:.0f} times the smallest: read macro-F1 and the recall of each class, not "
            f"accuracy alone{'' if balanced else f'; {BALANCED} trades the one for the other'}"
        )
    verdict = Verdict.SUSPECT if parts else Verdict.FINE
    if not parts:
        parts.append(f"every class has at least {train.min()} training and {val.min()} validation images")
    text = (
        f"{capital('; '.join(parts))}. Always predicting {classes[largest]} gets {majority:.0%} of the validation "
        "images."
    )
    return CHECK.found(verdict, text, evidence, picture=_draw(classes, train, val, folder))


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
