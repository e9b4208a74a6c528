"""Confusion matrix and per-class scores of the run shown in detail."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from seedsweep.report.blocks import Bar, Block, Cell, Column, Section, Shade, Table, Text
from seedsweep.report.contents import Material
from seedsweep.report.text import percent
from seedsweep.runs.answers import Answers
from seedsweep.runs.held_out import HELD_OUT
from seedsweep.stats.interval import Interval, wilson
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
    blocks: list[Block] = []
    if len(answers.classes) <= MOST_CLASSES:
        blocks.append(_matrix(answers, HELD_OUT[split]))
    blocks.append(_per_class(answers, HELD_OUT[split]))
    about = f"`{run.label}`, seed {run.seed}, on the {len(answers.paths)} {HELD_OUT[split]} images."
    grouped = "" if answers.groups is None else f" {GROUPED}"
    told = (
        f"Recall: how many of a class were found, with its 95 % interval.{grouped} "
        "Precision: how many images predicted as a class are of it."
    )
    return Section("classes", "Classes", [Text(about), *blocks, Text(told, small=True)])


def _matrix(answers: Answers, split: str) -> Table:
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
    return Table(f"Confusion matrix of the {split} images", columns, rows, matrix=True)


def _per_class(answers: Answers, split: str) -> Table:
    classes = answers.classes
    precision, recall, f1, count = precision_recall_fscore_support(
        answers.labels, answers.predicted, labels=range(len(classes)), zero_division=0.0
    )
    rows: list[list[Cell]] = []
    for number in np.argsort(recall, kind="stable"):
        n = int(count[number])
        found = _recall(answers, int(number))
        rows.append(
            [
                classes[number],
                Bar(float(recall[number]), *((found.low, found.high) if found else ())) if n else "",
                percent(float(recall[number])) if n else "–",
                percent(float(precision[number])),
                percent(float(f1[number])),
                str(n),
            ]
        )
    columns = [
        Column("class"),
        Column("recall", drawn=True),
        Column("%", number=True),
        Column("precision, %", number=True, extra=True),
        Column("F1, %", number=True),
        Column("images", number=True),
    ]
    return Table(f"Scores a class, the worst first, {split} images", columns, rows)


def _recall(answers: Answers, number: int) -> Interval | None:
    """Returns a class's recall with its interval, over groups where there are any; None where nothing tells it."""
    own = answers.labels == number
    correct = answers.correct[own]
    if not len(correct):
        return None
    if answers.groups is None:
        return wilson(int(correct.sum()), len(correct))
    groups = answers.groups[own]
    if len(correct) > 1 and len(set(groups)) == 1:  # one group does not show how groups differ
        return None
    return accuracy(correct[None], groups)
