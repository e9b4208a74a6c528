"""Works on a study until nothing is left: first its trials, then the re-evaluation of the best."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

import optuna
from optuna.trial import FrozenTrial, TrialState

from seedsweep import signals
from seedsweep.errors import RefusedError, SeedsweepError
from seedsweep.study.leases import NUMBER, Leases
from seedsweep.study.plan import AGAIN, Plan, open_study, trials_of
from seedsweep.study.reevaluation import MOST_SEEDS, add_again, open_again, run_folder
from seedsweep.study.space import build_sampler
from seedsweep.study.trial import run_trial

log = logging.getLogger(__name__)

POLL = 0.5  # seconds between looks at what others are doing
REAP_EVERY = 5.0  # seconds
BEGIN_WITHIN = 3600.0  # seconds that a worker waits until the main process has added the trials
IMAGES = "images"  # a study's attribute: digests of its split and its images

Progress = Callable[[optuna.Study], None]


def work(study: optuna.Study, plan: Plan, *, main: bool, progress: Progress) -> optuna.Study:
    """Runs what there is to run, beside others who do the same, until trials and re-evaluation are all done.

    Args:
        main: this process adds the re-evaluation, and looks after other machines' dead workers.
        progress: called after each trial of this process, and each time it looks at the others'.

    Returns:
        The re-evaluation.
    """
    with _within(plan, finals_of(study, plan)):
        _run_all(study, plan, lambda number: plan.folder / "trials" / f"{number:04d}", main, progress)
    if main:
        again = add_again(study, plan)
    else:
        again = open_again(study, plan)
        # not that of a shorter study that this one goes on with
        wait_for(lambda: again.user_attrs.get("n_trials") == plan.study.n_trials, "re-evaluation")
    with _within(plan, 0.0):
        _run_all(again, plan, lambda number: run_folder(plan, number), main, progress)
    return again


def seconds_of(study: optuna.Study, plan: Plan) -> float:
    """Returns the mean seconds of the trials that went to their end; of a study without any, what was forecast."""
    done = [float(t.user_attrs.get("seconds", 0)) for t in trials_of(study, (TrialState.COMPLETE,))]
    return fmean(done) if done else plan.time.trial if plan.time else 0.0


def finals_of(study: optuna.Study, plan: Plan) -> float:
    """Returns the seconds that a budget keeps for the re-evaluation: what it takes, but at most half of the whole."""
    if plan.time is None:
        return 0.0
    return min(plan.study.most_again * seconds_of(study, plan), 0.5 * plan.time.clock.seconds)


@contextmanager
def _within(plan: Plan, reserve: float) -> Iterator[None]:
    """Stops what runs when the time of a budget, less ``reserve`` seconds, is over; the trial is given back."""
    if plan.time is None:
        yield
        return
    try:
        with signals.alarm(plan.time.left(reserve)) as alarm:
            yield
    except KeyboardInterrupt:
        if not alarm.rang:
            raise


def _fits(study: optuna.Study, plan: Plan) -> bool:
    """Says whether there is time for another trial; of a re-evaluation, for as many as make all its settings equal."""
    if plan.time is None:
        return True
    one = seconds_of(study, plan)
    if not study.study_name.endswith(AGAIN):
        if not trials_of(study, (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)):
            return plan.time.left() > 0  # the forecast may be wrong, and without a trial there is no result
        return one <= plan.time.left(finals_of(study, plan))
    waiting = trials_of(study, (TrialState.WAITING,))
    seeds = [int(trial.user_attrs[NUMBER]) % MOST_SEEDS for trial in waiting]
    next_seed = min(seeds, default=0)
    runs = seeds.count(next_seed) if next_seed else 1  # one run of some settings is a result
    return runs * one <= plan.time.left()


def join_study(plan: Plan) -> None:
    """Runs trials of a study whose main process is another one, perhaps on another machine."""
    study = open_study(plan)
    wait_for(lambda: bool(trials_of(study)), "trials")
    agree_on_images(study, plan)
    work(study, plan, main=False, progress=lambda _: None)  # the main process prints the progress


def agree_on_images(study: optuna.Study, plan: Plan) -> None:
    """Compares the images that this process found with those that the study began with.

    Where processes share the study's folder, its manifest.csv has seen to that. Machines that share no more than a
    database learn it here; the first to come decides.
    """
    if plan.digests is None:
        return
    begun = study.user_attrs.get(IMAGES)
    if begun is None:
        study.set_user_attr(IMAGES, plan.digests)
    elif begun != plan.digests:
        raise RefusedError(
            f"the {'split' if begun[1] == plan.digests[1] else 'images'} found here are not those that the study "
            f"{plan.study.name} began with: restore them (its manifest.csv, where it began, names them), or "
            "give another study.name=NAME."
        )


def wait_for(ready: Callable[[], bool], what: str, seconds: float = BEGIN_WITHIN) -> None:
    """Waits until ``ready``."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise SeedsweepError(
                f"no {what} after {seconds:.0f} s: the main process (study.job=0) has not begun, or was stopped."
            )
        time.sleep(POLL)


def unfinished(study: optuna.Study) -> list[FrozenTrial]:
    """Returns the trials that wait or run."""
    return trials_of(study, (TrialState.WAITING, TrialState.RUNNING))


def _run_all(
    study: optuna.Study, plan: Plan, folder: Callable[[int], Path], main: bool, progress: Progress
) -> None:
    leases = Leases(study, plan.folder, plan.study.grace)
    leases.reap(other_machines=False, blame=False)
    looked = time.monotonic()
    while True:
        if time.monotonic() - looked > REAP_EVERY:
            leases.reap(other_machines=main)
            looked = time.monotonic()
        signals.check()
        if not _fits(study, plan):
            return
        trial = leases.claim(lambda number: build_sampler(plan.sampler, plan.study.seed, number))
        if trial is not None:
            run_trial(trial, plan, leases, folder(int(trial.user_attrs[NUMBER])))
            progress(study)
        elif not unfinished(study):
            return
        else:
            time.sleep(POLL)
            progress(study)
