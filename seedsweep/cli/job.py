"""What Hydra calls for a single run, and for each job of a grid.

A job of a grid leaves its result in its folder (metrics.json, or failure.json with the reason), never in memory
alone, so that any launcher may run it, in another process or on another machine.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from seedsweep import disk, signals
from seedsweep.cli import launched as worker
from seedsweep.cli import launchers, notes
from seedsweep.cli.litter import remove_if_empty
from seedsweep.config.hydra_setup import to_config
from seedsweep.config.schema import Config
from seedsweep.errors import DamagedError, DiskError, DivergedError, GridEnd, SeedsweepError
from seedsweep.names import path_of
from seedsweep.runs import job_record as record
from seedsweep.runs.command import command, typed
from seedsweep.runs.grid_folder import settle
from seedsweep.runs.naming import arm_label, count, varied
from seedsweep.runs.recorded import write_copy
from seedsweep.training.identity import digest as run_digest
from seedsweep.whole import read_json

log = logging.getLogger(__name__)


@dataclass
class State:
    """Of the process that runs the command line: how main learns what Hydra does not return."""

    process: int | None = None  # the command line's; a launcher's workers have others
    sweep_dir: Path | None = None  # of a grid
    places: disk.Places = field(default_factory=dict)  # that the command line writes into
    task: str = "train"
    report: bool = True  # of a grid: is one written at its end?
    error: SeedsweepError | None = None  # of a single run: what the user can mend
    defect: tuple[str, Path] | None = None  # of a single run: our own fault, and where its traceback is


state = State()


def reset() -> State:
    """Forgets an earlier command line."""
    global state
    state = State(process=os.getpid())
    return state


class GridFolder(Callback):
    """Hydra callback: settles where the grid's jobs are, and how many are begun together."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Remembers where a single run writes, before Hydra does."""
        with suppress(OmegaConfBaseException):  # a folder named by what only the running job knows
            state.places = disk.places_of(Path(config.hydra.run.dir), path_of(str(config.paths.cache)))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Makes the folder before the first job, and remembers it."""
        state.places = disk.places_of(Path(config.hydra.sweep.dir), path_of(str(config.paths.cache)))
        with suppress(OSError):  # Hydra meets the same error next, and does not swallow it
            state.sweep_dir = settle(config.hydra)
        state.task = str(config.task)
        state.report = bool(config.report.write)
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # Ray would drop lines of jobs that look alike
        if "submitit_folder" in config.hydra.launcher:
            print(f"waiting for the jobs; what they print is in {state.sweep_dir}/.submitit/", flush=True)
        sweeper = config.hydra.sweeper
        batch = launchers.batch_of(config.hydra.launcher)
        if batch and sweeper.get("max_batch_size", batch) is None:
            with open_dict(sweeper):
                sweeper.max_batch_size = batch
        with suppress(OSError):
            write_copy(config, Path(config.hydra.sweep.dir))


def run(cfg: DictConfig) -> None:
    """Hydra's task function."""
    notes.forget()
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    if hydra.mode == RunMode.MULTIRUN:
        _grid_job(cfg, folder)
        return
    try:
        _single(cfg, folder)
    except KeyboardInterrupt:
        _say_stopped(cfg, folder)
        raise
    except SeedsweepError as caught:
        _check_signals(cfg, folder)
        state.error = caught
        if not isinstance(caught, DivergedError):  # that was trained
            notes.put_back()
    except Exception as caught:
        _check_signals(cfg, folder)
        if told := disk.sentence(caught, state.places):
            state.error = SeedsweepError(told)
            _say_stopped(cfg, folder)
        else:
            state.defect = (record.reason_of(caught), record.write_error_log(folder))
    finally:
        remove_if_empty(hydra, str(cfg.task), Path(cfg.paths.outputs))


def _single(cfg: DictConfig, folder: Path) -> None:
    resume = bool(cfg.resume)
    if resume and record.is_finished(folder):
        log.info("%s is finished already: nothing to do", folder)
        return
    if resume and (ended := record.diverged(folder)):
        again = ". The same settings would do so again: begin a new run with others, a smaller optim.lr for instance."
        raise DivergedError(ended.epoch, ended.what, again)
    if not resume and record.holds_run(folder):
        raise SeedsweepError(
            f"{folder} holds a run already: give another hydra.run.dir; {typed(('resume', folder))} goes on with it."
        )
    notes.write(cfg, folder)
    config = to_config(cfg)
    label = str(read_json(folder / record.JOB).get("label") or config.experiment.name)  # a grid's job
    if config.task != "train":
        _task(config, folder, label, resume)
        return
    log.info("%s -> %s", label, folder)
    with record.alone(folder) as ours:
        if not ours:
            raise SeedsweepError(f"another process is at the run in {folder}: wait for it, or end it.")
        _task(config, folder, label, resume)
    (folder / "failure.json").unlink(missing_ok=True)
    log.info("dashboard: %s", command("task=dashboard", ("dashboard.dir", folder)))


def _check_signals(cfg: DictConfig, folder: Path) -> None:
    """Raises :class:`signals.Stopped` if a library made another error of a signal; says how to go on."""
    if signals.asked():
        _say_stopped(cfg, folder)
        signals.check()


def _say_stopped(cfg: DictConfig, folder: Path) -> None:
    if cfg.task != "train":
        return
    if record.is_finished(folder):
        log.info("stopped; the run itself is finished: %s", folder)
    else:
        log.info("stopped; go on with: %s", command(("resume", folder)))


def _grid_job(cfg: DictConfig, folder: Path) -> None:
    """Runs a job, unless it is finished or another process is at it; its failure stays in its folder."""
    signals.check()
    hydra = HydraConfig.get()
    grid = Path(hydra.sweep.dir)
    swept = varied(grid)
    label = arm_label(str(cfg.experiment.name), list(hydra.overrides.task), set(swept))
    total = count(swept)
    place = f"{int(hydra.job.num) + 1}" + (f"/{total}" if total else "")
    try:
        config = to_config(cfg)
    except SeedsweepError as caught:  # of a swept value that was not checked before the first job
        log.info("")
        log.info("[%s] %s", place, label)
        _fail(folder, cfg, label, str(caught))
        return
    digest = run_digest(config)
    try:
        if os.getpid() != state.process:
            worker.enter(hydra, place)
            config.trainer.progress_bar = False  # several bars on one terminal are none
            log.info("%s seed %d", label, config.seed)
        else:
            log.info("")
            log.info("[%s] %s seed %d", place, label, config.seed)
        with record.alone(folder) as ours:
            if ours:
                notes.write(cfg, folder)
            if not ours:
                log.info("another process is at it: left alone")
            elif config.task != "train":  # a study, or one of its workers: its trials know what is done
                (folder / "failure.json").unlink(missing_ok=True)
                _note_task(folder, config, label, ended=False)
                _task(config, folder, label, resume=True)
                _note_task(folder, config, label, ended=True)
            elif not _settled(grid, folder, config, label, digest):
                record.write_run(folder, digest, label, record.shared_manifest(grid, config.data))
                _task(config, folder, label, resume=True)
    except DiskError as caught:
        _end_grid(str(caught), folder, config, label)
    except DivergedError as caught:  # its metrics.json says so
        log.warning("%s", caught)
    except SeedsweepError as caught:
        signals.check()
        record.write_error_log(folder)
        _fail(folder, config, label, str(caught))
    except (Exception, SystemExit) as caught:  # a failing job must not end the grid: memory, a defect, ...
        signals.check()
        if launchers.is_requeue(hydra.launcher, caught):
            raise
        if told := disk.sentence(caught, disk.places_of(grid, config.cache_dir)):
            _end_grid(told, folder, config, label)
        record.write_error_log(folder)
        _fail(folder, config, label, record.reason_of(caught))
    _give_memory_back()


def _settled(grid: Path, folder: Path, config: Config, label: str, digest: str) -> bool:
    """Says whether there is nothing to train: the job is finished, or its folder is another's."""
    own = _config_of(folder)
    earlier = [other for other in _folders(grid, folder) if _config_of(other, own=folder) == digest]
    for other in earlier:
        if record.is_ended(other):
            ended = record.diverged(other)
            log.info("%s already%s", ended or "finished", "" if other == folder else f" in {other.name}")
            (other / "failure.json").unlink(missing_ok=True)
            return True
    if own not in (None, digest) and record.holds_run(folder):
        reason = "its folder holds a run with other settings; give another hydra.sweep.dir."
        _fail(folder, config, label, reason)
        return True
    for other in [*earlier, folder]:  # a failed job is tried again, perhaps under another number
        (other / "failure.json").unlink(missing_ok=True)
    return False


def _task(config: Config, folder: Path, label: str, resume: bool) -> None:
    """Runs the file of ``seedsweep/cli/tasks`` that ``task=`` names; imported late, for torch takes seconds."""
    task = importlib.import_module(f"seedsweep.cli.tasks.{config.task}")
    _keep_imports()
    task.run(config, folder, label=label, resume=resume)


@cache
def _keep_imports() -> None:
    """Takes what the libraries made out of garbage collection, once: walking it costs .2 s after each job."""
    gc.freeze()


def _note_task(folder: Path, config: Config, label: str, *, ended: bool) -> None:
    study = config.study_dir if config.task == "study" else None
    record.write_task(folder, config.task, label, ended=ended, study=study, leads=config.study.job == 0)


def _folders(grid: Path, own: Path) -> list[Path]:
    """Returns the grid's job folders, this job's own first."""
    others = sorted(path.parent for path in grid.glob(f"*/{record.JOB}"))
    return [own, *[other for other in others if other.resolve() != own.resolve()]]


def _config_of(folder: Path, own: Path | None = None) -> str | None:
    """Returns the digest of a job's settings; of another job than ``own`` a damaged note tells nothing."""
    try:
        return read_json(folder / record.JOB).get("config")
    except DamagedError:
        if own is None or folder == own:
            raise
        return None


def _fail(folder: Path, config: Config | DictConfig, label: str, reason: str) -> None:
    log.error("failed: %s", reason)
    notes.put_back()
    record.write_failure(folder, config.experiment.name, config.seed, label, reason)


def _end_grid(reason: str, folder: Path, config: Config, label: str) -> None:
    """Ends the grid, as a full disk does; in a process of a launcher, only the job, which is noted as failed."""
    if os.getpid() == state.process:
        raise GridEnd(reason)
    with suppress(OSError):
        _fail(folder, config, label, reason)
    raise DiskError(reason)


def _give_memory_back() -> None:
    """Frees what a job held, so that one that was too big does not take the next ones down."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
