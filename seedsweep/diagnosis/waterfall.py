"""The picture of a verdict: from what the net reaches to what is within reach, and what each fault costs."""

from __future__ import annotations

from pathlib import Path

from seedsweep.drawing import GREY, TRAP, VAL, figure, save, sideways


def draw_loss(numbers: dict[str, float], shares: dict[str, float], path: Path) -> None:
    """Draws a waterfall.

    Args:
        numbers: of a diagnosis: val_acc, mended, probe, majority.
        shares: accuracy that each fault costs, by its title, from ``val_acc`` to ``mended``.
        path: of the PNG.
    """
    made = figure(8, 0.9 + 0.5 * (len(shares) + 3))
    axes = made.subplots()
    start, end = numbers["val_acc"], numbers["mended"]
    names, lefts, widths, colours = ["as it is"], [0.0], [start], [GREY]
    at = start
    for title, share in shares.items():
        names.append(title)
        lefts.append(min(at, at + share))
        widths.append(abs(share))
        colours.append(TRAP)
        at += share
    names += ["all fixed", "linear probe"]
    lefts += [0.0, 0.0]
    widths += [end, numbers["probe"]]
    colours += [VAL, VAL]
    axes.barh(names, widths, left=lefts, color=colours, height=0.6)
    values = [start, *shares.values(), end, numbers["probe"]]
    for place, (left, width, value) in enumerate(zip(lefts, widths, values, strict=True)):
        text = (
            f"{value:.2f}" if place in (0, len(names) - 2, len(names) - 1) else f"{value * 100:+.0f} points"
        )
        axes.text(left + width + 0.01, place, text, va="center", fontsize=9)
    axes.axvline(numbers["majority"], color=GREY, linestyle=":", linewidth=1)
    axes.text(numbers["majority"], -0.75, "largest class", fontsize=8, color=GREY, ha="center")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15)
    axes.set_xlabel("validation accuracy")
    sideways(axes)
    save(made, path)
