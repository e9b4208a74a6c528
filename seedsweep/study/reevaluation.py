"""Takes the luck out of a study's winner: the best settings are trained again with fresh seeds and ranked by mean.

The best of many trials is best partly by chance (Cawley and Talbot 2010, section 5): its own value promises too
much. So the finalists, the settings with the best values, are ranked by runs that took no part in their choice. They
are the trials of a second study beside the first.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev

import optuna
from filelock import FileLock
from optuna.trial import FrozenTrial, TrialState

from seedsweep.study.leases import NUMBER
from seedsweep.study.options import StudyConfig
from seedsweep.study.plan import AGAIN, Plan, add_trial, trials_of
from seedsweep.study.space import Start
from seedsweep.study.storage import storage_of
from seedsweep.study.trial import FIXED

log = logging.getLogger(__name__)

MOST_SEEDS = 1000  # of a finalist
LARGEST = 2**31  # beyond it some library takes no seed


@dataclass
class Finalist:
    """A setting that was trained again."""

    trial: int  # its number in the study
    settings: list[str]  # as overrides
    trial_value: float  # its value in the study
    reference: bool  # whether the study began with it
    values: list[float] = field(default_factory=list)  # the study's metric for each fresh seed
    seeds: list[int] = field(default_factory=list)  # these
    folders: list[Path] = field(default_factory=list)  # of their runs

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return fmean(self.values) if self.values else float("nan")

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds; 0 for one."""
        return stdev(self.values) if len(self.values) > 1 else 0.0


def open_again(study: optuna.Study, plan: Plan) -> optuna.Study:
    """Opens the study beside the study that holds the re-evaluation; none of its trials is pruned."""
    return optuna.create_study(
        storage=storage_of(study),
        study_name=plan.study.name + AGAIN,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.NopPruner(),
    )


def add_again(study: optuna.Study, plan: Plan) -> optuna.Study:
    """Opens the re-evaluation, and adds a trial for each finalist and fresh seed that it lacks.

    The finalists of an earlier call stay finalists: what their fresh seeds showed is worth no less in a longer study.

    Raises:
        RefusedError: trials are lacking, and the images are not those that the study began with.
    """
    again = open_again(study, plan)
    with FileLock(plan.folder / "begin.lock"):  # as in add_trials
        _add_lacking(study, again, plan)
    again.set_user_attr("n_trials", plan.study.n_trials)
    return again


def _add_lacking(study: optuna.Study, again: optuna.Study, plan: Plan) -> None:
    there, by_number = trials_of(again), _by_number(study)
    present = {run.user_attrs[NUMBER] for run in there}
    chosen = {of: by_number[of] for of in sorted({int(run.user_attrs["of"]) for run in there})}
    known = {_key(trial) for trial in chosen.values()}
    now = _finalists(study, plan.study)
    chosen |= {int(trial.user_attrs[NUMBER]): trial for trial in now if _key(trial) not in known}
    lacking: list[tuple[int, Start, int, int]] = []
    for of, trial in chosen.items():
        for place in range(plan.study.finalist_seeds):
            number = of * MOST_SEEDS + place  # known by the trial: a longer study has more finalists
            if number not in present:
                seed = fresh_seed(plan.asked.seed, place)
                lacking.append((number, Start({}, [*trial.user_attrs["settings"], f"seed={seed}"]), of, seed))
    if lacking:
        plan.check_images()
    if plan.time is not None:  # a budget may end between seeds: the first one of all, then the second one
        lacking.sort(key=lambda each: each[0] % MOST_SEEDS)
    for number, start, of, seed in lacking:
        add_trial(again, number, start, **{FIXED: True, "of": of, "seed": seed})
    if lacking and len(chosen) > len(now):
        log.info(
            "trained again with fresh seeds: %d settings of this call, and those of earlier ones", len(now)
        )


def fresh_seed(seed: int, place: int) -> int:
    """Returns a finalist's seed number ``place``: no trial had it, and no finalist of a study with another seed.

    With ``seed=1`` they are 1001, 1002, ...; two studies that share one would share a training.
    """
    return (seed * MOST_SEEDS + 1 + place) % LARGEST


def ranking(study: optuna.Study, again: optuna.Study, plan: Plan) -> list[Finalist]:
    """Returns the finalists, best mean first; those whose runs all failed are left out."""
    by_number = _by_number(study)
    found: dict[int, Finalist] = {}
    for run in trials_of(again, (TrialState.COMPLETE,)):
        of, number = int(run.user_attrs["of"]), int(run.user_attrs[NUMBER])
        if number % MOST_SEEDS >= plan.study.finalist_seeds:
            continue  # of a call that asked for more seeds
        if of not in found:
            trial = by_number[of]
            reference = of == 0 and bool(plan.study.first)
            found[of] = Finalist(of, list(trial.user_attrs["settings"]), float(trial.value or 0.0), reference)
        assert run.value is not None
        found[of].values.append(float(run.value))
        found[of].seeds.append(int(run.user_attrs["seed"]))
        found[of].folders.append(run_folder(plan, number))
    return sorted(found.values(), key=lambda finalist: -finalist.mean)


def run_folder(plan: Plan, number: int) -> Path:
    """Returns where a run of the re-evaluation is."""
    trial, place = divmod(number, MOST_SEEDS)
    return plan.folder / "finalists" / f"trial{trial:04d}_{place}"


def _finalists(study: optuna.Study, options: StudyConfig) -> list[FrozenTrial]:
    """Returns the best ``finalists`` different settings, and the trial that the study began with."""
    complete = trials_of(study, (TrialState.COMPLETE,))
    chosen: dict[str, FrozenTrial] = {}
    for trial in sorted(complete, key=lambda trial: -float(trial.value or 0.0)):
        if len(chosen) < options.finalists:
            chosen.setdefault(_key(trial), trial)
    if options.first and complete and int(complete[0].user_attrs[NUMBER]) == 0:
        chosen.setdefault(_key(complete[0]), complete[0])
    return list(chosen.values())


def _by_number(study: optuna.Study) -> dict[int, FrozenTrial]:
    return {int(trial.user_attrs[NUMBER]): trial for trial in trials_of(study)}


def _key(trial: FrozenTrial) -> str:
    return json.dumps(sorted(trial.user_attrs.get("settings", [])), allow_nan=False)
