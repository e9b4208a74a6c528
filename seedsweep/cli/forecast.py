"""How long a grid will take: its arms are measured on a few batches, and a table is printed."""

from __future__ import annotations

import importlib
import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from seedsweep import signals
from seedsweep.cli.composing import Composer, read_overrides
from seedsweep.errors import OF_ALL, SeedsweepError
from seedsweep.models.called import acting
from seedsweep.overrides import key_of, text_of
from seedsweep.runs.duration import Clock, Pace, spoken
from seedsweep.runs.jobs import is_finished, is_named_by_clock
from seedsweep.runs.recorded import REPEATS, arm_label
from seedsweep.session import Session
from seedsweep.training.options import ArmSettings, what_counts

log = logging.getLogger(__name__)

# in drawings of a small picture (see picture_seconds): a run's pictures and page, those of a grid or study, an audit
RUN_PICTURES, LAST_PICTURES, AUDIT_PICTURES = 40.0, 10.0, 5.0
PER_IMAGE = 0.003  # likewise: what an audit takes for a photograph
SHORT = 10_000  # images of 224x224 pixels through a net: runs with fewer are not measured first
CLOSING = 0.02  # of a budget, kept for the end beside what is forecast for it
MEASURING = 0.2  # of a budget, at most
LOADED = (
    "seedsweep.training.run", "seedsweep.diagnosis.audit_run", "seedsweep.report.run_pictures",
    "seedsweep.report.write_report", "torch.utils.tensorboard",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A job of a grid: its number, its overrides, its arm's name in tables, and its seed."""

    number: int
    lines: list[str]
    label: str
    seed: int


@dataclass
class Forecast:
    """What runs will take, one after another."""

    paces: dict[str, Pace]  # of the arms, by label
    unknown: dict[str, str] = field(default_factory=dict)  # arms that could not be measured, and why
    pictures: float = 0.0  # seconds of a run's pictures and page; 0: it draws none
    closing: float = 0.0  # seconds of what is done once after all runs
    opening: float = 0.0  # seconds of what is done once before them
    has_patience: bool = False  # whether runs may stop before their last epoch

    def run(self, label: str, epochs: int | None = None) -> float:
        """Returns the seconds of a run without what its arm does once; 0 where that is not known."""
        pace = self.paces.get(label)
        return pace.seconds(epochs) + self.pictures if pace else 0.0

    def once(self, labels: Iterable[str]) -> float:
        """Returns the seconds of what these arms do once, what several of them share once."""
        shared: dict[str, float] = {}
        for label in labels:
            for what, seconds in self.paces[label].once.items() if label in self.paces else ():
                shared[what] = max(seconds, shared.get(what, 0.0))
        return sum(shared.values())

    def seconds(self, runs: Sequence[str]) -> float:
        """Returns the seconds of runs, a label each, with what they do once."""
        return self.once(set(runs)) + sum(self.run(label) for label in runs)

    def total(self, runs: Sequence[str]) -> float:
        """Returns the seconds of all of it."""
        return self.opening + self.seconds(runs) + self.closing

    def show(self, runs: Sequence[str], measured_in: float) -> None:
        """Prints the table, an arm a row."""
        console = Console(highlight=False, width=max(Console().width, 100))
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("arm", no_wrap=True)
        for name in ("images/s", "epochs", "runs", "minutes"):
            table.add_column(name, justify="right", no_wrap=True)
        for label in dict.fromkeys(runs):
            n, pace = runs.count(label), self.paces.get(label)
            if pace is None:
                table.add_row(label, "not measured", "", str(n), "?")
                continue
            speed = f"{pace.images_per_second:.0f}" if pace.images_per_second else "stored"
            minutes = (self.once([label]) + n * self.run(label)) / 60
            table.add_row(label, speed, str(pace.epochs), str(n), f"{minutes:.1f}")
        console.print(table)
        for label, why in self.unknown.items():
            console.print(f"not measured: {label}: {why}", style="red", soft_wrap=True, markup=False)
        less = "; early stopping (trainer.patience) makes it less" if self.has_patience else ""
        unknown = f", without {len(self.unknown)} that could not be measured" if self.unknown else ""
        console.print(
            f"forecast   {spoken(self.total(runs))} for {len(runs)} run{'s' * (len(runs) != 1)}{unknown}{less} "
            f"(measured in {spoken(measured_in)})",
            soft_wrap=True,
        )


def jobs_of(composed: DictConfig) -> list[Job] | None:
    """Returns the jobs of a grid in the order of their numbers; None if only its sweeper knows them."""
    sweeper = composed.hydra.sweeper
    if not str(sweeper.get("_target_")).endswith(".BasicSweeper"):
        return None
    params = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    overrides = read_overrides([*params, *map(str, composed.hydra.overrides.task)])
    last = {override.key_or_group: override for override in overrides}
    swept = {key for key, override in last.items() if override.is_sweep_override()}
    jobs = []
    for number, lines in enumerate(BasicSweeper.split_arguments(overrides, None)[0]):
        values = {key_of(line): text_of(line.partition("=")[2]) for line in lines}
        seed = values.get("seed", str(composed.seed))
        jobs.append(Job(number, lines, arm_label("", lines, swept), int(seed) if seed.isdigit() else 0))
    return jobs


def measure_grid(
    composed: DictConfig, compose: Composer, session: Session
) -> tuple[list[Job], Forecast] | None:
    """Measures what the runs of a grid take that are still to go, and prints it.

    Returns:
        The jobs and the forecast; None where there is none: not asked for, not known, nothing is to go, or it is short.

    Raises:
        SeedsweepError: ``budget`` or ``forecast=only`` is asked for, and the jobs are not known here.
    """
    wanted = composed.budget is not None or composed.forecast == "only"
    is_here = str(composed.hydra.launcher.get("_target_")).endswith(".BasicLauncher")
    jobs = jobs_of(composed)
    reason = None
    if str(composed.task) != "train":
        reason = "the jobs are no training runs: call each by itself"
    elif jobs is None:
        reason = "only its sweeper knows the jobs of this grid"
    elif not is_here and (composed.budget is not None or composed.forecast != "only"):
        reason = "the jobs run in other processes, and their speed can't be measured from here"
    if reason and wanted:
        asked = "forecast=only" if composed.budget is None else f"budget={composed.budget}"
        raise SeedsweepError(f"{asked} can't be had: {reason}.")
    if reason and str(composed.task) == "train" and composed.forecast != "off":
        print(f"no forecast: {reason}", flush=True)
    if reason or jobs is None or (composed.forecast == "off" and not wanted):
        return None
    started = time.monotonic()
    jobs = [replace(job, label=f"{_experiment(job, compose)}{job.label}") for job in jobs]
    folder = None if is_named_by_clock(composed.hydra.sweep) else Path(composed.hydra.sweep.dir)
    to_go = [
        job for job in jobs if folder is None or not any(map(is_finished, folder.glob(f"{job.number}_*")))
    ]
    if not to_go:
        return None
    arms = {job.label: compose.config(job.lines) for job in reversed(to_go)}
    if not wanted and is_short([arms[job.label] for job in to_go], session):
        return None
    print(f"measuring {len(arms)} arm{'s' * (len(arms) != 1)} ...", flush=True)
    allowed = MEASURING * Clock.of(composed.budget).seconds
    found = measured(dict(reversed(arms.items())), session, allowed)
    if composed.forecast != "off":
        found.show([job.label for job in to_go], time.monotonic() - started)
    return jobs, found


def _experiment(job: Job, compose: Composer) -> str:
    """Returns the name of a job's experiment; repeats of an arm are composed once."""
    return str(compose([line for line in job.lines if key_of(line) not in REPEATS]).experiment.name)


def is_short(runs: Sequence[ArmSettings], session: Session) -> bool:
    """Says, and prints, whether runs pass so few images through their nets that they are not measured first.

    Images count by their pixels. Where their features are stored, and nothing augments, each passes once.
    """
    from seedsweep.data.checked import FileChecks
    from seedsweep.data.prepare import prepare_images

    images: dict[str, int] = {}
    passes = 0.0
    try:
        for config in runs:
            data = str(config.data)
            if data not in images:
                print("looking at the images ...", flush=True)
                with _silent():
                    prepared = prepare_images(config.data, config.cache_dir, checks=session.of(FileChecks))
                images[data] = len(prepared.table.paths)
            stored = config.features.mode != "off" and config.batchnorm.training_statistics == "stored"
            once = config.is_frozen and stored and not acting(config.augment)
            pixels = math.prod(config.data.image_size) / 224**2
            passes += images[data] * pixels * (1 if once else config.trainer.max_epochs)
    except SeedsweepError:  # the first run says it
        return False
    if passes > SHORT:
        return False
    print(
        f"no forecast: {len(runs)} small run{'s' * (len(runs) != 1)}, about {passes:,.0f} images of 224x224 pixels "
        "through a net; forecast=only measures them",
        flush=True,
    )
    return True


def measured(arms: dict[str, ArmSettings], session: Session, seconds: float = math.inf) -> Forecast:
    """Measures arms; those that differ in nothing that takes time are measured once.

    Args:
        arms: by label, the settings of a run each.
        seconds: that it may take; what is not measured then is unknown.
    """
    for name in LOADED:  # what the first run would load is loaded now, and its time not counted
        importlib.import_module(name)
    patient = any(0 < config.trainer.patience < config.trainer.max_epochs - 1 for config in arms.values())
    found = Forecast({}, has_patience=patient)
    with signals.alarm(seconds) as alarm:
        try:
            photographs = _measure_all(arms, session, found)
        except KeyboardInterrupt:
            if not alarm.rang:
                raise
            photographs = 0
    for label in arms:
        if label not in found.paces:
            found.unknown.setdefault(label, "the budget is too short to measure it")
    from seedsweep.training.measure import picture_seconds

    unit = picture_seconds()
    drawn = any(config.report.write for config in arms.values() if hasattr(config, "report"))
    found.pictures, found.closing = RUN_PICTURES * unit * (1 if drawn else 0.8), LAST_PICTURES * unit
    if any(config.audit == "auto" for config in arms.values()):
        found.opening = (AUDIT_PICTURES + PER_IMAGE * photographs) * unit
    return found


def _measure_all(arms: dict[str, ArmSettings], session: Session, found: Forecast) -> int:
    """Puts the paces of arms into ``found``; returns the number of photographs."""
    from seedsweep.data.checked import FileChecks
    from seedsweep.data.prepare import PreparedImages, prepare_images
    from seedsweep.training.measure import measure

    images: dict[str, tuple[PreparedImages, float]] = {}
    paces: dict[str, Pace | str] = {}
    for label, config in arms.items():
        data, key = str(config.data), _key(config)
        try:
            with _silent():
                if data not in images:
                    checks = session.of(FileChecks)
                    prepare_images(config.data, config.cache_dir, checks=checks)
                    started = time.perf_counter()
                    prepared = prepare_images(config.data, config.cache_dir, checks=checks)
                    images[data] = prepared, time.perf_counter() - started
                if key not in paces:
                    paces[key] = measure(config, images[data][0], session)
        except OF_ALL:
            raise
        except Exception as error:  # the run itself says more
            signals.check()
            paces[key] = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            log.debug("", exc_info=True)
        pace = paces[key]
        if isinstance(pace, Pace):
            # statistics of the training images make other features for each fold
            times = config.data.all_folds if config.batchnorm.recalibrate else 0
            once = {what: max(1, times) * each for what, each in pace.once.items()}
            found.paces[label] = replace(pace, setup=pace.setup + images[data][1], once=once)
        else:
            found.unknown[label] = pace
    return max((len(prepared.table.paths) for prepared, _ in images.values()), default=0)


@contextmanager
def _silent() -> Iterator[None]:
    """Keeps what is found on the way off the terminal: the first run says it."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def _key(config: ArmSettings) -> str:
    """Returns the settings that the time of a run depends on."""
    counted = what_counts(config)
    optim = counted.pop("optim")
    for name in ("seed", "experiment"):
        counted.pop(name)
    return str([counted, optim["name"], optim["accumulate"]])
