"""Confusion matrix: rows are the truth, shaded by their share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from seedsweep.report.style import GREY, INK, figure, plain, save

Labels = NDArray[np.int64]


def confusion_figure(
    labels: Labels, predicted: Labels, classes: list[str], title: str, cell: float = 0.55
) -> Figure:
    """Draws labels [N] against predictions [N], counts in the cells and recall at the right edge.

    Args:
        labels: [N] class numbers.
        predicted: [N] class numbers.
        classes: names, in the order of the numbers.
        title: above.
        cell: inches a class; letters keep their size.
    """
    n = len(classes)
    matrix = confusion_matrix(labels, predicted, labels=range(n))
    totals = matrix.sum(1)
    share = matrix / np.maximum(totals, 1)[:, None]
    side = min(cell * n, 16)
    made = figure(side + 2.4, side + 1.5)
    axes = made.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row in range(n):
        for column in range(n):
            if matrix[row, column]:
                colour = "white" if share[row, column] > 0.55 else INK
                axes.text(
                    column, row, matrix[row, column], ha="center", va="center", color=colour, fontsize=8
                )
        recall = f"{share[row, row]:.0%} of {totals[row]}" if totals[row] else "no image"
        axes.text(n - 0.35, row, recall, va="center", fontsize=8, color=INK)
    axes.text(n - 0.35, -0.62, "recall", va="bottom", fontsize=9, color=INK)
    axes.set_xticks(
        range(n), classes, rotation=40, ha="right", rotation_mode="anchor", fontsize=9, parse_math=False
    )
    axes.set_yticks(range(n), classes, fontsize=9, parse_math=False)
    axes.set_xticks(np.arange(n - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(n - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="#e8e8e8", linewidth=0.8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_color(GREY)
    made.suptitle(plain(title), fontsize=11, x=0.02, ha="left", color=INK)
    return made


def draw_confusion(labels: Labels, predicted: Labels, classes: list[str], path: Path, title: str) -> None:
    """Writes :func:`confusion_figure` as a PNG."""
    save(confusion_figure(labels, predicted, classes, title), path)
