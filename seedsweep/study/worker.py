"""Works on a study until nothing is left: first its trials, then its finals."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.trial import TrialState

from seedsweep import signals
from seedsweep.errors import RefusedError, SeedsweepError
from seedsweep.study.finalists import lay_finals, open_finals, run_folder
from seedsweep.study.leases import SLOT, Leases
from seedsweep.study.plan import Plan, open_study, slots
from seedsweep.study.search import build_sampler
from seedsweep.study.trial import run_trial

log = logging.getLogger(__name__)

POLL = 0.5  # seconds between looks at what others are doing
REAP_EVERY = 5.0  # seconds
BEGIN_WITHIN = 3600.0  # seconds that a worker waits until the main process has laid the trials down
IMAGES = "images"  # a study's attribute: digests of its split and its images

Progress = Callable[[optuna.Study], None]


def work(study: optuna.Study, plan: Plan, *, main: bool, progress: Progress) -> optuna.Study:
    """Runs what there is to run, beside others who do the same, until trials and finals are all done.

    Args:
        study: opened; its trials are laid down by the main process.
        plan: the study.
        main: this process lays the finals down, and looks after other machines' dead workers.
        progress: called after each trial of this process, and each time it looks at the others'.

    Returns:
        The finals.

    Raises:
        SeedsweepError: the main process never came.
        KeyboardInterrupt: the user stopped the study; this process's trial is given back.
    """
    _run_all(study, plan, lambda slot: plan.folder / "trials" / f"{slot:04d}", main, progress)
    finals = lay_finals(study, plan) if main else _wait_for_finals(study, plan)
    _run_all(finals, plan, lambda slot: run_folder(plan, slot), main, progress)
    return finals


def serve(plan: Plan) -> None:
    """Runs trials of a study that another process, its main one, has laid down."""
    study = open_study(plan)
    wait_for(lambda: bool(slots(study)), "trials")
    agree_on_images(study, plan)
    work(study, plan, main=False, progress=lambda _: None)  # the main process tells of all trials


def agree_on_images(study: optuna.Study, plan: Plan) -> None:
    """Compares the images that this process found with those that the study began with.

    Where processes share the study's folder, its manifest.csv has seen to that. Machines that share no more than a
    database learn it here; the first to come decides.

    Raises:
        RefusedError: they differ.
    """
    if plan.digests is None:
        return
    begun = study.user_attrs.get(IMAGES)
    if begun is None:
        study.set_user_attr(IMAGES, plan.digests)
    elif begun != plan.digests:
        raise RefusedError(
            f"the {'split' if begun[1] == plan.digests[1] else 'images'} found here are not those that the study "
            f"{plan.config.study.name} began with: restore them (its manifest.csv, where it began, names them), or "
            "give another study.name=NAME."
        )


def wait_for(ready: Callable[[], bool], what: str, seconds: float = BEGIN_WITHIN) -> None:
    """Waits until ``ready``.

    Raises:
        SeedsweepError: it took longer than ``seconds``.
    """
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise SeedsweepError(
                f"no {what} after {seconds:.0f} s: the main process (study.job=0) has not begun, or was stopped."
            )
        time.sleep(POLL)


def unfinished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Returns the trials that wait or run."""
    return slots(study, (TrialState.WAITING, TrialState.RUNNING))


def _run_all(
    study: optuna.Study, plan: Plan, folder: Callable[[int], Path], main: bool, progress: Progress
) -> None:
    leases = Leases(study, plan.folder, plan.config.study.grace)
    leases.reap(other_machines=False, blame=False)
    looked = time.monotonic()
    while True:
        if time.monotonic() - looked > REAP_EVERY:
            leases.reap(other_machines=main)
            looked = time.monotonic()
        signals.check()
        trial = leases.claim(lambda slot: build_sampler(plan.config.sampler, plan.config.study.seed, slot))
        if trial is not None:
            run_trial(trial, plan, leases, folder(int(trial.user_attrs[SLOT])))
            progress(study)
        elif not unfinished(study):
            return
        else:
            time.sleep(POLL)
            progress(study)


def _wait_for_finals(study: optuna.Study, plan: Plan) -> optuna.Study:
    finals = open_finals(study, plan)
    # not those of a shorter study that this one goes on with
    wait_for(lambda: finals.user_attrs.get("n_trials") == plan.config.study.n_trials, "finals")
    return finals
