"""Writes a grid down: results.csv, the table on the terminal, and comparison.png."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seedsweep.drawing import GREY, INK, TRAP, VAL, beside, figure, plain, save, sideways
from seedsweep.runs.grid import GAP, SEVERAL, ArmRow, by_data, data_title, has_several
from seedsweep.runs.run_result import RunResult
from seedsweep.stats.power import MANY_SEEDS, MOST_TIMES
from seedsweep.stats.ranking import Standing
from seedsweep.whole import write_csv

SAME = "≈"
SAME_MEANS = "same within noise as the best"
UNDECIDED = "?"
UNDECIDED_MEANS = "more than 5 points behind, but too few images{}or seeds to tell"
LARGEST = "always the largest class"
EARLY = "(ended early)"

CSV_COLUMNS = (
    "job", "label", "experiment", "seed", "status", "backbone", "batchnorm", "preprocess", "batch_size",
    "epochs", "best_epoch", "val_acc", "val_macro_f1", "test_acc", "test_macro_f1", "train_acc", "bn_gap",
    "bn_gap_last", "wall_seconds", "val_acc_low", "val_acc_high", "val_macro_f1_low", "val_macro_f1_high",
    "test_acc_low", "test_acc_high", "test_macro_f1_low", "test_macro_f1_high", "arm_val_acc", "arm_low", "arm_high",
    "arm_over", "behind_best", "p_holm", "same_as_best", "departures", "ended_early", "reason", "data", "fold",
    "arm_test_acc",
)  # fmt: skip


def mark(row: ArmRow) -> str:
    """Returns the mark behind an arm's name, if it has one."""
    if row.standing is None:
        return ""
    return SAME if row.standing.same else UNDECIDED if row.standing.undecided else ""


def explained(rows: list[ArmRow]) -> list[str]:
    """Returns sentences on what the intervals and the marks of these arms mean; none without intervals."""
    found = {row.label: row.standing for row in rows if row.standing}
    if not found:
        return []
    over = _by_what({label: standing.interval.over for label, standing in found.items()})
    sentences = [each.sentence] if (each := rows[0].over) else []
    sentences.append(f"Intervals: 95 %, over {over}.")
    methods = {label: standing.behind.method for label, standing in found.items() if standing.behind}
    if methods:
        sentences.append(f"{SAME} {SAME_MEANS} ({_by_what(methods)}; Holm-corrected, p > 0.05).")
    likely = {label: standing.practical for label, standing in found.items() if standing.same}
    if shares := [f"{label} {each.same:.0%}, {each.behind:.0%}" for label, each in likely.items() if each]:
        what = "Probability to be within 1 point of the best, and to be further behind"
        sentences.append(f"{what}: {'; '.join(shares)}.")
    if any(standing.undecided for standing in found.values()):
        sentences.append(f"{UNDECIDED} {UNDECIDED_MEANS.format(', folds ' if rows[0].over else ' ')}.")
        sentences += [_deciding(label, standing) for label, standing in found.items() if standing.needed]
    alone = [
        row.label for row in rows[1:] if row.mean is not None and not (row.standing and row.standing.behind)
    ]
    if alone:
        why = "a run diverged, other seeds, or no predictions of the same images"
        sentences.append(f"Not compared with the best ({why}): {', '.join(alone)}.")
    uncounted = [f"{row.label} {row.over.uncounted}" for row in rows if row.over and row.over.uncounted]
    if uncounted:
        sentences.append(f"Runs not counted, for not all seeds have their folds: {', '.join(uncounted)}.")
    return sentences


def _deciding(label: str, standing: Standing) -> str:
    """Returns what would decide whether an arm is behind: so many images, or seeds."""
    assert standing.needed
    assert standing.spread
    now, wanted = standing.spread, standing.needed
    unit = "groups of images" if standing.interval.over.startswith("groups") else "validation images"
    ways = [f"{_two_digits(wanted.units)} {unit} in place of {now.units:,}"] if wanted.units else []
    ways += [f"{wanted.seeds} seeds in place of {now.seeds}"] if wanted.seeds else []
    if wanted.together:
        seeds, units = wanted.together
        ways = [
            f"{seeds} seeds in place of {now.seeds} together with {_two_digits(units)} {unit} in place of {now.units:,}"
        ]
    behind = f"{label}: if it really is {100 * now.difference:.0f} points behind"
    if not ways:
        return f"{behind}, not even {MOST_TIMES} times the {unit} and {MANY_SEEDS} seeds would show it."
    return f"{behind}, about {', or '.join(ways)}, would show it in four of five repeats."


def _two_digits(n: int) -> str:
    """Returns 1297 as 1,300: the number comes from a simulation."""
    return f"{round(n, 2 - len(str(n))):,}"


def _by_what(said: dict[str, str]) -> str:
    """Returns what is said of all labels, or of which: ``images (a, b), images and seeds (c)``."""
    labels: dict[str, list[str]] = {}
    for label, what in said.items():
        labels.setdefault(what, []).append(label)
    if len(labels) == 1:
        return next(iter(labels))
    return ", ".join(f"{what} ({', '.join(those)})" for what, those in labels.items())


def judged_by(rows: list[ArmRow]) -> str:
    """Returns the accuracy that these arms are ranked by."""
    kinds = {"test accuracy over folds" if row.over else "validation accuracy" for row in rows if row.accs}
    return kinds.pop() if len(kinds) == 1 else "accuracy"


def majority_of(rows: list[ArmRow]) -> float | None:
    """Returns what always the largest class gives on the images of these arms; None: not known."""
    return next((row.majority for row in rows if row.majority is not None), None)


def write_results_csv(results: list[RunResult], path: Path, rows: list[ArmRow] | None = None) -> None:
    """Writes a row a job, failed ones with their reason.

    ``..._low`` and ``..._high`` are 95 % intervals: of the run over images, ``arm_...`` of its arm. ``data`` is the
    beginning of the digest of the validation and test images: only rows with the same one can be ranked, and
    ``behind_best`` means the best among them. Over folds an arm has ``arm_test_acc`` in the place of ``arm_val_acc``.
    """
    arms = {(row.held_out, row.label): row for row in rows or ()}
    lines = []
    for result in results:
        row = _of_run(result)
        arm = arms.get((result.held_out, result.label))
        if result.is_finished and arm is not None:
            row |= _of_arm(arm)
        lines.append([row.get(key) for key in CSV_COLUMNS])
    write_csv(path, CSV_COLUMNS, lines, digits=5)


def _of_run(result: RunResult) -> dict[str, Any]:
    """Returns what is known of a job, ``metrics`` of its record as they are called there."""
    made = {
        "job": result.folder.name,
        "label": result.label,
        "experiment": result.experiment,
        "seed": result.seed,
        "status": result.metrics.get("status", "failed"),
        "ended_early": result.early,
        "reason": result.reason,
        "data": result.held_out.short if result.held_out else None,
        "fold": result.fold,
    }
    if not result.is_finished:
        return made
    m: dict[str, Any] = result.metrics
    scores = {
        f"{split}_{name}": value
        for split in ("val", "test", "train")
        for name, value in (m[split] or {}).items()
        if name in ("acc", "macro_f1")
    }
    ends = {
        f"{split}_{name}_{end}": getattr(interval, end)
        for split, answers in result.predictions.items()
        for name, interval in answers.intervals.items()
        for end in ("low", "high")
    }
    took = {"wall_seconds": round(m["wall_seconds"], 1), "departures": " ".join(result.departures)}
    row: dict[str, Any] = m | m["train_images"] | scores | ends | took | made
    return row


def _of_arm(arm: ArmRow) -> dict[str, Any]:
    if (found := arm.standing) is None:
        return {}
    row: dict[str, Any] = {"arm_test_acc" if arm.over else "arm_val_acc": found.interval.value}
    row |= {f"arm_{part}": getattr(found.interval, part) for part in ("low", "high", "over")}
    if found.behind is None:
        return row
    same = "yes" if found.same else "unclear" if found.undecided else "no"
    return row | {"behind_best": found.behind.difference.value, "p_holm": found.p, "same_as_best": same}


def print_table(rows: list[ArmRow], console: Console) -> None:
    """Prints the arms of each data set, best first, its majority baseline, and the failures with their reasons."""

    def say(line: str, style: str) -> None:
        console.print(line, style=style, soft_wrap=True, markup=False)

    groups = by_data(rows)
    several = has_several(groups)
    if several:
        say(SEVERAL, "bold")
    for number, group in enumerate(groups, 1):
        if several:
            say(f"\n{data_title(number, group)}", "bold")
        _print_whole(_table(group), console)
        for sentence in [*explained(group), *(row.departs for row in group if row.departs)]:
            say(sentence, "dim")
    for row in rows:
        for text in row.early:
            say(f"{row.label}: {text}", "dim")
        for reason, seeds in by_reason(row.failures).items():
            say(f"failed: {row.label} (seed {seeds}): {reason}", "red")
        for reason, seeds in by_reason(row.diverged).items():
            say(f"{row.label} (seed {seeds}) {reason}", "red")


def notes(row: ArmRow) -> str:
    """Returns what stands behind an arm's name: that its runs ended early, or that folds are missing."""
    return " ".join(filter(None, (EARLY if row.is_early else "", row.over.lacks if row.over else "")))


def _print_whole(table: Table, console: Console) -> None:
    """Prints a table with all its letters: a narrow terminal breaks lines, and no number is cut."""
    width = console.width
    whole = console.measure(table, options=console.options.update(width=10_000)).maximum
    console.width = max(width, whole)
    console.print(table)
    console.width = width


def _table(rows: list[ArmRow]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("arm", no_wrap=True)
    parts = ("test acc", "val acc") if rows[0].over else ("val acc", "test acc")
    for name in (parts[0], "± sd", "95 %", "macro-F1", parts[1], "bn_gap", "seconds", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        if row.mean is None:
            table.add_row(escape(row.label), row.why_none, *[""] * 6, "0", style="dim")
            continue
        gap = statistics.fmean(row.bn_gaps)
        diverged = f" ({len(row.diverged)} diverged)" if row.diverged else ""
        table.add_row(
            f"{escape(row.label)} {mark(row)}".rstrip() + diverged + f" {notes(row)}".rstrip(),
            f"{row.mean:.3f}",
            f"{row.spread:.3f}" if row.spread is not None else "",
            f"{row.standing.interval.low:.3f}-{row.standing.interval.high:.3f}" if row.standing else "",
            f"{statistics.fmean(row.macro_f1s):.3f}",
            f"{statistics.fmean(row.other_accs):.3f}" if row.other_accs else "",
            f"[red]{gap:+.3f}[/red]" if abs(gap) > GAP else f"{gap:+.3f}",
            f"{statistics.fmean(row.seconds):.0f}",
            str(len(row.accs)),
        )
    if (majority := majority_of(rows)) is not None:
        table.add_row(LARGEST, f"{majority:.3f}", style="dim")
    return table


def by_reason(reasons: list[tuple[int, str]]) -> dict[str, str]:
    """Returns each reason once, with its seeds."""
    seeds: dict[str, list[str]] = {}
    for seed, reason in reasons:
        if str(seed) not in seeds.setdefault(reason, []):  # of one seed several folds
            seeds[reason].append(str(seed))
    return {reason: ", ".join(numbers) for reason, numbers in seeds.items()}


def draw_comparison(rows: list[ArmRow], path: Path) -> None:
    """Draws accuracy with its interval, and bn_gap, of each arm, best on top, those without a result grey.

    Where the arms were judged by different images, those of each data set stand together, under its title.
    """
    groups = by_data(rows)
    titles = [data_title(number, group) for number, group in enumerate(groups, 1)]
    titles = titles if has_several(groups) else []
    names = 0.08 * max((len(row.label) for row in rows), default=0)  # inches of the longest one
    made = figure(9.6 + names, 1.8 + 0.42 * max(len(rows) + len(titles), 1))
    acc, gap = made.subplots(1, 2, sharey=True, width_ratios=[2.2, 1])
    places: list[int] = []
    y = 0
    for number, group in enumerate(groups):
        if titles:
            acc.text(0.0, y - 0.1, plain(titles[number]), va="center", fontsize=9, weight="bold", color=INK)
            y += 1
        for place, row in enumerate(group, y):
            _draw_arm(acc, gap, row, place)
            places.append(place)
        if (majority := majority_of(group)) is not None:
            reach = y - 0.5, y + len(group) - 0.5
            acc.plot([majority] * 2, reach, color=GREY, linestyle="--", linewidth=1)
            acc.text(majority + 0.008, y - 0.6, LARGEST, va="center", fontsize=8, color=GREY)
        y += len(group)
    acc.set_yticks(places, [plain(row.label) for group in groups for row in group])
    acc.set_ylim(y - 0.4, -0.9)
    acc.set_xlim(0, 1.01)
    marks = {mark(row) for row in rows}
    key = ["dots: runs" if any(row.over for row in rows) else "dots: seeds", "bar: mean"]
    key += ["line: 95 % interval"] * any(row.standing for row in rows)
    key += [f"{SAME} {SAME_MEANS}"] * (SAME in marks)
    key += [f"{UNDECIDED} too few images to tell"] * (UNDECIDED in marks)
    acc.set_xlabel("    ".join(key), fontsize=8, color=GREY, loc="left")
    for axes, title in ((acc, judged_by(rows)), (gap, "bn_gap of the last epoch")):
        sideways(axes, title)
    gap.axvline(0, color=INK, linewidth=0.8)
    low, high = gap.get_xlim()
    gap.set_xlim(min(low, -0.05), max(high, 0.1))
    gap.xaxis.set_major_locator(MaxNLocator(4))
    save(made, path)


def _draw_arm(acc: Axes, gap: Axes, row: ArmRow, place: int) -> None:
    if row.mean is None:
        acc.text(0.02, place, row.why_none, va="center", color=GREY, fontsize=9)
        return
    acc.plot(row.accs, [place] * len(row.accs), "o", ms=6, alpha=0.45, color=VAL, mew=0)
    acc.plot([row.mean], [place], "|", ms=16, mew=2.5, color=VAL)
    ends = list(row.accs)
    if row.standing is not None:
        interval = [row.standing.interval.low, row.standing.interval.high]
        acc.plot(interval, [place, place], "-", linewidth=1.4, color=VAL, alpha=0.8)
        ends += interval
    beside(acc, f"{row.mean:.3f} {mark(row)}".rstrip(), ends, place, right=row.mean < 0.85)
    gap.barh(place, statistics.fmean(row.bn_gaps), height=0.5, color=TRAP, alpha=0.75)
    gap.plot(row.bn_gaps, [place] * len(row.bn_gaps), ".", ms=5, color=INK, alpha=0.5)
