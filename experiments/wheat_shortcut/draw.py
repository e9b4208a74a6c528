"""Draws splits.png from results.csv: ``python experiments/wheat_shortcut/draw.py``."""

import csv
from pathlib import Path

from seedsweep.drawing import GREY, INK, TRAP, VAL, figure, save, tidy

HERE = Path(__file__).parent
MAJORITY, BY_PHOTOGRAPH = 0.635, 0.977  # of all 7,139 grains, both counted by the diagnosis
ARMS = {"random_split": ("every grain by itself", TRAP), "grouped_split": ("photographs kept together", VAL)}


def main() -> None:
    """Each dot is one split and one seed of the head."""
    with (HERE / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    made = figure(9, 3.4)
    for axes, key, title in zip(
        made.subplots(1, 2, sharey=True),
        ("test_acc", "test_macro_f1"),
        ("test accuracy", "test macro-F1"),
        strict=True,
    ):
        for place, (arm, (_, colour)) in enumerate(ARMS.items()):
            values = [float(row[key]) for row in rows if row["experiment"] == arm]
            axes.plot(values, [place] * len(values), "o", ms=7, alpha=0.45, color=colour, mew=0)
            mean = sum(values) / len(values)
            axes.plot([mean], [place], "|", ms=22, mew=2.5, color=colour)
            axes.text(mean, place - 0.2, f"{mean:.3f}", ha="center", va="bottom", fontsize=10, color=INK)
        if key == "test_acc":
            for value, text in ((MAJORITY, "always grain"), (BY_PHOTOGRAPH, "naming the photograph")):
                axes.axvline(value, color=GREY, linestyle="--", linewidth=1)
                axes.text(value, 1.62, text, ha="center", va="top", fontsize=8, color=INK)
        axes.set_yticks(range(len(ARMS)), [label for label, _ in ARMS.values()])
        axes.set_ylim(1.7, -0.6)
        axes.set_xlim(0.25, 1.08)
        tidy(axes, title)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", color="#e8e8e8")
    save(made, HERE / "splits.png")


if __name__ == "__main__":
    main()
