"""Reads the jobs of a grid and puts them side by side, arm by arm."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import yaml

from seedsweep.errors import DamagedError
from seedsweep.overrides import short_setting
from seedsweep.runs.csv_files import accuracy_of
from seedsweep.runs.held_out import DIFFERENT, HeldOut, by_digest, title_of
from seedsweep.runs.over_folds import TESTED, Coverage, covered, standings_of
from seedsweep.runs.record import with_departures
from seedsweep.runs.recorded import GRID
from seedsweep.runs.run_result import RunResult, read_job
from seedsweep.runs.time_given import TimeGiven
from seedsweep.stats.interval import Interval, over_seeds
from seedsweep.stats.ranking import Standing, standings
from seedsweep.stats.scores import majority_share
from seedsweep.whole import read_json

SEVERAL = DIFFERENT.format("runs")
RANKED_BY = "val"  # the test images choose nothing
# switches of a section that say all of it; of other sections each says something else
OF_SECTION = {
    "batchnorm": ("policy",),
    "preprocess": ("name",),
    "augment": ("name",),
    "backbone": ("name", "freeze", "train_from"),
}
GAP = 0.05  # of bn_gap, from which on it is spoken of: less is chance on a few hundred images


@dataclass
class ArmRow:
    """One arm over its seeds, and its folds where there are any; accuracies are shares, 0..1."""

    label: str
    val_accs: list[float] = field(default_factory=list)
    macro_f1s: list[float] = field(default_factory=list)  # of the images that rank it
    test_accs: list[float] = field(default_factory=list)
    tested: list[int] = field(default_factory=list)  # test images of each run
    bn_gaps: list[float] = field(default_factory=list)  # of the last epoch
    seconds: list[float] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)  # seed, reason
    diverged: list[tuple[int, str]] = field(default_factory=list)  # seed, reason: "diverged at epoch 2: ..."
    departures: list[str] = field(default_factory=list)  # from the experiment's file, as overrides
    # runs that a budget ended before their last epoch, and why
    early: list[str] = field(default_factory=list)
    dropped: str | None = None  # why it got no further run in a grid with a budget
    majority: float | None = None
    standing: Standing | None = None  # among the arms of the same images
    # the images that all its runs were judged by; None: not known, all failed
    held_out: HeldOut | None = None
    over: Coverage | None = None  # the folds of its runs; None: one split

    @property
    def departs(self) -> str:
        """A sentence on the settings in which the arm departs from its experiment; empty: there are none."""
        said = with_departures(self.label, self.departures)
        return "" if said == self.label else f"{said}: the experiment of this name says otherwise."

    @property
    def full_name(self) -> str:
        """The label as code, and the settings in which the arm departs from the experiment of that name."""
        return with_departures(self.label, self.departures, code=True)

    @property
    def is_early(self) -> bool:
        """Whether a budget ended a run of it before its last epoch, or gave it no further one."""
        return bool(self.early or self.dropped)

    @property
    def why_none(self) -> str:
        """What tables show in place of the mean of an arm without one."""
        return self.diverged[0][1].partition(":")[0] if self.diverged else "failed"

    def of(self, results: Iterable[RunResult]) -> list[RunResult]:
        """Returns those of ``results`` that are its runs: they finished, or diverged, on the row's images."""
        ended = (run for run in results if run.is_finished or run.is_diverged)
        return [run for run in ended if (run.label, run.held_out) == (self.label, self.held_out)]

    @property
    def is_behind(self) -> bool:
        """Whether it is worse than the best of its images beyond chance."""
        return self.standing is not None and self.standing.same is False

    @property
    def accs(self) -> list[float]:
        """Accuracies that rank it, a run each: on validation images; over folds on test images."""
        return self.test_accs if self.over else self.val_accs

    @property
    def other_accs(self) -> list[float]:
        """Accuracies that do not rank it: on test images; over folds on validation images."""
        return self.val_accs if self.over else self.test_accs

    @property
    def mean(self) -> float | None:
        """Mean of :attr:`accs`; over folds each image counts alike."""
        return statistics.fmean(self.accs, self.tested if self.over else None) if self.accs else None

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over runs; None for fewer than two."""
        return statistics.stdev(self.accs) if len(self.accs) > 1 else None


def collect(sweep_dir: Path) -> list[RunResult]:
    """Reads every job folder of a grid, in the order of the job numbers; a damaged record is a job that failed."""
    results = []
    for folder in sorted(sweep_dir.iterdir(), key=job_number):
        try:
            found = read_job(folder)
        except DamagedError as error:
            found = _damaged(folder, str(error))
        except (KeyError, TypeError, AttributeError, ValueError):
            found = _damaged(folder, f"{folder}/metrics.json or failure.json is damaged (it lacks entries).")
        if found is not None:
            results.append(found)
    results = _told_apart(results, is_grid=(sweep_dir / GRID).is_file())
    time = TimeGiven.read(sweep_dir)
    return [replace(each, dropped=time.dropped.get(each.label)) for each in results] if time else results


def _told_apart(results: list[RunResult], *, is_grid: bool) -> list[RunResult]:
    """Calls runs of one label by the settings in which they differ: they are no seeds of one arm.

    The jobs of a grid are called so already; single runs that lie side by side may be of one experiment and differ in
    anything, or in nothing.
    """
    by_label: dict[str, list[RunResult]] = {}
    for result in results:
        if result.metrics:
            by_label.setdefault(result.label, []).append(result)
    called: dict[Path, str] = {}
    for label, runs in by_label.items():
        if is_grid and len({_place(run) for run in runs}) == len(runs):
            continue
        kinds = [settings_in_short(run) for run in runs]
        differ = [key for key in kinds[0] if len({kind.get(key) for kind in kinds}) > 1]
        names = [" ".join([label, *(f"{key}={kind.get(key)}" for key in differ)]) for kind in kinds]
        for run, name in zip(runs, names, strict=True):
            alike = [other for other, its in zip(runs, names, strict=True) if its == name]
            twice = sum(_place(other) == _place(run) for other in alike) > 1
            called[run.folder] = f"{name} ({run.folder.name})" if twice else name
    return [replace(result, called=called.get(result.folder, result.called)) for result in results]


def _place(run: RunResult) -> tuple[HeldOut | None, int, int | None]:
    return run.held_out, run.seed, run.fold


def test_interval(runs: list[RunResult]) -> Interval | None:
    """Returns the accuracy of runs of one arm on the test images; None where they have no predictions of the same."""
    if any(run.fold is not None for run in runs):
        return None
    return accuracy_of([run.predictions.get("test") for run in runs if run.metrics.get("test")])


def settings_in_short(run: RunResult) -> dict[str, str]:
    """Returns what a run did, but for its images and its seed, by names of settings."""
    switches = asdict(run.switches) if run.switches else {}
    shown = {
        f"{section}.{key}": value
        for section, values in switches.items()
        for key, value in values.items()
        if key in OF_SECTION.get(section, values)
    }
    about = {name: (run.metrics.get(name) or {}) for name in ("weights", "features")}
    shown |= {
        "data.image_size": run.metrics.get("image_size"),
        "features.views": about["features"].get("views"),
    }
    shown["backbone.weights"] = about["weights"].get("path") or about["weights"].get("source")
    return {key: short_setting(key, value).partition("=")[2] for key, value in shown.items()}


def _damaged(folder: Path, reason: str) -> RunResult:
    """Returns a job whose record is damaged, as far as its folder says which one it is."""
    label, seed = folder.name, 0
    with suppress(DamagedError, OSError, ValueError, yaml.YAMLError, LookupError, TypeError):
        label = str(read_json(folder / "job.json")["label"])
        seed = int(yaml.safe_load((folder / ".hydra" / "config.yaml").read_text(encoding="utf-8"))["seed"])
    return RunResult(folder, {"label": label, "experiment": label, "seed": seed, "reason": reason})


def job_number(folder: Path) -> tuple[int, str]:
    """Returns what sorts a grid's folders by the numbers that their names begin with."""
    head = folder.name.split("_", 1)[0]
    return (int(head) if head.isdigit() else -1, folder.name)


def arms(results: list[RunResult]) -> list[ArmRow]:
    """Groups jobs by the images they were judged by, and by label; says which arms are as good as the best.

    Data sets in the order of their first jobs; in each the best mean validation accuracy first, then arms of which a
    run diverged (the mean over its other seeds is no fair one); arms without a result last. An arm that was judged by
    several data sets has a row in each. Arms are compared with the best one of the same images.
    """
    rows = _grouped(results)
    for group in by_data(rows):
        _compare(group, [result for result in results if result.held_out == group[0].held_out])
    return rows


def _grouped(results: list[RunResult]) -> list[ArmRow]:
    rows: dict[tuple[str, str], ArmRow] = {}
    finished: dict[tuple[str, str], list[RunResult]] = {}
    for result in results:
        if result.is_finished:
            digest = result.held_out.digest if result.held_out else ""
            finished.setdefault((digest, result.label), []).append(result)
    for key, runs in finished.items():
        runs, over = covered(runs)
        row = rows[key] = ArmRow(runs[0].label, held_out=runs[0].held_out, over=over)
        for result in runs:
            _add(row, result)
    for result in results:
        if result.is_diverged:
            key = result.held_out.digest if result.held_out else "", result.label
            row = rows.setdefault(key, ArmRow(result.label, held_out=result.held_out))
            row.diverged.append((result.seed, result.reason or "unknown"))
    for result in results:
        if not (result.is_finished or result.is_diverged):  # its images are not known
            named = next((row for row in rows.values() if row.label == result.label), None)
            row = named or rows.setdefault(("", result.label), ArmRow(result.label))
            row.failures.append((result.seed, result.reason or "unknown"))
    order = list(dict.fromkeys(digest for digest, _ in rows))
    place = {id(row): order.index(digest) for (digest, _), row in rows.items()}
    return sorted(
        rows.values(),
        key=lambda row: (row.mean is None, place[id(row)], bool(row.diverged), -(row.mean or 0.0)),
    )


def _add(row: ArmRow, result: RunResult) -> None:
    """Adds a finished run's numbers to its arm's."""
    metrics, ranked_by = result.metrics, TESTED if row.over else RANKED_BY
    row.val_accs.append(metrics["val"]["acc"])
    row.macro_f1s.append(metrics[ranked_by]["macro_f1"])
    if metrics["test"]:
        row.test_accs.append(metrics["test"]["acc"])
    if row.over:
        row.tested.append(sum(metrics["images"]["test"].values()))
    gaps = metrics["train_images"]
    row.bn_gaps.append(gaps["bn_gap_last"])
    row.seconds.append(metrics["wall_seconds"])
    row.departures = result.departures
    row.early += [f"{result.which}: {result.early}"] if result.early else []
    row.dropped = row.dropped or result.dropped
    counts = Counter[str]()
    for split in metrics["images"] if row.over else [RANKED_BY]:
        counts.update(metrics["images"][split])
    row.majority = majority_share(counts)


def _compare(rows: list[ArmRow], results: list[RunResult]) -> None:
    """Sets each row's ``standing``; all were judged by the same images."""
    runs: dict[str, dict[int, RunResult]] = {}
    partly = {row.label for row in rows if row.diverged}  # the seeds that are left are no fair sample
    for result in results:
        if result.is_finished and RANKED_BY in result.predictions and result.label not in partly:
            runs.setdefault(result.label, {})[result.seed] = result
    best = rows[0].label if rows else ""
    if rows and rows[0].over:
        of_arms = {row.label: covered(row.of(results))[0] for row in rows if row.label in runs}
        found = standings_of(of_arms, best)
        for row in rows:
            row.standing = found.get(row.label)
        return
    if best in runs:
        first = next(iter(runs[best].values()))
        correct = {
            label: {seed: run.predictions[RANKED_BY].correct for seed, run in by_seed.items()}
            for label, by_seed in runs.items()
            if label == best or all(_same_images(first, run) for run in by_seed.values())
        }
        found = standings(correct, best, first.predictions[RANKED_BY].groups)
        for row in rows:
            row.standing = found.get(row.label)
    for row in rows:  # other images than the best's, or no predictions at all
        if row.standing is None and (interval := over_seeds(row.val_accs)) is not None:
            row.standing = Standing(interval.clipped())


def against(row: ArmRow, rival: ArmRow, results: list[RunResult]) -> Standing | None:
    """Returns how an arm stands against another one that was judged by the same images; None: not known."""
    pair = [replace(rival), replace(row)]
    _compare(pair, results)
    return pair[1].standing


def median_run(runs: list[RunResult]) -> RunResult:
    """Returns the run with the median validation accuracy, the lower one of two; of equals the first."""
    return sorted(runs, key=lambda run: run.accuracy("val") or 0.0)[(len(runs) - 1) // 2]


def _same_images(one: RunResult, other: RunResult) -> bool:
    """Says whether two runs of one data set have the same images in the same order; copies have other folders."""
    first, second = one.predictions[RANKED_BY].paths, other.predictions[RANKED_BY].paths
    by_content = all(run.held_out is not None and run.held_out.by_content for run in (one, other))
    return first == second or (by_content and _below(first) == _below(second))


def _below(paths: list[str]) -> list[str]:
    """Returns the paths below the folder that all of them are in."""
    folder = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    return [os.path.relpath(path, folder) if folder else path for path in paths]


def by_data(rows: list[ArmRow]) -> list[list[ArmRow]]:
    """Returns the arms of each data set, best first; those of which all runs diverged are its last.

    Arms of which all runs failed follow those of the one data set. Where there are several, theirs is not known, and
    they are a list of their own.
    """
    known = [row for row in rows if _is_known(row)]
    groups = by_digest(known, lambda row: row.held_out.digest if row.held_out else "")
    failed = [row for row in rows if not _is_known(row)]
    if len(groups) == 1:
        return [groups[0] + failed]
    return [*groups, failed] if failed else groups


def has_several(groups: list[list[ArmRow]]) -> bool:
    """Says whether the arms of :func:`by_data` were judged by more than one data set: then each needs its title."""
    return sum(_is_known(group[0]) for group in groups) > 1


def _is_known(row: ArmRow) -> bool:
    return row.mean is not None or row.held_out is not None


def data_title(number: int, group: list[ArmRow]) -> str:
    """Returns what the arms of a data set stand under, ``number`` from 1."""
    if not _is_known(group[0]):
        return "no run finished"
    return title_of(number, group[0].held_out)
