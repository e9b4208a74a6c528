"""Pictures of a diagnosis: axes that look alike, sheets of photographs, and what each fault costs."""

from __future__ import annotations

import warnings
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seedsweep.data.image_formats import BadImageError
from seedsweep.data.images import DEFAULT, Reading, read_image
from seedsweep.drawing import GREY, INK, TRAP, VAL, figure, save, sideways, tidy
from seedsweep.names import printable

SIDE = 112  # pixels of a thumbnail
ACROSS = 8
LONGEST = 20  # letters of a line
CELL, GAP, LINE = 1.3, 0.08, 0.12  # inches: width of a cell, around it, height of a line


def finish(axes: Axes, title: str, x_label: str, top: float | None = None) -> None:
    """Tidies axes that begin at 0 and end at ``top`` (None: at the data), with a legend."""
    tidy(axes, title)
    axes.set_xlabel(x_label)
    axes.set_ylim(0, top)
    axes.minorticks_off()  # of a logarithmic axis: many, and slow to draw
    axes.legend(frameon=False, fontsize=9)


def saved(made: Figure, folder: Path, name: str) -> Path:
    """Writes a figure into the diagnosis folder; returns its name, for a finding."""
    save(made, folder / name)
    return Path(name)


def draw_sheet(
    photographs: list[tuple[Path, tuple[str, ...]]], path: Path, how: Reading = DEFAULT, marked: bool = False
) -> None:
    """Draws thumbnails of files, lines of text below each; ``marked``: the first ones in the colour of a fault."""
    down = max(1, -(-len(photographs) // ACROSS))
    below = CELL + LINE * max((len(lines) for _, lines in photographs), default=1) + GAP
    width, height = CELL * ACROSS, below * down
    made = figure(width, height)
    made.set_layout_engine("none")  # the text would shrink the photographs
    for number, (file, lines) in enumerate(photographs):
        left = CELL * (number % ACROSS) + GAP / 2
        bottom = height - below * (number // ACROSS) - CELL
        side = CELL - GAP
        axes = made.add_axes((left / width, bottom / height, side / width, side / height))
        axes.set_axis_off()
        try:
            axes.imshow(read_image(file, (SIDE, SIDE), how).permute(1, 2, 0).numpy(), aspect="auto")
        except BadImageError:
            axes.text(0.5, 0.5, "unreadable", ha="center", va="center", color=GREY, transform=axes.transAxes)
        for place, line in enumerate(lines):
            y = (bottom - 0.02 - LINE * place) / height
            colour = TRAP if marked and place == 0 else INK
            text = made.text(left / width, y, _short(printable(line)), fontsize=6.5, va="top", color=colour)
            text.set_parse_math(False)  # a file may be called $x$
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters that the font lacks are drawn as boxes
        save(made, path)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2 - 1]}…{text[-LONGEST // 2 :]}"


def draw_loss(numbers: dict[str, float], shares: dict[str, float], path: Path) -> None:
    """Draws a waterfall from what the net reaches to what is within reach.

    Args:
        numbers: of a diagnosis: rehearsed, mended, probe, majority.
        shares: accuracy that each fault costs, by its title, from ``rehearsed`` to ``mended``.
    """
    made = figure(8, 0.9 + 0.5 * (len(shares) + 3))
    axes = made.subplots()
    at = numbers["rehearsed"]
    bars = [("as it is", 0.0, at, GREY, f"{at:.2f}")]
    for title, share in shares.items():
        bars.append((title, min(at, at + share), abs(share), TRAP, f"{share * 100:+.0f} points"))
        at += share
    for name, acc in (("all fixed", numbers["mended"]), ("linear probe", numbers["probe"])):
        bars.append((name, 0.0, acc, VAL, f"{acc:.2f}"))
    for place, (name, left, width, colour, text) in enumerate(bars):
        axes.barh(name, width, left=left, color=colour, height=0.6)
        axes.text(left + width + 0.01, place, text, va="center", fontsize=9)
    axes.axvline(numbers["majority"], color=GREY, linestyle=":", linewidth=1)
    axes.text(numbers["majority"], -0.75, "largest class", fontsize=8, color=GREY, ha="center")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15)
    axes.set_xlabel("accuracy on unseen images")
    sideways(axes)
    save(made, path)
