"""Hands a checked command line to Hydra: a single run, or a grid, which is closed with its table."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log, run_job
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from seedsweep import disk, signals
from seedsweep.cli import launchers
from seedsweep.cli.composing import Composer
from seedsweep.cli.forecast import measure_grid
from seedsweep.cli.job import DefectError, GridJob, run_single
from seedsweep.cli.sentences import sentence
from seedsweep.errors import GridEnd, SeedsweepError
from seedsweep.names import path_of
from seedsweep.runs.command import command, shown
from seedsweep.runs.duration import Clock
from seedsweep.runs.jobs import has_jobs, has_tasks, reason_of, settle_grid, settle_run, write_error_log
from seedsweep.runs.recorded import write_copy
from seedsweep.runs.time_given import NAME as TIME_GIVEN
from seedsweep.session import Session

if TYPE_CHECKING:
    from seedsweep.cli.grid_clock import GridClock

log = logging.getLogger(__name__)


def single(composed: DictConfig) -> None:
    """Runs one job."""
    with suppress(OSError):  # Hydra meets the same error next
        settle_run(composed.hydra)
    places = _places(composed, "run")
    caught: list[Exception] = []

    def task(cfg: DictConfig) -> None:
        try:
            run_single(cfg, places)
        except Exception as error:  # Hydra would print a line of its own about it
            caught.append(error)

    try:
        with open_dict(composed):
            composed.hydra.mode = RunMode.RUN
        context = _begun(composed)
        context.callbacks.on_run_start(config=composed, config_name=composed.hydra.job.config_name)
        done = run_job(
            task, composed, job_dir_key="hydra.run.dir", job_subdir_key=None, hydra_context=context
        )
        context.callbacks.on_run_end(
            config=composed, config_name=composed.hydra.job.config_name, job_return=done
        )
    except Exception as error:
        if signals.asked():
            raise KeyboardInterrupt from error
        if in_words := _in_words(error, composed, places):
            raise in_words from error
        raise
    if caught:
        raise caught[0]


def grid(composed: DictConfig, compose: Composer) -> int:
    """Runs the jobs of a grid, and writes and prints what came of them.

    Returns:
        How many jobs have no result.
    """
    places = _places(composed, "sweep")
    folder: Path | None = None
    interrupted, stopped = False, None
    clock, session = Clock.of(composed.budget), Session()
    timed: GridClock | None = None
    forecast = measure_grid(composed, compose, session)
    if composed.forecast == "only":
        return 0
    begun = Clock()
    try:
        folder = settle_grid(composed.hydra)
        (folder / TIME_GIVEN).unlink(missing_ok=True)
        with suppress(OSError):
            write_copy(composed, folder)
        launchers.prepare(composed.hydra, folder)
        context = _begun(composed)
        context.callbacks.on_multirun_start(config=composed, config_name=composed.hydra.job.config_name)
        sweeper = Plugins.instance().instantiate_sweeper(
            config=composed, hydra_context=context, task_function=GridJob(os.getpid(), session)
        )
        if forecast is not None:
            from seedsweep.cli.grid_clock import GridClock  # SciPy takes a while

            timed = GridClock(sweeper.launcher, *forecast, clock, folder, session)
            sweeper.launcher = timed  # type: ignore[assignment]
        lines: Any = OmegaConf.to_container(composed.hydra.overrides.task, resolve=False)
        sweeper.sweep(arguments=lines)
        context.callbacks.on_multirun_end(config=composed, config_name=composed.hydra.job.config_name)
    except GridEnd as end:
        if folder is not None:
            print(f"go on      {command(f'resume={shown(folder)}')}", flush=True)
        raise SeedsweepError(str(end)) from end
    except KeyboardInterrupt:
        interrupted = True
    except Exception as error:  # of a launcher, or of Hydra's own files: the jobs catch their own
        if not signals.asked():
            if in_words := _in_words(error, composed, places):
                raise in_words from error
            stopped = launchers.why_stopped(error)
            if not has_jobs(folder):
                raise SeedsweepError(stopped) from error
            write_error_log(folder)
    interrupted = interrupted or signals.asked()
    if folder is None:
        raise KeyboardInterrupt
    of_runs = str(composed.task) == "train" and not has_tasks(folder)
    if timed is not None:
        timed.summary(begun.took).write(folder)
    missing = _closed(folder, interrupted, stopped, of_runs=of_runs, report=bool(composed.report.write))
    if timed is not None:
        time = timed.summary(begun.took)
        time.write(folder)
        print(f"time       {time.line}", flush=True)
    return missing


def _places(composed: DictConfig, of: str) -> disk.Places:
    """Returns the folders that a ``run`` or ``sweep`` writes into; none where only the running job knows the name."""
    with suppress(OmegaConfBaseException):
        return disk.places_of(Path(composed.hydra[of].dir), path_of(str(composed.paths.cache)))
    return {}


def _begun(composed: DictConfig) -> HydraContext:
    """Sets up Hydra's log, and returns what it knows of a running job."""
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    configure_log(composed.hydra.hydra_logging, composed.hydra.verbose)
    return HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(composed))


def _in_words(error: Exception, composed: DictConfig, places: disk.Places) -> SeedsweepError | None:
    """Returns what the user can do about an error outside of the jobs; None: that is not known."""
    if isinstance(error, (HydraException, OmegaConfBaseException)):  # what could not be checked before
        return SeedsweepError(sentence(error, [str(line) for line in composed.hydra.overrides.task]))
    text = disk.sentence(error, places)
    return SeedsweepError(text) if text else None


def _closed(folder: Path, interrupted: bool, stopped: str | None, *, of_runs: bool, report: bool) -> int:
    """Writes and prints a grid's table, and of runs the report; returns how many jobs have no result."""
    try:
        from seedsweep.cli.close_grid import finish_grid, finish_tasks

        if of_runs:
            wanted = report and not interrupted
            missing = finish_grid(folder, interrupted=interrupted, stopped=stopped, report=wanted)
        else:
            missing = finish_tasks(folder, interrupted=interrupted, stopped=stopped)
    except Exception as error:
        # of PyTorch, half imported: it can't be imported again
        if interrupted and isinstance(error, ImportError):
            log.info("stopped before there was a table; go on with: %s", command(("resume", folder)))
            raise KeyboardInterrupt from error
        if text := disk.sentence(error, {"hydra.sweep.dir": folder}):
            raise SeedsweepError(text) from error
        reason = f"the table of the jobs failed: {reason_of(error)}"
        raise DefectError(reason, write_error_log(folder)) from error
    if interrupted:  # the table is of the jobs so far
        raise KeyboardInterrupt
    return missing
