"""Says of each arm of a grid that is behind the best beyond chance what the runs' own records show of the reason.

Nothing is trained or classified again. Two things prove a reason: the two modes of BatchNorm
(:mod:`seedsweep.report.run_in_words`), and an arm that differs in one setting alone and is better beyond chance. All
else is told as it was measured, with the command that would decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from seedsweep.diagnosis.options import check_run
from seedsweep.diagnosis.remedy import proved, saved_whole
from seedsweep.errors import SeedsweepError
from seedsweep.report.blocks import listed, p_value, percent
from seedsweep.report.run_in_words import OVERFITTED, is_trapped, of_gap
from seedsweep.runs.command import shown, typed
from seedsweep.runs.grid import GAP, ArmRow, against, by_data, median_run, settings_in_short
from seedsweep.runs.run_result import RunResult
from seedsweep.runs.switches import Switches
from seedsweep.stats.scores import NO_LESS, loss_of_frequencies

ONE_CLASS = 0.98  # share of the validation images that are answered with one class
SCALED = 20.0  # times as far apart or as near are black and white where inputs are scaled otherwise
LEARNED = 0.9  # training accuracy from which on more epochs teach little
FELL = 0.98  # of the training loss before: more than rounding and chance of a last epoch
MOST_DIFFERENCES = 2  # settings in which a better arm may differ and still be named


@dataclass(frozen=True)
class Case:
    """A run of an arm that is behind, and one of the best arm: of each the median."""

    run: RunResult
    best: RunResult


@dataclass(frozen=True)
class WhyBehind:
    """What is told of one arm."""

    run: RunResult  # whose numbers are told: its median run
    text: str  # sentences; settings and commands stand between backticks

    @property
    def can_be_examined(self) -> bool:
        """Whether ``task=diagnose`` finds what it needs."""
        return bool(_deciding(self.run))


def why_behind(rows: list[ArmRow], results: Iterable[RunResult]) -> list[WhyBehind]:
    """Returns what is told of every arm that is behind beyond chance, and of those that diverged."""
    told = []
    for group in by_data(rows):
        runs = {row.label: row.of(results) for row in group}
        for row in group:
            if row.is_behind:
                told.append(_of_row(row, group, runs))
            elif row.diverged and runs[row.label]:
                told.append(_of_diverged(row, runs[row.label]))
    return told


def behind_in_words(row: ArmRow, best: str = "") -> str:
    """Returns by how much an arm is behind, and whom if that is named; empty where that may be chance."""
    found = row.standing
    if found is None or not row.is_behind or found.behind is None or found.p is None:
        return ""
    of = f" `{best}`" if best else ""
    return f"is {percent(found.behind.difference.value)} points behind{of} ({p_value(found.p)})"


def _of_row(row: ArmRow, group: list[ArmRow], runs: dict[str, list[RunResult]]) -> WhyBehind:
    own, best = runs[row.label], median_run(runs[group[0].label])
    case = Case(median_run(own), best)
    alone, compared = _compared(row, group, runs)
    parts = [f"{row.full_name} {behind_in_words(row, best.label)}{compared}."]
    found = [(fact, text) for fact in FACTS if (text := fact(case))]
    if found and len(own) > 1:
        parts[0] += f" Of its median run ({case.run.which}):"
    others = [Case(run, best) for run in own if run is not case.run]
    for fact, text in found:
        n = 1 + sum(fact(other) is not None for other in others)
        parts.append(text if n == len(own) else f"{text} ({n} of its {len(own)} runs show this.)")
    if not alone and not is_trapped(case.run):
        command = _deciding(case.run)
        parts.append(f"The records don't prove the reason{f'; to find it: `{command}`' if command else ''}.")
    return WhyBehind(case.run, " ".join(parts))


def _of_diverged(row: ArmRow, runs: list[RunResult]) -> WhyBehind:
    run = next(run for run in runs if run.is_diverged)
    parts = [
        f"{row.full_name}: {len(row.diverged)} of {len(runs)} runs diverged, so its mean is no fair one."
    ]
    if run.switches is not None:
        parts.append(
            f"A smaller `optim.lr` than {run.switches.optim.lr:g} would tell whether the rate is why."
        )
    return WhyBehind(run, " ".join(parts))


def _deciding(run: RunResult) -> str:
    """Returns the command that examines a run; empty where what it needs was not kept."""
    try:
        check_run(run.folder)
    except SeedsweepError:
        return ""
    return typed("task=diagnose", ("diagnose.run", shown(run.folder))) if run.config_text else ""


def _compared(row: ArmRow, group: list[ArmRow], runs: dict[str, list[RunResult]]) -> tuple[bool, str]:
    """Tells the better arm that differs in the fewest settings: whether in one alone, and the end of a sentence."""
    run = median_run(runs[row.label])
    own = settings_in_short(run)
    rivals = []
    for rival in group[: group.index(row)]:
        other = median_run(runs[rival.label])
        its = settings_in_short(other)
        keys = [key for key in own.keys() | its.keys() if own.get(key) != its.get(key)]
        if _trained_on(run) == _trained_on(other) and 1 <= len(keys) <= MOST_DIFFERENCES:
            rivals.append((len(keys), rival, sorted(keys), its))
    for n, rival, keys, its in sorted(rivals, key=lambda each: each[0]):
        standing = against(row, rival, [*runs[row.label], *runs[rival.label]])
        if standing is None or standing.same is not False or standing.behind is None:
            continue
        named = listed([f"`{key}` ({_short(own.get(key))}, there {_short(its.get(key))})" for key in keys])
        points = percent(standing.behind.difference.value)
        who = "from which" if rival is group[0] else f"and {points} behind `{rival.label}`, from which"
        return n == 1, f", {who} it differs in {named} {'alone' if n == 1 else 'only'}"
    return False, ""


def _trained_on(run: RunResult) -> list[object]:
    digests = run.metrics.get("digests") or {}
    if run.fold is not None:  # one of its median runs may be of another fold
        return [run.held_out]
    return [digests.get("split"), digests.get("images")]


def _short(value: str | None) -> str:
    """Returns a setting's value; of a file its name."""
    return str(value).rpartition("/")[2]


def _random_start(case: Case) -> str | None:
    random, pretrained = (
        (run.metrics.get("weights") or {}).get("source") == "none" for run in (case.run, case.best)
    )
    if not random or pretrained:
        return None
    n = sum(_images(case.run, "train").values())
    return f"It began with random weights and saw {n} images, `{case.best.label}` with pretrained ones."


def _scaling(case: Case) -> str | None:
    here, there = (_width(run.switches) for run in (case.run, case.best))
    if not here or not there or 1 / SCALED < here / there < SCALED:
        return None
    how = "as if scaled twice" if here < there else "as if not scaled at all"
    return f"Black and white are {here:.3g} apart in its inputs, {there:.3g} in those of `{case.best.label}`: {how}."


def _width(switches: Switches | None) -> float:
    """Returns how far apart black and white are in the inputs, on average over the channels; 0: not known."""
    shown = switches.preprocess if switches else None
    if shown is None or not shown.black or not shown.white:
        return 0.0
    return abs(math.fsum(shown.white) - math.fsum(shown.black)) / len(shown.black)


def _modes(case: Case) -> str | None:
    gap = case.run.gap
    return of_gap(case.run, gap) if gap is not None and abs(gap) > GAP else None


def _moved_statistics(case: Case) -> str | None:
    """Tells statistics that left those of the weights, where nothing else in the backbone moved."""
    here, there = (run.switches.batchnorm if run.switches else None for run in (case.run, case.best))
    if here is None or there is None or not here.layers or not case.run.metrics.get("frozen"):
        return None
    if not (here.recalibrate or here.update_statistics) or there.recalibrate or there.update_statistics:
        return None
    how = "estimated anew on its training images" if here.recalibrate else "moved by its training"
    return f"Its BatchNorm statistics were {how} (`{here.policy}`), those of `{case.best.label}` are the weights' own."


def _no_learning(case: Case) -> str | None:
    """Tells losses that never fell below what known class frequencies give: ln(classes) where all are equally many."""
    run, counts = case.run, [_images(case.run, split) for split in ("train", "val")]
    losses = [row["train/loss"] for row in run.history if "train/loss" in row]
    of_val = [row["val/loss"] for row in run.history if "val/loss" in row]
    if not losses or not of_val or not all(counts):
        return None
    head = run.switches.head if run.switches else None
    smoothing, balanced = (head.label_smoothing, head.class_weights != "none") if head else (0.0, False)
    prior = loss_of_frequencies(counts[0], smoothing=smoothing, balanced=balanced)
    prior_val = loss_of_frequencies(counts[0], counts[1])
    if min(losses) < NO_LESS * prior or min(of_val) < NO_LESS * prior_val:
        return None
    epochs = f"{len(losses)} epoch{'' if len(losses) == 1 else 's'}"
    said = (
        f"It did not learn: in {epochs} its training loss never fell below {min(losses):.2f}, and a net that knows "
        f"only how frequent the classes are has {prior:.2f}"
    )
    rate = f"`optim.lr` is {run.switches.optim.lr:g}" if run.switches else "the learning rate is not known"
    if max(losses) < prior / NO_LESS:
        return f"{said}. The loss is flat, as with too small a learning rate: {rate}."
    if max(losses) > 2 * prior:
        return f"{said}. The loss rose to {max(losses):.3g}, as with too large a learning rate: {rate}."
    return f"{said}; {rate}."


def _one_class(case: Case) -> str | None:
    found = case.run.predictions.get("val")
    if found is None or len(found.classes) < 2:
        return None
    counts = [int((found.predicted == number).sum()) for number in range(len(found.classes))]
    share = max(counts) / sum(counts)
    if share < ONE_CLASS:
        return None
    return f"It answers `{found.classes[counts.index(max(counts))]}` to {percent(share)} % of the validation images."


def _memorised(case: Case) -> str | None:
    own, best = ([run.accuracy(split) for split in ("train", "val")] for run in (case.run, case.best))
    (train, val), (best_train, best_val) = own, best
    if train is None or val is None or best_train is None or best_val is None:
        return None
    if train - val <= OVERFITTED + max(0.0, best_train - best_val):
        return None
    said = (
        f"It classifies {percent(train)} % of its training images and {percent(val)} % of the validation images "
        f"correctly, `{case.best.label}` {percent(best_train)} and {percent(best_val)} %"
    )
    if _random_start(case):
        return f"{said}: that points to too few images for a random start."
    return f"{said}: more of what it learned holds for its training images alone."


def _unfinished(case: Case) -> str | None:
    """Tells a training that ended while it still improved, with a longer one that was proved to be another."""
    run, losses = case.run, [row["train/loss"] for row in case.run.history if "train/loss" in row]
    train, epochs = run.accuracy("train"), len(case.run.history)
    if len(losses) < 2 or train is None or train >= LEARNED or run.metrics.get("best_epoch") != epochs - 1:
        return None
    if losses[-1] >= FELL * losses[-2] or _no_learning(case):
        return None
    longer = proved([f"trainer.max_epochs={2 * epochs}"], saved_whole(run.folder), None)
    tells = f": `{' '.join(longer)}` would tell what more epochs bring" if longer else ""
    return (
        f"Its best epoch was the last ({epochs}), and its training loss still fell ({losses[-2]:.2f} to "
        f"{losses[-1]:.2f}){tells}."
    )


def _images(run: RunResult, split: str) -> dict[str, int]:
    """Returns the numbers of images by class; empty where the record does not tell."""
    return (run.metrics.get("images") or {}).get(split) or {}


Fact = Callable[[Case], str | None]
FACTS: tuple[Fact, ...] = (
    _scaling, _modes, _no_learning, _one_class, _moved_statistics, _random_start, _memorised, _unfinished,
)  # fmt: skip
