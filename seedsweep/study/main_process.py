"""Runs a study from its first trial to its winner, or joins one that another process runs."""

from __future__ import annotations

import logging
import math
from operator import attrgetter

import optuna
from optuna.trial import TrialState

from seedsweep.config.schema import Config
from seedsweep.config.study_options import METRICS
from seedsweep.overrides import key_of, shortened
from seedsweep.study.close import close_study
from seedsweep.study.finalists import lay_finals, open_finals
from seedsweep.study.plan import SUFFIX, Plan, lay_slots, open_study, read_plan, slots
from seedsweep.study.processes import Workers
from seedsweep.study.search import GRID
from seedsweep.study.storage import storage_of
from seedsweep.study.worker import agree_on_images, serve, unfinished, work

log = logging.getLogger(__name__)

FEW_STEPS, SMALLEST = 8, 4  # an epoch's steps, and images a step: below them nothing is said of batches
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def run_study(config: Config, started: float) -> None:
    """Lays the trials down, runs them (alone, or in worker processes), and closes the study.

    Args:
        config: the whole configuration.
        started: ``time.perf_counter()`` when the call began.
    """
    plan = read_plan(config)
    study = open_study(plan)
    lay_slots(study, plan)
    total, name = len(slots(study)), config.study.name
    to_go = total - len(slots(study, ENDED))
    if total > config.study.n_trials:
        log.info(
            "study %s has %d trials: study.n_trials=%d takes none away", name, total, config.study.n_trials
        )
    if not to_go and not unfinished(finals := lay_finals(study, plan)):
        if slots(finals, (TrialState.COMPLETE,)):
            more = "" if config.sampler.name == GRID else f" (study.n_trials above {total} goes on with it)"
            log.info("study %s is finished%s: its tables and pictures anew", name, more)
        close_study(study, finals, plan, started)
        return
    log.info(
        "study %s: %d of %d trials to go, %s -> %s",
        name, to_go, total,
        f"{config.study.workers} workers" if config.study.workers > 1 else "one worker", plan.folder,
    )  # fmt: skip
    _tell_of_settings(plan)
    progress = Progress(plan, study)
    try:
        _check_images(plan, to_go)
        agree_on_images(study, plan)
        if config.study.workers == 1:
            finals = work(study, plan, main=True, progress=progress)
        else:
            workers = Workers(plan)
            try:
                finals = workers.work(study, progress)
            finally:
                workers.end()
    except KeyboardInterrupt:
        done = len(slots(study, ENDED))
        but = " (but not its finalists)" if done == len(slots(study)) else ""
        log.info("stopped; the same command goes on with it: %d of %d trials are done%s", done, total, but)
        raise
    close_study(study, finals, plan, started)


def join_study(config: Config) -> None:
    """Runs trials of a study whose main process is another one, perhaps on another machine."""
    serve(read_plan(config))


class Progress:
    """Says a line for each trial that ended, whoever ran it."""

    def __init__(self, plan: Plan, study: optuna.Study) -> None:
        self.plan = plan
        earlier = [study]
        if plan.config.study.name + SUFFIX in optuna.get_all_study_names(storage_of(study)):
            earlier.append(open_finals(study, plan))
        self.said = {_key(one, t.user_attrs["slot"]) for one in earlier for t in slots(one, ENDED)}
        self.best = max(
            (float(t.value or 0) for t in slots(study, (TrialState.COMPLETE,))), default=float("-inf")
        )

    def __call__(self, study: optuna.Study) -> None:
        """Looks at the study, or at its finals."""
        everything = slots(study)
        is_finals = study.study_name != self.plan.config.study.name
        ended = [trial for trial in everything if trial.state in ENDED]
        fresh = [trial for trial in ended if _key(study, trial.user_attrs["slot"]) not in self.said]
        for number, trial in enumerate(fresh, len(ended) - len(fresh) + 1):
            self.said.add(_key(study, trial.user_attrs["slot"]))
            self._say(trial, f"[{number}/{len(everything)}]", is_finals)

    def _say(self, trial: optuna.trial.FrozenTrial, place: str, is_finals: bool) -> None:
        attrs = trial.user_attrs
        name = METRICS[self.plan.config.study.metric]
        settings = ", ".join(shortened(setting) for setting in attrs.get("settings", []))
        if trial.state == TrialState.FAIL:
            log.info("%s trial %d failed: %s  (%s)", place, attrs["slot"], attrs.get("reason", "?"), settings)
            return
        mark = ""
        if trial.state == TrialState.PRUNED:
            mark = f"pruned after {attrs.get('epochs', '?')} epochs"
        elif not is_finals and float(trial.value or 0) > self.best:
            self.best, mark = float(trial.value or 0), "best so far"
        what = f"trial {attrs['slot']}" if not is_finals else f"again: trial {attrs['of']}"
        value = f"{trial.value:.3f}" if trial.value is not None else "-"
        seconds = attrs.get("seconds", 0.0)
        log.info("%s %s: %s %s  %s  %.1f s  %s", place, what, name, value, settings, seconds, mark)


def _check_images(plan: Plan, to_go: int) -> None:
    """Stops before the first trial if the images can't be used, for all trials would fail of it.

    Trials say little, and workers have but their share of the cores. So where there are trials to go, the features
    that all of them read are extracted here, and which net that takes is said.
    """
    config = plan.trial_config([])
    prepared = plan.images(config)
    if to_go and plan.is_of_heads:
        from seedsweep.training.run import open_images

        open_images(config, prepared)
    if to_go and all(param.key != "data.batch_size" for param in plan.space):
        _tell_of_steps(len(prepared.table.indices("train")), config.data.batch_size)


def _tell_of_steps(n: int, size: int) -> None:
    steps = -(-n // size)
    if steps < FEW_STEPS and size > SMALLEST:
        better = max(SMALLEST, 2 ** math.floor(math.log2(max(n / FEW_STEPS, 1))))
        log.warning(
            "an epoch is only %d %s: %d training images, data.batch_size=%d. Smaller batches learn more from so few: "
            "data.batch_size=%d, with another study.name.",
            steps, "step" if steps == 1 else "steps", n, size, better,
        )  # fmt: skip


def _tell_of_settings(plan: Plan) -> None:
    """Says in what every trial differs from the experiment that was asked for."""
    trial, asked = plan.trial_config([]), plan.config
    changed = []
    for key in map(key_of, asked.study.settings):
        try:
            here, there = (attrgetter(key)(config) for config in (trial, asked))
        except AttributeError:  # a group's choice
            continue
        if here != there:
            changed.append(f"{key}={here} ({there} in {asked.experiment.name})")
    if changed:
        log.info("every trial: %s", ", ".join(changed))


def _key(study: optuna.Study, slot: int) -> str:
    return f"{study.study_name} {slot}"
