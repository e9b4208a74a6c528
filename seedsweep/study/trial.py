"""Runs one trial: its training, a report after each epoch, the value by a rule that does not reward luck."""

from __future__ import annotations

import logging
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from seedsweep import disk, signals
from seedsweep.errors import OF_ALL, DiskError, DivergedError
from seedsweep.runs.csv_files import read_history
from seedsweep.runs.jobs import reason_of, write_error_log
from seedsweep.runs.record import divergence_of
from seedsweep.runs.settings import flat
from seedsweep.study.evidence import Hopeless
from seedsweep.study.leases import NUMBER, Heartbeat, Leases
from seedsweep.study.options import StudyConfig
from seedsweep.study.plan import EXTRA, Plan
from seedsweep.study.space import dimensions, suggest
from seedsweep.training.options import ArmSettings, run_digest, what_counts
from seedsweep.whole import strict

log = logging.getLogger(__name__)

ATTEMPTS = 2  # a failing trial is tried again once
FIXED = "laid"  # attribute: all of a trial's settings were given when it was added, and nothing is drawn

Outcome = tuple[TrialState, float | None, dict[str, Any]]  # state, value, notes


def run_trial(trial: Trial, plan: Plan, leases: Leases, folder: Path) -> None:
    """Runs a trial that this process took, and tells the study what came of it.

    A failure is recorded with its reason and never raised.

    Raises:
        KeyboardInterrupt: the user stopped the study; the trial is given back.
        DiskError, ChangedError, RefusedError: the disk is full, or the images changed: no trial is to blame, and
            it is given back.
    """
    started = time.perf_counter()
    try:
        with Heartbeat(trial, plan.study.heartbeat):
            drawn = [] if trial.user_attrs.get(FIXED) else suggest(trial, dimensions(plan.study))
            lines = [*trial.user_attrs.get(EXTRA, []), *drawn]
            state, value, notes = _attempts(trial, plan, folder, lines)
    except (KeyboardInterrupt, *OF_ALL):
        leases.give_back(trial)
        raise
    if not leases.is_mine(trial):
        log.warning(
            "trial %s was taken over by another worker; this result is left out", trial.user_attrs[NUMBER]
        )
        return
    notes |= {"seconds": round(time.perf_counter() - started, 3), "settings": lines}
    for key, note in notes.items():
        trial.set_user_attr(key, strict(note))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        leases.study.tell(trial, value, state)


def value_of(study: StudyConfig, rows: list[dict[str, float]], metrics: dict[str, Any]) -> float:
    """Returns a finished run's value.

    The best of many noisy epochs grows with their number and their noise. So the value is the mean of the last
    epochs (``tail``), or that of the epoch whose weights are kept (``checkpoint``: the best validation accuracy).
    """
    if study.rule == "checkpoint":
        return float(metrics["val"][study.metric])
    return fmean(row[f"val/{study.metric}"] for row in rows[-study.tail :])


def _attempts(trial: Trial, plan: Plan, folder: Path, lines: list[str]) -> Outcome:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            value, notes = _train(trial, plan, folder, lines)
            return TrialState.COMPLETE, value, notes
        except optuna.TrialPruned as ended:
            notes = {"epochs": len(read_history(folder / "history.csv"))}
            return TrialState.PRUNED, None, notes | ({"reason": str(ended)} if str(ended) else {})
        except DivergedError as caught:  # and would again
            return TrialState.FAIL, None, {"reason": str(caught)}
        except OF_ALL:
            signals.check()
            raise
        except (Exception, SystemExit) as caught:  # memory, a setting that does not work, a defect of ours
            signals.check()
            places = disk.places_of(plan.folder, plan.asked.cache_dir)
            if full := disk.sentence(caught, places):
                raise DiskError(full) from caught
            reason = reason_of(caught)
            write_error_log(folder)
            log.warning(
                "trial %s failed%s: %s",
                trial.user_attrs[NUMBER], ", and is tried once more" if attempt < ATTEMPTS else "", reason,
            )  # fmt: skip
    return TrialState.FAIL, None, {"reason": reason}


def _train(trial: Trial, plan: Plan, folder: Path, lines: list[str]) -> tuple[float, dict[str, Any]]:
    from seedsweep.training.run import Given, train
    from seedsweep.training.trackers import TrackedRun, Trackers

    study, settings = plan.study, plan.compose(lines)
    reported = set(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)
    last = max(reported, default=-1)

    def on_epoch(rows: list[dict[str, float]]) -> None:
        epoch = int(rows[-1]["epoch"])
        trackers.epoch(rows)
        if epoch not in reported:  # by a worker that died later in this trial
            trial.report(rows[-1][f"val/{study.metric}"], epoch)
        if not last <= epoch < settings.trainer.max_epochs - 1:  # nothing is saved at the last epoch
            return
        if study.end_hopeless and (why := hopeless.reason(rows)):
            raise optuna.TrialPruned(why)
        if trial.should_prune():  # it goes by the last report
            raise optuna.TrialPruned

    prepared = plan.images(settings)
    hopeless = Hopeless.of(settings, prepared.table.counts()["train"])
    _clear_of_others(folder, settings, plan)
    tracked = TrackedRun(folder, f"{folder.parent.name} {folder.name}", plan.folder)
    # a tracker that is away is told on the terminal
    with Trackers(plan.loggers, tracked, flat(what_counts(settings))) as trackers, quiet():
        metrics = train(
            settings,
            folder,
            label=f"trial {trial.user_attrs[NUMBER]}",
            resume=True,
            on_epoch=on_epoch,
            pictures=False,
            meet_test=False,
            given=Given(prepared, departures=tuple(plan.departures(settings)), session=plan.session),
        )
        trackers.end(metrics)
    if trial.user_attrs.get(FIXED):  # not after each trial: it looks at every file
        prepared.warn_of_changes()
    if diverged := divergence_of(metrics):
        raise diverged
    rows = read_history(folder / "history.csv")
    kept = {key: metrics["val"][key] for key in ("acc", "macro_f1", "loss")}
    notes = {"epochs": len(rows), "best_epoch": metrics["best_epoch"], "kept": kept}
    return value_of(study, rows, metrics), notes


def _clear_of_others(folder: Path, settings: ArmSettings, plan: Plan) -> None:
    """Deletes what another trial left in a trial's folder: of an earlier study of this name, or drawn otherwise.

    Its checkpoints may fit the net, and this trial would go on with them. What is there is known by its settings and
    images, which are noted beside it.
    """
    note, own = folder / "settings.sha256", " ".join([run_digest(settings), *(plan.digests or [])])
    if folder.is_dir() and not (note.is_file() and note.read_text(errors="replace") == own):
        log.info("%s held a trial with other settings or images: deleted", folder)
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(own)


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps a trial's epochs off the terminal; its run.log has them."""
    streams = [h for h in logging.getLogger().handlers if type(h) is logging.StreamHandler]
    levels = [handler.level for handler in streams]
    for handler in streams:
        handler.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for handler, level in zip(streams, levels, strict=True):
            handler.setLevel(level)
