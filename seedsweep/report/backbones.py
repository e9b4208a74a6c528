"""Backbones side by side: the ranking by the probe and after fine-tuning, its table, its picture and its page."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import LogLocator
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Lines

from seedsweep.diagnosis.out_of_fold import COMPONENTS
from seedsweep.diagnosis.transfer import NEAREST, PASSES, Measured, front
from seedsweep.drawing import GREY, INK, TRAP, VAL, figure, plain, save, tidy
from seedsweep.models.options import BackboneConfig
from seedsweep.report.blocks import (
    DASH,
    Cell,
    Code,
    Column,
    Figure,
    Figures,
    Number,
    Section,
    Table,
    Text,
    listed,
    percent,
    span,
)
from seedsweep.report.run_pictures import svg
from seedsweep.report.write_report import write_pages
from seedsweep.runs.command import shown
from seedsweep.runs.csv_files import accuracy_of
from seedsweep.runs.grid import collect
from seedsweep.runs.run_result import RunResult
from seedsweep.stats.interval import Interval
from seedsweep.stats.ranking import Ranking, table
from seedsweep.whole import write_csv

CSV, PICTURE = "backbones.csv", "backbones.png"
HEADS = ("net", "probe, %", f"{NEAREST}-NN, %", "LogME", "ms", "parameters", "licence", "val, %", "test, %")
FRONT, ALIKE = "on the front", "not told from the best"
COLUMNS = (
    "name", "net", "weights", "image_size", "probe_acc", "probe_low", "probe_high", "behind_the_best", "p",
    f"nearest_{NEAREST}_acc", "logme", "ms_per_image", "engine", "parameters", "licence", "on_front",
    "finetuned_val_acc", "finetuned_test_acc", "test_low", "test_high", "left_out",
)  # fmt: skip


@dataclass
class Candidate:
    """A net with its weights at one image size.

    Attributes:
        name: in tables.
        net: with its weights.
        size: [height, width] of the images.
        measured: of the frozen net.
        finetuned: folder of the grid that fine-tuned it; None: none did.
    """

    name: str
    net: BackboneConfig
    size: list[int]
    measured: Measured
    finetuned: Path | None = None

    @cached_property
    def runs(self) -> list[RunResult]:
        """Its runs that finished; read when first asked for."""
        return [run for run in collect(self.finetuned) if run.is_finished] if self.finetuned else []

    @property
    def val(self) -> float | None:
        """Mean validation accuracy of the fine-tuned net; None: there is none."""
        return statistics.fmean(run.accuracy("val") or 0.0 for run in self.runs) if self.runs else None

    @property
    def test(self) -> Interval | None:
        """Test accuracy of the fine-tuned net."""
        return accuracy_of([run.predictions.get("test") for run in self.runs])


@dataclass
class Comparison:
    """Candidates on one set of images.

    Attributes:
        candidates: in any order.
        left_out: reasons by name.
        groups: [n] names of the images that were probed.
        arm: that fine-tunes.
    """

    candidates: list[Candidate]
    left_out: dict[str, str]
    groups: list[str]
    arm: str

    @cached_property
    def ranking(self) -> Ranking:
        """The standing of each by the probe, the best first."""
        asked = self.candidates[0].measured.asked
        right = {each.name: each.measured.right[asked] for each in self.candidates}
        return table(right, np.asarray(self.groups)[asked])

    @cached_property
    def ranked(self) -> list[Candidate]:
        """The best by the probe first."""
        order = list(self.ranking)
        return sorted(self.candidates, key=lambda each: order.index(each.name))

    @property
    def best_nets(self) -> list[Candidate]:
        """Each net at its best size, the best by the probe first."""
        by_net: dict[tuple[str, str], Candidate] = {}
        for each in self.ranked:
            by_net.setdefault((each.net.name, each.net.weights), each)
        return list(by_net.values())

    @property
    def winner(self) -> Candidate:
        """The best on validation of those that were fine-tuned, else the best by the probe."""
        return max(self.ranked, key=lambda each: -1.0 if each.val is None else each.val)

    @cached_property
    def on_front(self) -> list[Candidate]:
        """Those that none is as fast as and better than, the fastest first."""
        times = [each.measured.milliseconds for each in self.ranked]
        accs = [self.ranking[each.name].interval.value for each in self.ranked]
        return [self.ranked[place] for place in front(times, accs)]

    @property
    def sentences(self) -> list[str]:
        """What it comes to, in words."""
        first = self.ranked[0]
        standing = self.ranking[first.name]
        rest = [each.name for each in self.ranked[1:]]
        alike = [f"`{name}`" for name in rest if self.ranking[name].same is not False]
        said = [
            f"`{first.name}` has the best probe: {percent(standing.interval.value)} % of {self.n} images correct "
            f"(95 % interval {span(standing.interval)})."
        ]
        if alike:
            said.append(f"These images don't tell {listed(alike)} from it.")
        if self.winner.val is not None:
            done, test = [each for each in self.ranked if each.runs], self.winner.test
            best = "" if len(done) == 1 else f" is the best of {len(done)} on validation. It"
            met = f", and {percent(test.value)} % of test ({span(test)})" if test else ""
            said.append(
                f"Fine-tuned (`{self.arm}`), `{self.winner.name}`{best} classifies {percent(self.winner.val)} % of "
                f"validation correctly{met}."
            )
            if self.winner.val < (probed := self.winner.measured.acc):
                said.append(
                    f"Its probe, without fine-tuning, gets {percent(probed)} %: compare `+experiment=frozen_bn`, which "
                    "trains a head alone."
                )
        return said

    @property
    def n(self) -> int:
        """Images that were judged."""
        return int(self.candidates[0].measured.asked.sum())

    @property
    def notes(self) -> list[str]:
        """How the numbers were measured."""
        over = self.ranking[self.ranked[0].name].interval.over
        engines = listed(sorted({each.measured.engine for each in self.candidates}))
        return [
            f"Probe: logistic regression on {COMPONENTS} principal components at most of the frozen net's features, "
            f"cross-validated on images of training and validation; intervals over {over}. "
            f"{NEAREST}-NN: votes of the most similar images of other groups.",
            "LogME: log evidence an image of a Bayesian linear model; it compares nets on the same images alone.",
            f"ms: an image in a batch through the frozen net ({engines}), median of {PASSES} passes on this machine; "
            "reading files is left out. Front: no net is as fast and better.",
            f"val, test: of the best by the probe, fine-tuned (`{self.arm}`). Test images chose nothing."
            if self.winner.runs
            else "No net was fine-tuned, and no test image passed a net.",
        ]

    def tell(self, folder: Path, following: str, *, write_page: bool) -> None:
        """Writes backbones.csv, the picture and the page, and prints the table.

        Args:
            folder: to write into.
            following: the winner's command.
            write_page: whether report.html is written.
        """
        out = [[name, *[None] * (len(COLUMNS) - 2), reason] for name, reason in self.left_out.items()]
        write_csv(folder / CSV, COLUMNS, [*map(self._row, self.ranked), *out], digits=6)
        save(self._draw(8, 4.5), folder / PICTURE)
        console = Console(highlight=False, width=max(Console().width, 110))
        lines = Lines(box=None, header_style="bold", pad_edge=False)
        for place, name in enumerate(HEADS):
            lines.add_column(name, justify="right" if place else "left")
        for each in self.ranked:
            lines.add_row(*(_text(cell) for cell in self._cells(each)))
        console.print()
        console.print(lines)
        for name, reason in self.left_out.items():
            console.print(f"\nleft out: {name}: {reason}", soft_wrap=True, markup=False)
        for text in (*self.notes, *self.sentences):
            console.print(f"\n{text.replace('`', '')}", soft_wrap=True, markup=False)
        console.print(f"\nresults    {shown(folder / CSV)}, {PICTURE}", soft_wrap=True, markup=False)
        if write_page:
            page = write_pages(
                folder, "Which backbone?", "comparison of backbones", self._sections(following)
            )
            console.print(f"report     {shown(page)}", soft_wrap=True, markup=False)
        console.print(f"next       {following}", soft_wrap=True, markup=False)

    def _cells(self, each: Candidate) -> list[Cell]:
        found, standing = each.measured, self.ranking[each.name]
        about = [FRONT] if each in self.on_front else []
        about += [ALIKE] if standing.behind is not None and standing.same is not False else []
        return [
            Number(each.name, ", ".join(about)),
            Number(percent(standing.interval.value), span(standing.interval)),
            percent(found.nearest),
            f"{found.logme:.3f}",
            f"{found.milliseconds:.2f}",
            f"{found.parameters / 1e6:.1f} M",
            found.licence,
            percent(each.val),
            Number(percent(each.test.value), span(each.test)) if each.test else DASH,
        ]

    def _row(self, each: Candidate) -> list[object]:
        found, standing, test = each.measured, self.ranking[each.name], each.test
        behind = standing.behind.difference.value if standing.behind else None
        interval = standing.interval
        return [
            each.name, each.net.name, found.weights, "x".join(map(str, each.size)),
            interval.value, interval.low, interval.high, behind, standing.p,
            found.nearest, found.logme, found.milliseconds, found.engine, found.parameters, found.licence,
            int(each in self.on_front), each.val, *((test.value, test.low, test.high) if test else (None,) * 3), "",
        ]  # fmt: skip

    def _draw(self, width: float, height: float) -> Drawing:
        """Draws the probe's accuracy against the time of an image, and the Pareto front."""
        made = figure(width, height)
        axes = made.subplots()
        for each in self.ranked:
            at, interval = each.measured.milliseconds, self.ranking[each.name].interval
            ends = [[100 * (interval.value - interval.low)], [100 * (interval.high - interval.value)]]
            colour = VAL if each in self.on_front else GREY
            axes.errorbar(at, 100 * interval.value, ends, fmt="o", ms=5, capsize=3, color=colour)
            axes.annotate(
                plain(each.name), (at, 100 * interval.value), xytext=(6, 5), textcoords="offset points", fontsize=8,
                color=INK,
            )  # fmt: skip
        times = [each.measured.milliseconds for each in self.on_front]
        accs = [100 * self.ranking[each.name].interval.value for each in self.on_front]
        axes.plot(times, accs, drawstyle="steps-post", color=TRAP, linewidth=1, label="Pareto front")
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
        for set_format in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            set_format("{x:g}")
        axes.margins(x=0.15)
        axes.set_xlabel("ms an image, on this machine", fontsize=9, color=INK)
        axes.set_ylabel("% correct by the probe", fontsize=9, color=INK)
        axes.legend(frameon=False, fontsize=9, loc="lower right", labelcolor=INK)
        tidy(axes)
        return made

    def _sections(self, following: str) -> list[Section]:
        heads = [Column(name, number=bool(place)) for place, name in enumerate(HEADS)]
        nets = Table(
            "Backbones, the best by the probe first", heads, [self._cells(each) for each in self.ranked]
        )
        alt = "Accuracy by the probe against milliseconds an image"
        picture = Figures(
            [Figure(alt, "Bars are 95 % intervals.", svg=svg(self._draw(7, 4), "backbones"))], large=True
        )
        out = [Text(f"Left out: `{name}`. {reason}") for name, reason in self.left_out.items()]
        told = Section("verdict", "Verdict", [Text(" ".join(self.sentences)), Code(following)])
        notes = [Text(text, small=True) for text in self.notes]
        return [told, Section("backbones", "Backbones", [nets, *notes, picture, *out])]


def _text(cell: Cell) -> str:
    if isinstance(cell, Number):
        return escape(f"{cell.text}\n{cell.below}".rstrip())
    return escape(str(cell))
