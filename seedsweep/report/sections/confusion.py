"""Confusion matrix and per-class scores of the run shown in detail."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from seedsweep.report.blocks import Bar, Block, Cell, Column, Section, Shade, Table, Text, percent
from seedsweep.report.contents import Material
from seedsweep.runs.csv_files import Predictions
from seedsweep.runs.held_out import HELD_OUT
from seedsweep.stats.interval import wilson
from seedsweep.stats.ranking import accuracy

ORDER = 60
MOST_CLASSES = 40  # of a matrix that anyone reads
GROUPED = "A group of images counts as one draw; a class of one group alone has no interval."


def section(material: Material) -> Section | None:
    """Rows are the truth; then recall, precision and F1 a class."""
    run = material.best
    if run is None or run.detailed is None:
        return None
    split, answers = run.detailed
    kind = HELD_OUT[split]
    of = Text(f"`{run.label}`, {run.which}, on the {len(answers.paths)} {kind} images.")
    return Section("classes", "Classes", [of, *class_blocks(answers, kind)])


def class_blocks(answers: Predictions, kind: str) -> list[Block]:
    """Returns the confusion matrix and the scores a class; ``kind`` is what the images are called."""
    blocks: list[Block] = []
    if len(answers.classes) <= MOST_CLASSES:
        blocks.append(_matrix(answers, kind))
    grouped = "" if answers.groups is None else f" {GROUPED}"
    meaning = (
        f"Recall: how many of a class were found, with its 95 % interval.{grouped} "
        "Precision: how many images predicted as a class are of it."
    )
    return [*blocks, _per_class(answers, kind), Text(meaning, small=True)]


def _matrix(answers: Predictions, kind: str) -> Table:
    classes = answers.classes
    matrix = confusion_matrix(answers.labels, answers.predicted, labels=range(len(classes)))
    share = matrix / np.maximum(matrix.sum(1), 1)[:, None]
    rows: list[list[Cell]] = []
    for true, name in enumerate(classes):
        cells: list[Cell] = [
            Shade(str(count) if count else "", float(share[true, said]), true == said)
            for said, count in enumerate(matrix[true])
        ]
        rows.append([name, *cells])
    columns = [Column("true ↓  predicted →"), *[Column(name, number=True) for name in classes]]
    return Table(f"Confusion matrix of the {kind} images", columns, rows, matrix=True)


def _per_class(answers: Predictions, kind: str) -> Table:
    numbers = range(len(answers.classes))
    scores = precision_recall_fscore_support(
        answers.labels, answers.predicted, labels=numbers, zero_division=0.0
    )
    precision, recall, f1, count = (np.asarray(each).tolist() for each in scores)
    predicted = np.bincount(answers.predicted, minlength=len(answers.classes))
    rows: list[list[Cell]] = []
    for number in sorted(numbers, key=lambda number: recall[number]):
        bar: Cell = Bar(recall[number], *_ends(answers, number)) if count[number] else ""
        share = percent(recall[number]) if count[number] else "–"
        of_predicted = percent(precision[number]) if predicted[number] else "–"
        rows.append(
            [answers.classes[number], bar, share, of_predicted, percent(f1[number]), f"{count[number]:.0f}"]
        )
    columns = [
        Column("class"),
        Column("recall", drawn=True),
        Column("%", number=True),
        Column("precision, %", number=True, extra=True),
        Column("F1, %", number=True),
        Column("images", number=True),
    ]
    return Table(f"Scores a class, the worst first, {kind} images", columns, rows)


def _ends(answers: Predictions, number: int) -> tuple[float, float] | tuple[None, None]:
    """Returns the interval of a class's recall, over groups where there are any; one group alone has none."""
    own = answers.labels == number
    correct = answers.correct[own]
    if answers.groups is None:
        found = wilson(int(correct.sum()), len(correct))
    elif len(correct) > 1 and len(set(answers.groups[own])) == 1:  # does not show how groups differ
        return None, None
    else:
        found = accuracy(correct[None], answers.groups[own])
    return found.low, found.high
