"""The pictures of a run: PNGs beside it, figures for TensorBoard, and SVG for the report's page.

SVG takes colours and letters from the page: readable light, dark and in print.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from seedsweep.drawing import GREY, INK, TRAIN, TRAP, VAL, figure, plain, save, tidy
from seedsweep.stats.calibration_error import Reliability

if TYPE_CHECKING:
    from seedsweep.training.to_draw import ToDraw

Labels = NDArray[np.int64]
History = list[dict[str, float]]  # a row an epoch: ``epoch`` from 0, ``train/...``, ``train_images/...``
VARIABLES = {INK: "ink", GREY: "faint", TRAIN: "train", VAL: "val", TRAP: "trap", "#e8e8e8": "rule"}
SIZE = (3.9, 2.35)  # inches: as wide as a phone, so that letters keep their size there


def draw_run(run: ToDraw) -> dict[str, Figure]:
    """Writes curves.png and confusion_matrix.png into a run's folder.

    Returns:
        The figures for TensorBoard, by name.
    """
    curves = curves_figure(run.history, f"{run.label}, seed {run.seed}", run.best_epoch)
    save(curves, run.folder / "curves.png")
    answers = run.labels, run.predicted, run.classes
    save(confusion_figure(*answers, f"{run.label}: validation images"), run.folder / "confusion_matrix.png")
    figures = {"confusion matrix": confusion_figure(*answers, "validation images", cell=0.3)}
    if len(run.worst):
        figures["worst mistakes"] = _mistakes_figure(run)
    return figures


def curves_figure(history: History, title: str, best_epoch: int | None) -> Figure:
    """Draws loss, accuracy and the two modes side by side, and marks the epoch (from 0) whose checkpoint was kept."""
    made = figure(13, 4.2)
    made.suptitle(plain(title), fontsize=13, x=0.01, ha="left")
    loss, acc, two_modes = made.subplots(1, 3)
    for axes, quantity in ((loss, "loss"), (acc, "acc")):
        _quantity(axes, history, quantity, best_epoch, ("train, during the epoch", "val, after it"))
    _two_modes(two_modes, history, ("training images, train mode", "the same images, eval mode"))
    if best_epoch is not None:
        two_modes.axvline(best_epoch + 1, color=GREY, linewidth=1, linestyle=":")
    titles = ("loss", "accuracy", "BatchNorm: one set of images, two modes")
    for axes, name in zip((loss, acc, two_modes), titles, strict=True):
        tidy(axes, name)
    return made


def confusion_figure(
    labels: Labels, predicted: Labels, classes: list[str], title: str, cell: float = 0.55
) -> Figure:
    """Draws labels [N] against predictions [N], ``cell`` inches a class; counts in the cells, recall at the right
    edge."""
    n = len(classes)
    matrix = confusion_matrix(labels, predicted, labels=range(n))
    totals = matrix.sum(1)
    share = matrix / np.maximum(totals, 1)[:, None]
    side = min(cell * n, 16)
    made = figure(side + 2.4, side + 1.5)
    axes = made.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*matrix.nonzero(), strict=True):
        colour = "white" if share[row, column] > 0.55 else INK
        axes.text(column, row, matrix[row, column], ha="center", va="center", color=colour, fontsize=8)
    for row, total in enumerate(totals):
        recall = f"{share[row, row]:.0%} of {total}" if total else "no image"
        axes.text(n - 0.35, row, recall, va="center", fontsize=8, color=INK)
    axes.text(n - 0.35, -0.62, "recall", va="bottom", fontsize=9, color=INK)
    names = [plain(name) for name in classes]
    axes.set_xticks(range(n), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=9)
    axes.set_yticks(range(n), names, fontsize=9)
    axes.set_xticks(np.arange(n - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(n - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="#e8e8e8", linewidth=0.8)
    axes.set(xlabel="predicted", ylabel="true")
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_color(GREY)
    made.suptitle(plain(title), fontsize=11, x=0.02, ha="left", color=INK)
    return made


def _mistakes_figure(run: ToDraw) -> Figure:
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
        caption = plain(f"{true}\n→ {predicted}\n{run.confidence[at]:.0%}")
        axes.set_title(caption, fontsize=7.5, color=INK)
    return made


def curve_svg(history: History, quantity: str, best_epoch: int | None, name: str) -> str:
    """Draws ``loss`` or ``acc`` of both splits over the epochs, the best one marked; ``name`` is unlike those of other
    plots."""
    made, axes = _small()
    _quantity(axes, history, quantity, best_epoch, ("train", "val"))
    axes.set_ylabel({"acc": "accuracy"}.get(quantity, quantity), fontsize=9, color=INK)
    return svg(made, name)


def modes_svg(history: History, name: str) -> str:
    """Draws the accuracy on one set of training images in train mode and in eval mode."""
    made, axes = _small()
    _two_modes(axes, history, ("train mode", "eval mode"))
    axes.set_ylabel("accuracy", fontsize=9, color=INK)
    return svg(made, name)


def reliability_svg(found: Reliability, name: str) -> str:
    """Draws accuracy against confidence; a dot's area is its number of images."""
    made, axes = _small()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    held = found.count > 0
    points = found.confidence[held], found.accuracy[held]
    axes.plot(*points, color=VAL, linewidth=1.2, alpha=0.7)
    areas = 14 + 260 * found.count[held] / found.count.sum()
    axes.scatter(*points, s=areas, color=VAL, alpha=0.85, linewidths=0)
    axes.set(xlim=(0, 1.03), ylim=(0, 1.03))
    axes.set_xlabel("confidence", fontsize=9, color=INK)
    axes.set_ylabel("share of correct answers", fontsize=9, color=INK)
    return svg(made, name)


def svg(made: Figure, name: str) -> str:
    """Returns a figure as an SVG element; its texts must be our own words, for they are not checked again.

    Args:
        name: goes before all ids, which must be unlike those of the page's other plots.
    """
    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "svg.id": None}):
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        made.savefig(out, format="svg", transparent=True, metadata=metadata)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return text.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1).strip()


def _small() -> tuple[Figure, Axes]:
    made = figure(*SIZE)
    axes = made.subplots()
    tidy(axes)
    return made, axes


def _quantity(
    axes: Axes, history: History, quantity: str, best_epoch: int | None, names: tuple[str, str]
) -> None:
    for split, colour, name in (("train", TRAIN, names[0]), ("val", VAL, names[1])):
        _line(axes, history, f"{split}/{quantity}", name, colour)
    for row in history:
        if row["epoch"] == best_epoch and f"val/{quantity}" in row:
            axes.plot([best_epoch + 1], [row[f"val/{quantity}"]], "o", ms=9, mfc="none", mew=1.6, color=VAL)
    if best_epoch is not None:
        axes.axvline(best_epoch + 1, color=GREY, linewidth=1, linestyle=":", label="best epoch")
    axes.set_ylim(0, 1.03) if quantity == "acc" else axes.set_ylim(bottom=0)
    _over_epochs(axes)


def _two_modes(axes: Axes, history: History, names: tuple[str, str]) -> None:
    train, evaluated = "train_images/acc_train_mode", "train_images/acc_eval_mode"
    both = [row for row in history if train in row]
    if any(row[train] != row[evaluated] for row in both):
        x = [row["epoch"] + 1 for row in both]
        ends = [row[train] for row in both], [row[evaluated] for row in both]
        axes.fill_between(x, *ends, color=TRAP, alpha=0.18, linewidth=0, label="bn_gap")
    # the wide one below: where there is no gap, both can still be seen
    _line(axes, history, train, names[0], TRAIN, width=3.6, alpha=0.6)
    _line(axes, history, evaluated, names[1], TRAP)
    axes.set_ylim(0, 1.03)
    _over_epochs(axes)


def _line(
    axes: Axes, history: History, key: str, name: str, colour: str, width: float = 1.6, alpha: float = 1.0
) -> None:
    rows = [row for row in history if key in row]
    x, y = [row["epoch"] + 1 for row in rows], [row[key] for row in rows]
    axes.plot(x, y, "o-", ms=3.5, linewidth=width, color=colour, alpha=alpha, label=name)


def _over_epochs(axes: Axes) -> None:
    axes.set_xlabel("epoch", fontsize=9, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend(frameon=False, fontsize=9, loc="best", labelcolor=INK)
