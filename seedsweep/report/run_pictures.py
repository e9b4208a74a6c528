"""The pictures beside a run, and those that TensorBoard shows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from seedsweep.drawing import GREY, INK, figure, plain, save
from seedsweep.report.plots import draw_curves

if TYPE_CHECKING:
    from seedsweep.training.finish import ToDraw

Labels = NDArray[np.int64]


def draw_run(run: ToDraw) -> dict[str, Figure]:
    """Writes curves.png and confusion_matrix.png into a run's folder.

    Returns:
        The figures for TensorBoard, by name.
    """
    draw_curves(run.history, run.folder / "curves.png", f"{run.label}, seed {run.seed}", run.best_epoch)
    answers = run.labels, run.predicted, run.classes
    save(confusion_figure(*answers, f"{run.label}: validation images"), run.folder / "confusion_matrix.png")
    figures = {"confusion matrix": confusion_figure(*answers, "validation images", cell=0.3)}
    if len(run.worst):
        figures["worst mistakes"] = mistakes_figure(run)
    return figures


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


def mistakes_figure(run: ToDraw) -> Figure:
    """Draws the worst mistakes, each captioned with its true class, the predicted one and the confidence."""
    columns = min(3, len(run.worst))
    rows = -(-len(run.worst) // columns)
    made = figure(1.35 * max(columns, 2), 0.3 + 1.7 * rows)
    made.suptitle("true → predicted, with confidence", fontsize=8, x=0.02, ha="left", color=INK)
    for axes in np.atleast_1d(made.subplots(rows, columns)).flat:
        axes.set_axis_off()
    for axes, at, image in zip(made.axes, run.worst, run.images, strict=False):
        true, predicted = run.classes[run.labels[at]], run.classes[run.predicted[at]]
        axes.imshow(image.transpose(1, 2, 0))
        axes.set_title(
            f"{true}\n→ {predicted}\n{run.confidence[at]:.0%}", fontsize=7.5, color=INK, parse_math=False
        )
    return made
