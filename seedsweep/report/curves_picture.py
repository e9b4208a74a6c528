"""curves.png: loss, accuracy, and the two modes on the same training images."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from seedsweep.report.style import GREY, TRAIN, TRAP, VAL, figure, plain, save, tidy


def draw_curves(history: list[dict[str, float]], path: Path, title: str, best_epoch: int | None) -> None:
    """Draws the history's three panels.

    Args:
        history: rows with ``epoch`` (from 0), train/ and val/ loss and acc, and the probe's figures.
        path: of the PNG.
        title: above all panels.
        best_epoch: the epoch whose checkpoint was kept, from 0.
    """
    made = figure(13, 4.2)
    made.suptitle(plain(title), fontsize=13, x=0.01, ha="left")
    loss, acc, modes = made.subplots(1, 3)
    _line(loss, history, "train/loss", "train, during the epoch", TRAIN)
    _line(loss, history, "val/loss", "val, after it", VAL)
    _line(acc, history, "train/acc", "train, during the epoch", TRAIN)
    _line(acc, history, "val/acc", "val, after it", VAL)
    # the wide one below: where there is no gap, both can still be seen
    _line(modes, history, "train_images/acc_train_mode", "training images, train mode", TRAIN, width=4.5)
    _line(modes, history, "train_images/acc_eval_mode", "the same images, eval mode", TRAP)
    both = [row for row in history if "bn_gap" in row]
    if any(row["bn_gap"] for row in both):
        modes.fill_between(
            [row["epoch"] + 1 for row in both],
            [row["train_images/acc_train_mode"] for row in both],
            [row["train_images/acc_eval_mode"] for row in both],
            color=TRAP,
            alpha=0.15,
            linewidth=0,
            label="bn_gap",
        )
    for axes, name in ((loss, "loss"), (acc, "accuracy"), (modes, "BatchNorm: one set of images, two modes")):
        tidy(axes, name)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if best_epoch is not None:
            mark = axes.axvline(best_epoch + 1, color=GREY, linewidth=1, linestyle=":")
            mark.set_label("best epoch" if axes is loss else "")
        if axes is loss:
            axes.set_ylim(bottom=0)
        else:
            axes.set_ylim(0, 1.02)
        axes.legend(frameon=False, fontsize=9)
    save(made, path)


def _line(
    axes: Axes, history: list[dict[str, float]], key: str, name: str, colour: str, width: float = 1.6
) -> None:
    rows = [row for row in history if key in row]
    axes.plot(
        [row["epoch"] + 1 for row in rows],
        [row[key] for row in rows],
        "o-",
        ms=max(3.0, width),
        linewidth=width,
        color=colour,
        alpha=0.5 if width > 3 else 1,
        label=name,
    )
