"""Plots as SVG that takes colours and letters from the page: readable light, dark and in print."""

from __future__ import annotations

import io
import re

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from seedsweep.report.style import GREY, INK, TRAIN, TRAP, VAL, tidy
from seedsweep.stats.calibration import Reliability

VARIABLES = {INK: "ink", GREY: "faint", TRAIN: "train", VAL: "val", TRAP: "trap", "#e8e8e8": "rule"}
SIZE = (3.9, 2.35)  # inches: as wide as a phone, so that letters keep their size there


def curve(history: list[dict[str, float]], quantity: str, best_epoch: int | None, name: str) -> str:
    """Draws ``loss`` or ``acc`` of training and validation images over the epochs, the best one marked.

    Args:
        history: rows with ``epoch`` (from 0), ``train/...`` and ``val/...``.
        quantity: loss | acc.
        best_epoch: whose checkpoint was kept, from 0.
        name: of the plot, unlike all others of the page.
    """
    made, axes = _figure()
    for split, colour, text in (("train", TRAIN, "train"), ("val", VAL, "val")):
        rows = [row for row in history if f"{split}/{quantity}" in row]
        x, y = [row["epoch"] + 1 for row in rows], [row[f"{split}/{quantity}"] for row in rows]
        axes.plot(x, y, "o-", ms=3.5, linewidth=1.6, color=colour, label=text)
        best = next((row for row in rows if row["epoch"] == best_epoch), None) if split == "val" else None
        if best is not None:
            axes.plot(
                [best["epoch"] + 1], [best[f"val/{quantity}"]], "o", ms=9, mfc="none", mew=1.6, color=VAL
            )
    if best_epoch is not None:
        axes.axvline(best_epoch + 1, color=GREY, linewidth=1, linestyle=":")
    axes.set_xlabel("epoch", fontsize=9, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel({"acc": "accuracy"}.get(quantity, quantity), fontsize=9, color=INK)
    axes.set_ylim(0, 1.03) if quantity == "acc" else axes.set_ylim(bottom=0)
    _legend(axes)
    return svg(made, name)


def modes(history: list[dict[str, float]], name: str) -> str:
    """Draws the accuracy on one set of training images in train mode and in eval mode: bn_gap is what lies between."""
    made, axes = _figure()
    rows = [row for row in history if "train_images/acc_train_mode" in row]
    x = [row["epoch"] + 1 for row in rows]
    train = [row["train_images/acc_train_mode"] for row in rows]
    evaluated = [row["train_images/acc_eval_mode"] for row in rows]
    axes.fill_between(x, train, evaluated, color=TRAP, alpha=0.18, linewidth=0)
    axes.plot(x, train, "o-", ms=3.5, linewidth=3.2, color=TRAIN, alpha=0.6, label="train mode")
    axes.plot(x, evaluated, "o-", ms=3.5, linewidth=1.6, color=TRAP, label="eval mode")
    axes.set_xlabel("epoch", fontsize=9, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("accuracy", fontsize=9, color=INK)
    axes.set_ylim(0, 1.03)
    _legend(axes)
    return svg(made, name)


def reliability_diagram(found: Reliability, name: str) -> str:
    """Draws accuracy against confidence; a dot's area is its number of images."""
    made, axes = _figure()
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
    axes.set_ylabel("share of right answers", fontsize=9, color=INK)
    return svg(made, name)


def svg(made: Canvas, name: str) -> str:
    """Returns a figure as an SVG element; its texts must be our own words, for they are not checked again.

    Args:
        made: drawn in the colours of ``reporting/style.py``.
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


def _figure() -> tuple[Canvas, Axes]:
    made = Canvas(figsize=SIZE, layout="constrained")
    axes = made.subplots()
    tidy(axes)
    axes.set_facecolor("none")
    return made, axes


def _legend(axes: Axes) -> None:
    for text in axes.legend(frameon=False, fontsize=9, loc="best").get_texts():
        text.set_color(INK)
