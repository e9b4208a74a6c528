"""Runs a study from its first trial to its winner."""

from __future__ import annotations

import logging
import math
import time
from operator import attrgetter

import optuna
from optuna.trial import FrozenTrial, TrialState

from seedsweep.diagnosis.audit_run import audit_at_beginning
from seedsweep.overrides import key_of, shortened
from seedsweep.runs.duration import spoken
from seedsweep.runs.jobs import audit_of
from seedsweep.runs.record import METRICS
from seedsweep.study.close import close_study
from seedsweep.study.leases import NUMBER
from seedsweep.study.plan import AGAIN, EXTRA, Plan, add_trials, open_study, trials_of
from seedsweep.study.processes import Workers
from seedsweep.study.reevaluation import add_again, open_again
from seedsweep.study.space import GRID, dimensions
from seedsweep.study.storage import open_storage, storage_of
from seedsweep.study.worker import agree_on_images, unfinished, work

log = logging.getLogger(__name__)

FEW_STEPS, SMALLEST = 8, 4  # an epoch's steps, and images a step: below them nothing is said of batches
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def to_go(plan: Plan) -> int:
    """Returns how many trials a study lacks, without beginning it; 0 of one that is finished."""
    if plan.storage.name == "journal" and not plan.folder.is_dir():
        return plan.study.n_trials
    storage = open_storage(plan.storage, plan.folder)
    if plan.study.name not in optuna.get_all_study_names(storage):
        return plan.study.n_trials
    study = optuna.load_study(study_name=plan.study.name, storage=storage)
    return plan.study.n_trials - len(trials_of(study, ENDED))


def left_of(plan: Plan) -> str:
    """Returns what a budget left of a study; empty: nothing."""
    study = open_study(plan)
    parts = [
        f"{len(rest)} of {len(trials_of(one))} {what}"
        for one, what in ((study, "trials"), (open_again(study, plan), "runs of the re-evaluation"))
        if (rest := unfinished(one))
    ]
    return f"Not run, for the budget was too short: {' and '.join(parts)}." if parts else ""


def run_study(plan: Plan, started: float) -> None:
    """Adds the trials, runs them (alone, or in worker processes), and closes the study."""
    options, name = plan.study, plan.study.name
    study = open_study(plan)
    add_trials(study, plan)
    total = len(trials_of(study))
    to_go = total - len(trials_of(study, ENDED))
    if total > options.n_trials:
        log.info("study %s has %d trials: study.n_trials=%d takes none away", name, total, options.n_trials)
    if not to_go and not unfinished(again := add_again(study, plan)):
        if trials_of(again, (TrialState.COMPLETE,)):
            more = "" if plan.sampler.name == GRID else f" (study.n_trials above {total} goes on with it)"
            log.info("study %s is finished%s: its tables and pictures anew", name, more)
        close_study(study, again, plan, started)
        return
    workers = f"{options.workers} workers" if options.workers > 1 else "one worker"
    log.info("study %s: %d of %d trials to go, %s -> %s", name, to_go, total, workers, plan.folder)
    _tell_of_settings(plan)
    progress = Progress(plan, study)
    try:
        _check_images(plan, to_go)
        agree_on_images(study, plan)
        if options.workers == 1:
            again = work(study, plan, main=True, progress=progress)
        else:
            processes = Workers(plan)
            try:
                again = processes.work(study, progress)
            finally:
                processes.end()
    except KeyboardInterrupt:
        done = len(trials_of(study, ENDED))
        but = " (but not the re-evaluation of the best)" if done == len(trials_of(study)) else ""
        log.info("stopped; the same command goes on with it: %d of %d trials are done%s", done, total, but)
        raise
    close_study(study, again, plan, started)


class Progress:
    """Prints a line for each trial that ended, whoever ran it.

    Args:
        study: as it was opened; what has ended in it is not printed again.
    """

    def __init__(self, plan: Plan, study: optuna.Study) -> None:
        self.plan = plan
        self.began, self.ended = time.monotonic(), 0
        earlier = [study]
        if plan.study.name + AGAIN in optuna.get_all_study_names(storage_of(study)):
            earlier.append(open_again(study, plan))
        self.printed = {
            (one.study_name, t.user_attrs[NUMBER]) for one in earlier for t in trials_of(one, ENDED)
        }
        self.best = max(
            (float(t.value or 0) for t in trials_of(study, (TrialState.COMPLETE,))), default=float("-inf")
        )

    def __call__(self, study: optuna.Study) -> None:
        """Looks at the study, or at its re-evaluation."""
        everything = trials_of(study)
        ended = [trial for trial in everything if trial.state in ENDED]
        fresh = [t for t in ended if (study.study_name, t.user_attrs[NUMBER]) not in self.printed]
        for place, trial in enumerate(fresh, len(ended) - len(fresh) + 1):
            self.printed.add((study.study_name, trial.user_attrs[NUMBER]))
            log.info(
                "[%d/%d] %s%s",
                place,
                len(everything),
                self._line(trial),
                self._left(study, place, len(everything)),
            )

    def _left(self, study: optuna.Study, place: int, total: int) -> str:
        """Returns about how long the trials after this one take; of the search, with its re-evaluation."""
        self.ended += 1
        each = (time.monotonic() - self.began) / self.ended
        options, rest = self.plan.study, total - place
        if study.study_name == options.name:
            rest += options.most_again
        return f"  about {spoken(rest * each)} left" if rest else ""

    def _line(self, trial: FrozenTrial) -> str:
        attrs = trial.user_attrs
        value = float(trial.value or 0)
        settings = ", ".join(shortened(setting) for setting in attrs.get("settings", attrs.get(EXTRA, [])))
        what = f"again: trial {attrs['of']}" if "of" in attrs else f"trial {attrs[NUMBER]}"
        if trial.state == TrialState.FAIL:
            return f"{what} failed: {attrs.get('reason', '?')}  ({settings})"
        mark = ""
        if trial.state == TrialState.PRUNED:
            mark = f"pruned after {attrs.get('epochs', '?')} epochs"
            if "reason" in attrs:
                mark = f"ended: {attrs['reason']}"
        elif "of" not in attrs and value > self.best:
            self.best, mark = value, "best so far"
        score = f"{METRICS[self.plan.study.metric]} {'-' if trial.value is None else f'{value:.3f}'}"
        return f"{what}: {score}  {settings}  {attrs.get('seconds', 0.0):.1f} s  {mark}"


def _check_images(plan: Plan, to_go: int) -> None:
    """Stops before the first trial if the images can't be used, for all trials would fail of it.

    Trials print little, and workers have but their share of the cores. So where there are trials to go, the features
    that all of them read are extracted here, and which net that takes is printed.
    """
    settings = plan.compose([])
    prepared = plan.images(settings)
    if to_go:
        audit_at_beginning(settings, prepared, audit_of(plan.folder))
    if to_go and plan.is_of_heads:
        from seedsweep.training.run import open_images

        open_images(settings, prepared, plan.session)
    if to_go and all(param.key != "data.batch_size" for param in dimensions(plan.study)):
        _tell_of_steps(len(prepared.table.indices("train")), settings.data.batch_size)


def _tell_of_steps(n: int, size: int) -> None:
    """Warns where an epoch has few steps."""
    steps = -(-n // size)
    if steps < FEW_STEPS and size > SMALLEST:
        better = max(SMALLEST, 2 ** math.floor(math.log2(max(n / FEW_STEPS, 1))))
        log.warning(
            "an epoch is only %d %s: %d training images, data.batch_size=%d. With data.batch_size=%d (and another "
            "study.name) it has %d.",
            steps, "step" if steps == 1 else "steps", n, size, better, -(-n // better),
        )  # fmt: skip


def _tell_of_settings(plan: Plan) -> None:
    """Prints in what every trial differs from the experiment that was asked for."""
    trial, asked = plan.compose([]), plan.asked
    changed = []
    for key in map(key_of, plan.study.settings):
        try:
            here, there = (attrgetter(key)(settings) for settings in (trial, asked))
        except AttributeError:  # a group's choice
            continue
        if here != there:
            changed.append(f"{key}={here} ({there} in {asked.experiment.name})")
    if changed:
        log.info("every trial: %s", ", ".join(changed))
