"""Class sizes: is any class too small, what does the largest give for nothing, and does balancing help?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from seedsweep.diagnosis.auditor import FEW, MOSTLY
from seedsweep.diagnosis.charts import saved
from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict, capital
from seedsweep.diagnosis.probes import fit_probe, paired_error
from seedsweep.diagnosis.rehearsals import QUICK
from seedsweep.diagnosis.remedy import apply
from seedsweep.diagnosis.subject import Subject
from seedsweep.drawing import GREY, TRAP, VAL, figure, tidy
from seedsweep.names import and_more
from seedsweep.stats.interval import Interval

CHECK = Check(
    "imbalance",
    "Class sizes",
    19,
    "Images of each class in each split, and the accuracy of always predicting the largest class; where sizes are very "
    "unequal, the head trained anew on the corrected net's features with and without weights that balance the classes; "
    "where a class is tiny, a linear probe that learns from as few images of other classes.",
    on_validation=True,  # what balanced weights gain
)
FEW_JUDGED = 5  # validation images of a class: its recall moves in steps of 20 points
UNEQUAL = 20.0  # largest over smallest class, for a word, and
TRIED = 4.0  # for a trial of balanced classes
BALANCED = "head.class_weights=balanced"
GAIN = 0.03  # of the mean recall: balancing that brings less is not advised
CLEAR, CLEAR_SIGMA = 0.05, 3.0  # of the mean recall, and standard errors, for a fault
MANY = 3  # times as many images has a class that can show what few images cost
DRAWS = 3  # of those few
LOST = 0.10  # of recall that few images cost, for a fault


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
    parts, verdict = [], Verdict.SUSPECT
    remedy: list[str] = []
    tried = ""
    if tiny := _have([classes[k] for k in np.flatnonzero(train < FEW)]):
        parts.append(f"{tiny} fewer than {FEW} training images: add photographs")
    if unjudged := _have([classes[k] for k in np.flatnonzero(val < FEW_JUDGED)]):
        parts.append(
            f"{unjudged} fewer than {FEW_JUDGED} validation images, so their recall is mostly chance"
        )
    if majority >= MOSTLY or ratio >= UNEQUAL:
        parts.append(
            f"the largest class is {ratio:.0f} times the smallest: read macro-F1 and the recall of each class, not "
            "accuracy alone"
        )
    few = int(train.min())
    if (few < FEW or ratio >= TRIED) and (cost := cost_of_few(subject, few)):
        evidence["recall_lost_by_few"] = [cost.value, cost.low, cost.high]
        said = (
            f"with {few} training images, as {classes[int(train.argmin())]} has, the larger classes lose "
            f"{100 * cost.value:.0f} points of recall ({100 * cost.low:.0f} to {100 * cost.high:.0f})"
        )
        if cost.value >= LOST and cost.low > 0:
            parts.append(said)
            verdict = Verdict.FAULT if few < FEW or ratio >= UNEQUAL else verdict
    if ratio >= TRIED and subject.is_frozen and subject.config.head.class_weights != "balanced":
        weighted = balance(subject)
        evidence |= {"balanced_recall_gain": weighted.recall, "balanced_recall_error": weighted.recall_error}
        evidence |= {"balanced_acc_gain": weighted.acc, "balanced_acc_error": weighted.acc_error}
        tried = (
            f"{BALANCED} changes the mean recall by {100 * weighted.recall:+.1f} points (give or take "
            f"{200 * weighted.recall_error:.1f}), and accuracy by {100 * weighted.acc:+.1f} (give or take "
            f"{200 * weighted.acc_error:.1f})"
        )
        remedy = [BALANCED] if weighted.helps else []
        if weighted.helps and weighted.recall >= max(CLEAR, CLEAR_SIGMA * weighted.recall_error):
            verdict = Verdict.FAULT
    if not parts and not remedy:
        verdict = Verdict.FINE
        parts.append(f"every class has at least {train.min()} training and {val.min()} validation images")
    parts += [tried] if tried else []
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


def cost_of_few(subject: Subject, few: int) -> Interval | None:
    """Returns the recall (0..1) that classes of many images lose where a probe learns from ``few`` of theirs.

    None: fewer than two classes have enough images to show it.
    """
    material, features = subject.material, subject.clean
    train, val = material.train_labels.numpy(), material.val_labels.numpy()
    n = len(material.classes)
    whole = subject.probe.predicted == val
    many = np.bincount(train, minlength=n) >= MANY * max(few, 1)
    judged = np.bincount(val, minlength=n) >= FEW_JUDGED
    rng, lost = np.random.default_rng(0), []
    for label in np.flatnonzero(many & judged):
        of_class, right = np.flatnonzero(train == label), np.zeros(int((val == label).sum()))
        for _ in range(DRAWS):
            rows = np.append(np.flatnonzero(train != label), rng.permutation(of_class)[:few])
            kept = torch.from_numpy(np.sort(rows))
            probe = fit_probe(
                features.train[kept], material.train_labels[kept], features.val, material.val_labels, n
            )
            right += (probe.predicted == val)[val == label] / DRAWS
        lost.append(whole[val == label] - right)
    if len(lost) < 2:
        return None
    value, error = _mean_of_classes(lost)
    return Interval(value, value - 2 * error, value + 2 * error, "images").clipped(-1)


def _mean_of_classes(changes: list[NDArray[np.float64]]) -> tuple[float, float]:
    """Returns the mean over classes of what changes in the images of each, and its standard error."""
    # one more image that changes, and one that does so in the other direction: an error is never quite 0
    errors = [np.append(each, [1.0, -1.0]).std() / len(each) ** 0.5 for each in changes]
    mean = float(np.mean([each.mean() for each in changes]))
    return mean, float(np.sqrt(np.square(errors).sum())) / len(changes)


def compare(before: NDArray[np.int64], after: NDArray[np.int64], labels: NDArray[np.int64]) -> Balanced:
    """Compares predicted classes [m] by mean recall and accuracy; errors are paired, and those of few images large."""
    change = (after == labels).astype(np.float64) - (before == labels)
    recall, error = _mean_of_classes([change[labels == k] for k in np.unique(labels)])
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
