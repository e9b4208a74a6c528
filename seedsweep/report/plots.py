"""The plots of a run: as curves.png beside it, and as SVG on the report's page.

SVG takes colours and letters from the page: readable light, dark and in print.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seedsweep.drawing import GREY, INK, TRAIN, TRAP, VAL, figure, plain, save, tidy
from seedsweep.stats.calibration_error import Reliability

History = list[
    dict[str, float]
]  # a row an epoch: ``epoch`` from 0, ``train/...``, ``val/...``, ``train_images/...``
VARIABLES = {INK: "ink", GREY: "faint", TRAIN: "train", VAL: "val", TRAP: "trap", "#e8e8e8": "rule"}
SIZE = (3.9, 2.35)  # inches: as wide as a phone, so that letters keep their size there


def draw_curves(history: History, path: Path, title: str, best_epoch: int | None) -> None:
    """Draws loss, accuracy and the two modes side by side, as a PNG.

    Args:
        history: of the run.
        path: of the PNG.
        title: above all panels.
        best_epoch: the epoch whose checkpoint was kept, from 0.
    """
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
        _legend(axes)
    save(made, path)


def curve(history: History, quantity: str, best_epoch: int | None, name: str) -> str:
    """Draws ``loss`` or ``acc`` of training and validation images over the epochs, the best one marked, as SVG.

    Args:
        history: of the run.
        quantity: loss | acc.
        best_epoch: whose checkpoint was kept, from 0.
        name: of the plot, unlike all others of the page.
    """
    made, axes = _small()
    _quantity(axes, history, quantity, best_epoch, ("train", "val"))
    axes.set_ylabel({"acc": "accuracy"}.get(quantity, quantity), fontsize=9, color=INK)
    _legend(axes)
    return svg(made, name)


def modes(history: History, name: str) -> str:
    """Draws the accuracy on one set of training images in train mode and in eval mode, as SVG."""
    made, axes = _small()
    _two_modes(axes, history, ("train mode", "eval mode"))
    axes.set_ylabel("accuracy", fontsize=9, color=INK)
    _legend(axes)
    return svg(made, name)


def reliability_diagram(found: Reliability, name: str) -> str:
    """Draws accuracy against confidence, as SVG; a dot's area is its number of images."""
    made, axes = _small()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    held = found.count > 0
    share = found.count[held] / found.count.sum()
    axes.plot(found.confidence[held], found.accuracy[held], color=VAL, linewidth=1.2, alpha=0.7)
    axes.scatter(
        found.confidence[held], found.accuracy[held], s=14 + 260 * share, color=VAL, alpha=0.85, linewidths=0
    )
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("confidence", fontsize=9, color=INK)
    axes.set_ylabel("share of correct answers", fontsize=9, color=INK)
    return svg(made, name)


def svg(made: Figure, name: str) -> str:
    """Returns a figure as an SVG element; its texts must be our own words, for they are not checked again.

    Args:
        made: drawn in the colours of :mod:`seedsweep.drawing`.
        name: goes before all ids, which must be unlike those of the page's other plots.
    """
    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "svg.id": None}):
        made.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", text)
    text = re.sub(r'<svg([^>]*?) height="[^"]*"', r"<svg\1", text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text).replace("url(#", f"url(#{name}-")
    text = re.sub(r"(font: [^;\"]*?)'[^;\"]*", r"\1inherit", text)
    text = re.sub(r"font: ([\d.]+px) inherit", r"font-size: \1", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    text = text.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)
    return re.sub(r"\n\s*", "\n", text).strip()


def _small() -> tuple[Figure, Axes]:
    made = figure(*SIZE)
    axes = made.subplots()
    tidy(axes)
    axes.set_facecolor("none")
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
    _over_epochs(axes)
    axes.set_ylim(0, 1.03) if quantity == "acc" else axes.set_ylim(bottom=0)


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
    _over_epochs(axes)
    axes.set_ylim(0, 1.03)


def _line(
    axes: Axes, history: History, key: str, name: str, colour: str, width: float = 1.6, alpha: float = 1.0
) -> None:
    rows = [row for row in history if key in row]
    x, y = [row["epoch"] + 1 for row in rows], [row[key] for row in rows]
    axes.plot(x, y, "o-", ms=3.5, linewidth=width, color=colour, alpha=alpha, label=name)


def _over_epochs(axes: Axes) -> None:
    axes.set_xlabel("epoch", fontsize=9, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _legend(axes: Axes) -> None:
    for text in axes.legend(frameon=False, fontsize=9, loc="best").get_texts():
        text.set_color(INK)
