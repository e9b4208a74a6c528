"""Several trials of one process at once: their heads are trained together, then each trial is recorded by itself.

A step of a small head is mostly the cost of calls, on a GPU that of any head (``heads/company.py``). This has a cost:
trials that are drawn together don't use each other's results, like those of several workers. So a study that was
stopped and resumed may draw others. And heads that are trained together are trained to their end: none is pruned.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.trial import Trial

from seedsweep import signals
from seedsweep.errors import OF_ALL
from seedsweep.study.leases import SLOT, Leases
from seedsweep.study.plan import Plan
from seedsweep.study.search import build_sampler
from seedsweep.study.trial import heartbeat, lines_of, quiet, run_trial

if TYPE_CHECKING:
    from seedsweep.config.schema import Config
    from seedsweep.training.heads.replay import Replay

log = logging.getLogger(__name__)


def take(leases: Leases, plan: Plan) -> list[Trial]:
    """Takes up to ``study.company`` waiting trials, each with its settings drawn before the next is taken.

    One whose worker was killed is taken alone: it may be what killed it.
    """
    taken: list[Trial] = []
    size = plan.config.study.company
    try:
        while len(taken) < size:
            signals.check()
            trial = leases.claim(
                lambda slot: build_sampler(plan.config.sampler, plan.config.study.seed, slot)
            )
            if trial is None:
                break
            taken.append(trial)
            if size == 1:
                break
            if trial.user_attrs.get("deaths"):
                if len(taken) > 1:
                    leases.give_back(taken.pop())
                break
            lines_of(trial, plan)
    except BaseException:
        for trial in taken:
            leases.give_back(trial)
        raise
    return taken


def run_trials(
    trials: list[Trial], plan: Plan, leases: Leases, folder: Callable[[int], Path], told: Callable[[], None]
) -> None:
    """Runs trials that this process took.

    Args:
        trials: taken.
        plan: the study.
        leases: of the study.
        folder: that of a slot.
        told: called after each trial.

    Raises:
        KeyboardInterrupt: the user stopped the study; trials that did not end are given back.
        DiskError, ChangedError, RefusedError: the disk is full, or the images changed; likewise.
    """
    waiting = list(trials)
    with ExitStack() as all_beats:
        beats = [all_beats.enter_context(ExitStack()) for _ in trials]
        try:
            if len(trials) > 1:
                for own, trial in zip(beats, trials, strict=True):
                    own.enter_context(heartbeat(trial, plan))
            for own, trial, ready in zip(beats, trials, _in_company(trials, plan), strict=True):
                own.close()
                waiting.remove(trial)  # from here on it beats, and gives itself back
                run_trial(trial, plan, leases, folder(int(trial.user_attrs[SLOT])), ready)
                told()
        except (KeyboardInterrupt, *OF_ALL):
            for trial in waiting:
                leases.give_back(trial)
            raise


def _in_company(trials: list[Trial], plan: Plan) -> list[Replay | None]:
    if len(trials) == 1:
        return [None]
    from seedsweep.training.company import train_heads

    configs = {place: config for place, trial in enumerate(trials) if (config := _config(trial, plan))}
    with quiet():
        made = dict(zip(configs, train_heads(list(configs.values()), plan.images), strict=True))
    return [made.get(place) for place in range(len(trials))]


def _config(trial: Trial, plan: Plan) -> Config | None:
    """Returns a trial's settings; None if they don't compose, which the trial itself says and records."""
    try:
        return plan.trial_config(lines_of(trial, plan))
    except Exception:
        log.debug("trial %s can't be composed", trial.user_attrs[SLOT], exc_info=True)
        return None
