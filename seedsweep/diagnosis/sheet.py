"""Contact sheets: the photographs that a finding is about, with a line or two below each."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from seedsweep.data.image_formats import BadImageError
from seedsweep.data.images import DEFAULT, Reading, read_image
from seedsweep.drawing import GREY, INK, TRAP, figure, save
from seedsweep.names import printable

SIDE = 112  # pixels of a thumbnail
ACROSS = 8
LONGEST = 20  # letters of a line
CELL, GAP, LINE = 1.3, 0.08, 0.12  # inches: width of a cell, around it, height of a line


@dataclass(frozen=True)
class Photograph:
    """One thumbnail; ``lines`` stand below it, the first one in the colour of a fault if ``marked``."""

    path: Path
    lines: tuple[str, ...]
    marked: bool = False


def draw_sheet(
    photographs: list[Photograph], path: Path, across: int = ACROSS, how: Reading = DEFAULT
) -> None:
    """Draws thumbnails, row by row; a file that can't be read is an empty frame.

    Args:
        photographs: in order.
        path: of the PNG.
        across: thumbnails a row.
        how: the data set's images are read.
    """
    down = max(1, -(-len(photographs) // across))
    lines = max((len(photograph.lines) for photograph in photographs), default=1)
    width, height = CELL * across, (CELL + LINE * lines + GAP) * down
    made = figure(width, height)
    made.set_layout_engine("none")  # the text would shrink the photographs
    for number, photograph in enumerate(photographs):
        left = CELL * (number % across) + GAP / 2
        bottom = height - (CELL + LINE * lines + GAP) * (number // across) - CELL
        side = CELL - GAP
        axes = made.add_axes((left / width, bottom / height, side / width, side / height))
        axes.set_axis_off()
        try:
            pixels = read_image(photograph.path, (SIDE, SIDE), how).permute(1, 2, 0).numpy()
            axes.imshow(pixels, aspect="auto")
        except BadImageError:
            axes.text(0.5, 0.5, "unreadable", ha="center", va="center", color=GREY, transform=axes.transAxes)
        for place, line in enumerate(photograph.lines):
            made.text(
                left / width,
                (bottom - 0.02 - LINE * place) / height,
                _short(printable(line)),
                fontsize=6.5,
                va="top",
                color=TRAP if photograph.marked and place == 0 else INK,
                parse_math=False,  # a file may be called $x$
            )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters that the font lacks are drawn as boxes
        save(made, path)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2 - 1]}…{text[-LONGEST // 2 :]}"
