"""Confusion matrix: rows are the truth, shaded by their share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from seedsweep.reporting.style import INK, figure, save

Labels = NDArray[np.int64]


def confusion_figure(labels: Labels, predicted: Labels, classes: list[str], title: str) -> Figure:
    """Draws labels [N] against predictions [N], counts in the cells and recall at the right edge."""
    n = len(classes)
    matrix = confusion_matrix(labels, predicted, labels=range(n))
    totals = matrix.sum(1, keepdims=True)
    share = matrix / np.maximum(totals, 1)
    side = min(3.2 + 0.55 * n, 18)
    made = figure(side + 1.2, side)
    axes = made.subplots()
    axes.imshow(share, cmap="YlGnBu", vmin=0, vmax=1)
    for row in range(n):
        for column in range(n):
            if matrix[row, column]:
                colour = "white" if share[row, column] > 0.55 else INK
                axes.text(
                    column, row, matrix[row, column], ha="center", va="center", color=colour, fontsize=8
                )
        recall = f"{share[row, row]:.0%}" if totals[row, 0] else "none"
        axes.text(n - 0.35, row, recall, va="center", fontsize=9, color=INK)
    axes.text(n - 0.35, -0.75, "recall", fontsize=9, color=INK)
    axes.set_xticks(range(n), classes, rotation=40, ha="right", fontsize=9)
    axes.set_yticks(range(n), classes, fontsize=9)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title, loc="left", fontsize=12, pad=22)
    return made


def draw_confusion(labels: Labels, predicted: Labels, classes: list[str], path: Path, title: str) -> None:
    """Writes :func:`confusion_figure` as a PNG."""
    save(confusion_figure(labels, predicted, classes, title), path)
