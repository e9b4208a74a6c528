"""Shortcuts: do file, light, edge or sharpness alone tell the class, without any look at the object?"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, roc_curve
from sklearn.model_selection import cross_val_predict

from seedsweep.diagnosis.charts import saved
from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict, capital
from seedsweep.diagnosis.folds import folds_of
from seedsweep.diagnosis.image_cues import CueTable, Table, file_cues, pixel_cues
from seedsweep.diagnosis.local_marks import Mark, find_marks
from seedsweep.diagnosis.stored_features import EVAL_BATCH
from seedsweep.diagnosis.subject import Subject
from seedsweep.drawing import INK, figure
from seedsweep.names import and_more

CHECK = Check(
    "shortcuts",
    "Shortcuts",
    16,
    "What a forest predicts, cross-validated, from size, kind of file, colour, outer pixel rows, corners or "
    "sharpness alone; beside a linear probe on the net's features. Also windows of a twelfth of each side, one by one.",
    of_images=True,
)
TOLD = 0.985  # area under the ROC curve from which on a cue tells a class from all others
SURE = 0.97  # recall of the class less false alarms, at the best threshold: below it the cue is one sign among others
BEYOND = 0.05  # by which that must exceed what the object itself tells in the same way
NEARLY_ALL = 0.9  # of what the probe gets above the largest class: such a cue would do in its place
CLEAR = 0.15  # of accuracy above the largest class
ALL_TOLD = 0.95  # mean area of the classes that this asks for, too: beside a weak probe any cue would do
FEWEST = 5  # images of a class
TREES = 50


@dataclass(frozen=True)
class Cue:
    """What one cue alone predicts, cross-validated."""

    name: str  # of the cue
    acc: float  # share of images whose class it tells
    balanced: float  # mean recall of the classes
    # for each class, how well it tells that class from all others (0.5: not at all, 1: always); nan for a
    # class of fewer than 5 images
    aucs: NDArray[np.float64]
    sure: NDArray[np.float64]  # likewise, recall less false alarms at the best threshold (0..1)


def check(subject: Subject, folder: Path) -> Finding:
    """Measures every cue and compares it with what the features give."""
    facts, seen = subject.audited, subject.out_of_fold
    labels, classes = seen.labels, facts.table.classes
    groups = [facts.groups[row] for row in seen.rows]
    parts = np.split(seen.rows, range(EVAL_BATCH, len(seen.rows), EVAL_BATCH))
    tables = file_cues([facts.files[row] for row in seen.rows])
    tables += pixel_cues(facts.prepared.pixels.batch(part) for part in parts)
    marks = find_marks((facts.prepared.pixels.batch(part) for part in parts), labels, groups)
    # of all images, asked or not: so are the cues' accuracy and the majority
    probe = float((seen.probabilities.argmax(1) == labels).mean())
    majority = float(np.bincount(labels).max() / len(labels))
    apart = ", by photograph" if len(set(groups)) < len(groups) else ""
    verdict, said, cues = Verdict.FINE, list[tuple[Verdict, str]](), list[Cue]()
    for table in tables:
        cue = measure_cue(table.name, table.table, labels, groups, len(classes))
        cues.append(cue)
        control = _control(table, cue, labels, groups)
        said += _told(table, cue, control, classes)
        enough = max(majority + NEARLY_ALL * (probe - majority), majority + CLEAR)
        if cue.acc >= enough and np.nanmean(cue.aucs) >= ALL_TOLD:
            tells = f"{cue.name} alone tells {cue.acc:.0%} of the images' classes{apart}"
            worst = Verdict.SUSPECT if _is_content(table, cue, control).any() else Verdict.FAULT
            said.append((worst, f"{tells}, the net's features {probe:.0%}"))
    for at_rim, worst in ((True, Verdict.FAULT), (False, Verdict.SUSPECT)):
        if those := [mark for mark in marks if mark.is_at_rim == at_rim]:
            said.append((worst, _of_marks(those, classes)))
    said.sort(key=lambda item: item[0].rank)
    best = max(cues, key=lambda cue: cue.acc)
    text = (
        f"No cue tells a class by itself: the best, {best.name}, tells {best.acc:.0%} of the images (the largest "
        f"class {majority:.0%}, the net's features {probe:.0%})."
    )
    if said:
        verdict = said[0][0]
        advice = (
            "the net may learn it instead of the object: photograph all classes alike, and save them alike."
        )
        if verdict is Verdict.SUSPECT:
            advice = f"If that is not what makes the class, {advice}"
        text = f"{capital('; '.join(each for _, each in said))}. {capital(advice)}"
    evidence: Evidence = {
        "probe": probe,
        "majority": majority,
        "cues": [[cue.name, cue.acc, cue.balanced] for cue in cues],
        "auc": [[cue.name, *_rounded(cue.aucs)] for cue in cues],
        "sure": [[cue.name, *_rounded(cue.sure)] for cue in cues],
        "classes": list(classes),
        "marks": [[classes[mark.label], mark.value, mark.down, mark.right, mark.auc] for mark in marks],
    }
    return CHECK.found(verdict, text, evidence, picture=_draw(cues, classes, folder))


def _of_marks(marks: list[Mark], classes: Sequence[str]) -> str:
    """Says which classes a small place tells, and where the first of them is."""
    first = marks[0]
    return (
        f"one small place each alone tells {and_more([classes[mark.label] for mark in marks], 5)} from all others (AUC "
        f"{min(mark.auc for mark in marks):.3f} or more), as a drawn mark does: for {classes[first.label]}, by "
        f"{first.value} {first.down:.0%} from the top and {first.right:.0%} from the left"
    )


def _rounded(values: NDArray[np.float64]) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 4) for value in values]


def _control(table: CueTable, cue: Cue, labels: NDArray[np.int64], groups: Sequence[str]) -> Cue | None:
    """Measures what the object itself tells, where the cue tells a class."""
    if table.control is None or not (_is_told(cue) & (cue.sure >= SURE)).any():
        return None
    return measure_cue("control", table.control, labels, groups, len(cue.aucs))


def _is_told(cue: Cue) -> NDArray[np.bool_]:
    return np.nan_to_num(cue.aucs) >= TOLD


def _is_content(table: CueTable, cue: Cue, control: Cue | None) -> NDArray[np.bool_]:
    """Says [classes] which of them the cue may tell because of what they are."""
    if not table.technical:
        return np.ones(len(cue.aucs), dtype=bool)
    if control is None:
        return np.zeros(len(cue.aucs), dtype=bool)
    return np.asarray(np.nan_to_num(control.sure) > np.nan_to_num(cue.sure) - BEYOND)


def _told(
    table: CueTable, cue: Cue, control: Cue | None, classes: Sequence[str]
) -> list[tuple[Verdict, str]]:
    """Returns what to say of the classes that a cue tells, each with its verdict."""
    told = _is_told(cue) & ((np.nan_to_num(cue.sure) >= SURE) | (not table.technical))
    content = _is_content(table, cue, control)
    found = []
    for verdict, those in ((Verdict.FAULT, told & ~content), (Verdict.SUSPECT, told & content)):
        if those.any():
            names = and_more([classes[int(k)] for k in np.flatnonzero(those)], 5)
            auc = float(cue.aucs[those].max())
            found.append((verdict, f"{cue.name} alone tells {names} from all others (AUC {auc:.3f})"))
    return found


def measure_cue(
    name: str, table: Table, labels: NDArray[np.int64], groups: Sequence[str], classes: int
) -> Cue:
    """Cross-validates a forest on the table [N, k] of a cue for labels [N]; groups [N] are kept on one side."""
    counts = np.bincount(labels, minlength=classes)
    aucs, sure = np.full(classes, np.nan), np.full(classes, np.nan)
    if (table == table[0]).all():  # the same for all: tells nothing
        aucs[counts >= FEWEST], sure[counts >= FEWEST] = 0.5, 0.0
        return Cue(name, float(counts.max() / counts.sum()), 1 / classes, aucs, sure)
    forest = ExtraTreesClassifier(TREES, min_samples_leaf=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class that is missing in a fold
        found = cross_val_predict(forest, table, labels, cv=folds_of(labels, groups), method="predict_proba")
    present = np.unique(labels)
    predicted = present[found.argmax(1)]
    for place, label in enumerate(present):
        if FEWEST <= counts[label] < counts.sum():
            aucs[label] = roc_auc_score(labels == label, found[:, place])
            alarms, recall, _ = roc_curve(labels == label, found[:, place])
            sure[label] = (recall - alarms).max()
    balanced = float(balanced_accuracy_score(labels, predicted))
    return Cue(name, float((predicted == labels).mean()), balanced, aucs, sure)


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
