"""How all pictures look."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

TRAIN, VAL, TRAP, GREY, INK = "#8a6d3b", "#1f6f78", "#c4452d", "#9a9a9a", "#222222"
DOTS = 120  # an inch


def figure(width: float, height: float) -> Figure:
    """Returns a white figure of ``width`` x ``height`` inches with its own canvas (no global state)."""
    made = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(made)
    return made


def plain(text: str) -> str:
    """Returns ``text`` so that matplotlib shows it as it is: a folder may be called a$b$, and that is no formula."""
    return text.replace("$", r"\$")


def tidy(axes: Axes, title: str = "") -> None:
    """Removes what is not data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK, labelsize=9, length=3)
    axes.grid(axis="y", color="#e8e8e8", linewidth=0.8)
    axes.set_axisbelow(True)
    if title:
        axes.set_title(title, loc="left", fontsize=11, color=INK)


def sideways(axes: Axes, title: str = "") -> None:
    """Tidies axes whose values run from left to right: a name at each place of the y axis."""
    tidy(axes, title)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color="#e8e8e8")
    axes.tick_params(axis="y", length=0)


def beside(axes: Axes, text: str, ends: Iterable[float], place: float, *, right: bool = True) -> None:
    """Writes a value beside a row of a picture that runs sideways, clear of all that is drawn from end to end."""
    axes.annotate(
        text, (max(ends) if right else min(ends), place), xytext=(8 if right else -8, 0),
        textcoords="offset points", ha="left" if right else "right", va="center", fontsize=9, color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )  # fmt: skip


def save(made: Figure, path: Path) -> None:
    """Writes a PNG of 120 dots an inch."""
    made.set_dpi(DOTS)
    layout = made.get_layout_engine()
    if layout is not None:  # savefig would draw everything once more, for nothing but the layout
        layout.execute(made)
        made.set_layout_engine(None)
    made.savefig(path, dpi=DOTS)
