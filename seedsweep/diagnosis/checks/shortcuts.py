"""Shortcuts: do size, kind of file or colour alone tell the class, without any look at the object?"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import cross_val_predict

from seedsweep.diagnosis.audited import FileFacts
from seedsweep.diagnosis.charts import saved
from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict, capital
from seedsweep.diagnosis.out_of_fold import folds_of
from seedsweep.diagnosis.stored_features import drawn_by_class
from seedsweep.diagnosis.subject import Subject
from seedsweep.drawing import INK, figure

CHECK = Check(
    "shortcuts",
    "Shortcuts",
    16,
    "What a forest predicts, cross-validated, from the size of the photograph, the kind of file, the mean colour or "
    "the colour of the rim alone; beside a linear probe on the net's features.",
)
TOLD = 0.985  # area under the ROC curve from which on a cue tells a class from all others
CLOSE = 0.02  # of accuracy: a cue that comes so near the probe would do in its place
CLEAR = 0.15  # of accuracy above the largest class
TECHNICAL = ("size", "kind of file")  # no defect lies in them
RIM = 2  # of a thumbnail's 32 pixels, on each side
MOST = 4000  # images that are looked at, drawn with each class's share kept
FEWEST = 5  # images of a class
TREES = 50


@dataclass(frozen=True)
class Cue:
    """What one cue alone predicts, cross-validated.

    Attributes:
        name: of the cue.
        acc: share of images whose class it tells.
        balanced: mean recall of the classes.
        aucs: for each class, how well it tells that class from all others (0.5: not at all, 1: always); nan for a
            class of fewer than 5 images.
    """

    name: str
    acc: float
    balanced: float
    aucs: NDArray[np.float64]


def check(subject: Subject, folder: Path) -> Finding:
    """Measures every cue and compares it with what the features give."""
    facts, seen = subject.audited, subject.out_of_fold
    labels, classes = facts.table.labels, facts.table.classes
    cues = [
        measure_cue(name, table, labels, facts.groups, len(classes))
        for name, table in cue_tables(facts.files, facts.small).items()
    ]
    # of all images, asked or not: so are the cues' accuracy and the majority
    probe = float((seen.probabilities.argmax(1) == seen.labels).mean())
    majority = float(np.bincount(labels).max() / len(labels))
    verdict, said = Verdict.FINE, []
    for cue in cues:
        told = [classes[k] for k in np.flatnonzero(np.nan_to_num(cue.aucs) >= TOLD)]
        enough = cue.acc >= max(probe - CLOSE, majority + CLEAR)
        if told:
            auc = np.nanmax(cue.aucs)
            said.append(f"{cue.name} alone tells {', '.join(told)} from all others (AUC {auc:.3f})")
        if enough:
            tells = f"{cue.name} alone tells {cue.acc:.0%} of the images' classes"
            said.append(f"{tells}, the net's features {probe:.0%}")
        if enough and cue.name in TECHNICAL:
            verdict = Verdict.FAULT
        elif (told or enough) and verdict is Verdict.FINE:
            verdict = Verdict.SUSPECT
    best = max(cues, key=lambda cue: cue.acc)
    text = (
        f"No cue tells a class by itself: the best, {best.name}, tells {best.acc:.0%} of the images (the largest "
        f"class {majority:.0%}, the net's features {probe:.0%})."
    )
    if said:
        text = (
            f"{capital('; '.join(said))}. If that is not what makes the class, the net may learn it instead of the "
            "object: photograph all classes alike."
        )
    evidence: Evidence = {
        "probe": probe,
        "majority": majority,
        "cues": [[cue.name, cue.acc, cue.balanced] for cue in cues],
        "auc": [[cue.name, *(None if np.isnan(a) else round(float(a), 4) for a in cue.aucs)] for cue in cues],
        "classes": list(classes),
    }
    return CHECK.found(verdict, text, evidence, picture=_draw(cues, classes, folder))


def cue_tables(facts: Sequence[FileFacts], small: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """Returns, by cue, a few numbers an image [N, k].

    Args:
        facts: of the files.
        small: thumbnails, [N, side, side, 3].
    """
    width = np.asarray([fact.width for fact in facts], dtype=np.float64)
    height = np.asarray([fact.height for fact in facts], dtype=np.float64)
    kinds = np.unique([fact.kind for fact in facts], return_inverse=True)[1].astype(np.float64)
    quality = np.asarray([fact.quantisation for fact in facts])
    inside = np.zeros(small.shape[1:3], dtype=bool)
    inside[RIM:-RIM, RIM:-RIM] = True
    rim = small[:, ~inside].astype(np.float64)
    return {
        "size": np.stack([np.log(width), np.log(height), np.log(width / height)], 1),
        "kind of file": np.stack([kinds, quality], 1),
        "mean colour": small.mean((1, 2)),
        "colour of the rim": np.concatenate([rim.mean(1), rim.std(1)], 1),
    }


def measure_cue(
    name: str, table: NDArray[np.float64], labels: NDArray[np.int64], groups: Sequence[str], classes: int
) -> Cue:
    """Cross-validates a forest on one cue; groups are kept on one side.

    Args:
        name: of the cue.
        table: [N, k].
        labels: [N] class numbers.
        groups: [N] names.
        classes: how many there are.
    """
    counts = np.bincount(labels, minlength=classes)
    if (table == table[0]).all():  # the same for all: tells nothing
        acc = float(counts.max() / counts.sum())
        return Cue(name, acc, 1 / classes, np.where(counts >= FEWEST, 0.5, np.nan))
    if len(labels) > MOST:
        share = MOST / len(labels)
        rng = np.random.default_rng(0)
        rows = drawn_by_class(labels, lambda n: max(min(10, n), round(share * n)), rng)
        table, labels, groups = table[rows], labels[rows], [groups[row] for row in rows]
    forest = ExtraTreesClassifier(TREES, min_samples_leaf=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class that is missing in a fold
        found = cross_val_predict(forest, table, labels, cv=folds_of(labels, groups), method="predict_proba")
    present = np.unique(labels)
    predicted = present[found.argmax(1)]
    aucs = np.full(classes, np.nan)
    for place, label in enumerate(present):
        if FEWEST <= counts[label] < counts.sum():
            aucs[label] = roc_auc_score(labels == label, found[:, place])
    balanced = float(balanced_accuracy_score(labels, predicted))
    return Cue(name, float((predicted == labels).mean()), balanced, aucs)


def _draw(cues: list[Cue], classes: list[str], folder: Path) -> Path:
    shown = classes[:30]
    made = figure(2.6 + 0.75 * len(shown), 1.6 + 0.45 * len(cues))
    axes = made.subplots()
    values = np.asarray([cue.aucs[: len(shown)] for cue in cues])
    axes.imshow(values, vmin=0.5, vmax=1, cmap="YlOrBr", aspect="auto")
    for (y, x), auc in np.ndenumerate(values):
        text, colour = "" if np.isnan(auc) else f"{auc:.2f}", "white" if auc > 0.85 else INK
        axes.text(x, y, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(shown)), shown, rotation=35, ha="right", fontsize=8, parse_math=False)
    axes.set_yticks(range(len(cues)), [f"{cue.name} ({cue.acc:.0%})" for cue in cues], fontsize=9)
    title = "How well a cue alone tells a class (AUC; 0.5: not at all)"
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return saved(made, folder, "shortcuts.png")
