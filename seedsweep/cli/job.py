"""A single run, and a job of a grid: what Hydra calls with the settings of each.

A job of a grid leaves its result in its folder (metrics.json, or failure.json with the reason), never in memory
alone, so that any launcher may run it, in another process or on another machine.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import logging
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from seedsweep import disk, signals
from seedsweep.cli import launchers
from seedsweep.cli.config.hydra_setup import to_config
from seedsweep.cli.config.schema import Config
from seedsweep.cli.notes import JobNotes, remove_if_empty
from seedsweep.errors import DamagedError, DiskError, DivergedError, GridEnd, SeedsweepError
from seedsweep.names import path_of
from seedsweep.overrides import key_of
from seedsweep.runs import jobs as record
from seedsweep.runs.command import command
from seedsweep.runs.recorded import arm_label, count, varied
from seedsweep.runs.settings import other_settings
from seedsweep.session import Session
from seedsweep.training.options import run_digest, what_counts
from seedsweep.whole import read_json

log = logging.getLogger(__name__)


class DefectError(Exception):
    """An error that no user can do anything about: its first line, and the file with the traceback."""

    def __init__(self, reason: str, path: Path) -> None:
        super().__init__(f"a defect of ours ({reason}); the details are in {path}.")


def run_single(cfg: DictConfig, places: disk.Places) -> None:
    """Runs the task of a command line that is no grid."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    try:
        if cfg.resume and record.is_finished(folder):
            others = other_settings(folder, what_counts(to_config(cfg)))
            new = f" ({others}: that needs a new run)" if others else ""
            log.info("%s is finished already: nothing to do%s", folder, new)
            return
        if not cfg.resume:
            record.refuse_used(folder)
        run_in_folder(cfg, folder)
        if cfg.task == "train":
            log.info("dashboard: %s", command("task=dashboard", ("dashboard.dir", folder)))
    except KeyboardInterrupt:
        _say_stopped(cfg, folder)
        raise
    except Exception as caught:
        if signals.asked():  # a library made another error of a signal
            _say_stopped(cfg, folder)
            signals.check()
        if isinstance(caught, SeedsweepError):
            raise
        if text := disk.sentence(caught, places):
            _say_stopped(cfg, folder)
            raise SeedsweepError(text) from caught
        raise DefectError(record.reason_of(caught), record.write_error_log(folder)) from caught
    finally:
        remove_if_empty(hydra, str(cfg.task), path_of(cfg.paths.outputs))


def run_in_folder(cfg: DictConfig, folder: Path) -> None:
    """Runs a task by itself in its folder; settings that came to nothing are not kept there.

    Raises:
        SeedsweepError: bad input, or another process is at the run.
        DivergedError: the loss became NaN or infinite, now or before.
    """
    resume = bool(cfg.resume)
    if resume and (ended := record.diverged(folder)):
        again = ". The same settings would do so again: begin a new run with others, a smaller optim.lr for instance."
        raise DivergedError(ended.epoch, ended.what, again)
    notes = JobNotes(folder)
    try:
        notes.write(cfg)
        config = to_config(cfg)
        label = str(read_json(folder / record.JOB).get("label") or config.experiment.name)  # a grid's job
        if config.task != "train":
            _run_task(config, folder, label, resume)
            return
        log.info("%s -> %s", label, folder)
        with record.alone(folder) as ours:
            if not ours:
                raise SeedsweepError(f"another process is at the run in {folder}: wait for it, or end it.")
            _run_task(config, folder, label, resume)
        (folder / "failure.json").unlink(missing_ok=True)
    except DivergedError:  # that was trained
        raise
    except SeedsweepError:
        notes.put_back()
        raise


def _say_stopped(cfg: DictConfig, folder: Path) -> None:
    if cfg.task != "train":
        return
    if record.is_finished(folder):
        log.info("stopped; the run itself is finished: %s", folder)
    else:
        log.info("stopped; go on with: %s", command(("resume", folder)))


@dataclass(frozen=True)
class GridJob:
    """Runs a job of a grid, unless it is finished or another process is at it; its failure stays in its folder."""

    process: int  # the command line's; a launcher's workers have others
    session: Session = field(default_factory=Session)  # shared by the jobs of one process

    def __call__(self, cfg: DictConfig) -> None:
        """Runs the job.

        Raises:
            GridEnd: the disk is full: no other job could write.
            KeyboardInterrupt: the user stopped the grid.
        """
        signals.check()
        hydra = HydraConfig.get()
        grid, folder = Path(hydra.sweep.dir), Path(hydra.runtime.output_dir)
        swept = varied(grid)
        label = arm_label(str(cfg.experiment.name), list(hydra.overrides.task), set(swept))
        total = count(swept)
        place = f"{int(hydra.job.num) + 1}" + (f"/{total}" if total else "")
        notes = JobNotes(folder)
        try:
            config = to_config(cfg)
        except SeedsweepError as caught:  # of a swept value that was not checked before the first job
            log.info("")
            log.info("[%s] %s", place, label)
            _fail(folder, cfg, label, str(caught))
            return
        try:
            fold = "" if config.data.fold is None else f" fold {config.data.fold}"
            if os.getpid() == self.process:
                log.info("")
                log.info("[%s] %s seed %d%s", place, label, config.seed, fold)
            else:
                launchers.enter(hydra, place)
                config.trainer.progress_bar = False  # several bars on one terminal are none
                log.info("%s seed %d%s", label, config.seed, fold)
            with record.alone(folder) as ours:
                if ours:
                    notes.write(cfg)
                    _run_in_grid(config, grid, folder, label, self.session)
                else:
                    log.info("another process is at it: left alone")
        except DivergedError as caught:  # its metrics.json says so
            log.warning("%s", caught)
        # a failing job must not end the grid: memory, a defect, ...
        except (Exception, SystemExit) as caught:
            full = isinstance(caught, DiskError)
            if not full:
                signals.check()
                if launchers.is_requeue(hydra.launcher, caught):
                    raise
            ours_to_say = isinstance(caught, SeedsweepError)
            text = (
                str(caught) if ours_to_say else disk.sentence(caught, disk.places_of(grid, config.cache_dir))
            )
            if text and (full or not ours_to_say):
                if os.getpid() == self.process:
                    raise GridEnd(text) from caught
                with suppress(OSError):  # in a process of a launcher only this job ends
                    notes.put_back()
                    _fail(folder, config, label, text)
                raise DiskError(text) from caught
            record.write_error_log(folder)
            notes.put_back()
            _fail(folder, config, label, text or record.reason_of(caught))
        _give_memory_back()


def _run_in_grid(config: Config, grid: Path, folder: Path, label: str, session: Session) -> None:
    """Trains a run that is still to go; another task (a study, or one of its workers) knows itself what is done."""
    if config.task == "train":
        digest = run_digest(config)
        if not _is_done(grid, folder, digest):
            record.write_run(folder, digest, label, record.shared_manifest(grid, config.data))
            _run_task(config, folder, label, resume=True, session=session)
        return
    study = config.study_dir if config.task == "study" else None
    (folder / "failure.json").unlink(missing_ok=True)
    for ended in (False, True):
        if ended:
            _run_task(config, folder, label, resume=True)
        record.write_task(folder, config.task, label, ended=ended, study=study, is_main=config.study.job == 0)


def _is_done(grid: Path, folder: Path, digest: str) -> bool:
    """Says whether there is nothing to train: the job is finished, perhaps under another number.

    Raises:
        SeedsweepError: the folder is another run's.
    """
    own = read_json(folder / record.JOB).get("config")
    others = sorted(path.parent for path in grid.glob(f"*/{record.JOB}"))
    others = [other for other in others if other.resolve() != folder.resolve() and _digest(other) == digest]
    earlier = [folder, *others] if own == digest else others
    for other in earlier:
        if record.is_ended(other):
            ended = record.diverged(other)
            log.info("%s already%s", ended or "finished", "" if other == folder else f" in {other.name}")
            (other / "failure.json").unlink(missing_ok=True)
            return True
    if own not in (None, digest) and record.holds_run(folder):
        raise SeedsweepError("its folder holds a run with other settings; give another hydra.sweep.dir.")
    for other in [*earlier, folder]:  # a failed job is tried again, perhaps under another number
        (other / "failure.json").unlink(missing_ok=True)
    return False


def _digest(folder: Path) -> str | None:
    """Returns the digest of another job's settings; a damaged note tells nothing."""
    with suppress(DamagedError):
        return str(read_json(folder / record.JOB).get("config"))
    return None


def _run_task(config: Config, folder: Path, label: str, resume: bool, **shared: Session) -> None:
    """Runs the file of ``seedsweep/cli/tasks`` that ``task=`` names; ``shared`` is for training runs alone."""
    task = importlib.import_module(f"seedsweep.cli.tasks.{config.task}")
    reads: tuple[str, ...] = getattr(task, "READS", ())
    sections = tuple(each for each in reads if each.endswith("."))
    keys = [key_of(word) for word in HydraConfig.get().overrides.task]
    unread = [key for key in keys if reads and key not in reads and not key.startswith(sections)]
    if unread:
        log.warning(
            "task=%s goes by the checkpoint's own settings and does not read %s",
            config.task,
            ", ".join(unread),
        )
    task.run(config, folder, label=label, resume=resume, **shared)


def _fail(folder: Path, config: Config | DictConfig, label: str, reason: str) -> None:
    log.error("failed: %s", reason)
    record.write_failure(folder, config.experiment.name, config.seed, label, reason)


def _give_memory_back() -> None:
    """Frees what a job held, so that one that was too big does not take the next ones down."""
    gc.collect()
    if not gc.get_freeze_count():  # what is left are the libraries: to look through them takes .2 s a job
        gc.freeze()
        atexit.register(gc.unfreeze)  # else libraries in C++ report what was not freed as leaks
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
