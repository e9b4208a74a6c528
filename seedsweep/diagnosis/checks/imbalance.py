"""Class sizes: is any class too small to be learned, and what does the largest one give for nothing?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seedsweep.diagnosis.finding import Evidence, Finding, Verdict
from seedsweep.diagnosis.subject import Subject
from seedsweep.drawing import GREY, TRAP, VAL, figure, save, tidy

ORDER = 84
TITLE = "Class sizes"
MEASURED = "Images of each class in each split, and the accuracy of always predicting the largest class."
FEW = 10  # training images of a class
FEW_JUDGED = 5  # validation images of a class: its recall moves in steps of 20 points
UNEQUAL = 20.0  # largest over smallest class
BALANCED = "head.class_weights=balanced"
MOSTLY = 0.8  # share of the largest class from which on accuracy says little


def check(subject: Subject, folder: Path) -> Finding:
    """Counts the images of each class."""
    table = subject.prepared.table
    counts = table.counts()
    train, val = (np.asarray([counts[s][name] for name in table.classes]) for s in ("train", "val"))
    largest = int(train.argmax())
    majority = float(val[largest] / max(val.sum(), 1))
    ratio = float(train.max() / max(train.min(), 1))
    tiny = [table.classes[k] for k in np.flatnonzero(train < FEW)]
    unjudged = [table.classes[k] for k in np.flatnonzero(val < FEW_JUDGED)]
    evidence: Evidence = {
        "majority_class": table.classes[largest],
        "majority": majority,
        "chance": 1 / len(table.classes),
        "largest_over_smallest": ratio,
        "train": [[name, int(n)] for name, n in zip(table.classes, train, strict=True)],
        "val": [[name, int(n)] for name, n in zip(table.classes, val, strict=True)],
    }
    parts = []
    if tiny:
        parts.append(f"{_listed(tiny)} {_has(tiny)} fewer than {FEW} training images: add photographs")
    if unjudged:
        parts.append(
            f"{_listed(unjudged)} {_has(unjudged)} fewer than {FEW_JUDGED} validation images, so their recall is "
            "mostly chance"
        )
    if majority >= MOSTLY or ratio >= UNEQUAL:
        parts.append(
            f"the largest class is {ratio:.0f} times the smallest: read macro-F1 and the recall of each class, not "
            "accuracy alone"
            + (
                ""
                if subject.config.head.class_weights == "balanced"
                else f"; {BALANCED} trades the one for the other"
            )
        )
    verdict = Verdict.SUSPECT if parts else Verdict.FINE
    if not parts:
        parts.append(f"Every class has at least {train.min()} training and {val.min()} validation images")
    text = "; ".join(parts)
    text = (
        f"{text[0].upper()}{text[1:]}. Always predicting {table.classes[largest]} gets {majority:.0%} of the "
        "validation images."
    )
    _draw(table.classes, train, val, folder / "class_sizes.png")
    return Finding("imbalance", TITLE, verdict, MEASURED, text, evidence, picture=Path("class_sizes.png"))


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _has(names: list[str]) -> str:
    return "has" if len(names) == 1 else "have"


def _draw(classes: list[str], train: np.ndarray, val: np.ndarray, path: Path) -> None:
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
    save(made, path)
