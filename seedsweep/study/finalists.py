"""Takes the luck out of a study's winner: the best settings are trained again with fresh seeds and ranked by mean.

The best of many trials is best partly by chance (Cawley and Talbot 2010, section 5): its own value promises too
much. So the finalists are ranked by runs that took no part in their choice, and only a call's winner meets the test
set.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import optuna
from filelock import FileLock
from optuna.trial import TrialState

from seedsweep.config.study_options import StudyConfig
from seedsweep.names import path_of
from seedsweep.runs.record import read_metrics
from seedsweep.study.plan import SUFFIX, Plan, add_slot, slots
from seedsweep.study.space import Start
from seedsweep.study.storage import storage_of

log = logging.getLogger(__name__)

MOST_SEEDS = 1000  # of a finalist
LARGEST = 2**31  # beyond it some library takes no seed


@dataclass
class Finalist:
    """A setting that was trained again.

    ``values`` are the study's metric for each fresh seed, ``folders`` their runs; ``reference`` marks the trial
    that the study began with.
    """

    trial: int
    settings: list[str]
    trial_value: float
    reference: bool
    values: list[float]
    seeds: list[int]
    folders: list[Path]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return fmean(self.values) if self.values else float("nan")

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds; 0 for one."""
        return stdev(self.values) if len(self.values) > 1 else 0.0


def candidates(study: optuna.Study, config: StudyConfig) -> list[optuna.trial.FrozenTrial]:
    """Returns the best ``finalists`` different settings, and the trial that the study began with."""
    complete = slots(study, (TrialState.COMPLETE,))
    ranked = sorted(complete, key=lambda trial: -float(trial.value or 0.0))
    chosen: dict[str, optuna.trial.FrozenTrial] = {}
    for trial in ranked:
        if len(chosen) < config.finalists:
            chosen.setdefault(_key(trial), trial)
    if config.first:
        for trial in complete[:1]:
            if int(trial.user_attrs["slot"]) == 0:
                chosen.setdefault(_key(trial), trial)
    return list(chosen.values())


def lay_finals(study: optuna.Study, plan: Plan) -> optuna.Study:
    """Opens the finals, a study beside the study, and lays down a slot for each finalist and fresh seed.

    Who once was a finalist stays one: what its fresh seeds showed is worth no less in a longer study.

    Raises:
        RefusedError: slots are lacking, and the images are not those that the study began with.
    """
    finals = open_finals(study, plan)
    with FileLock(plan.folder / "begin.lock"):  # as in lay_slots
        _lay(study, finals, plan)
    finals.set_user_attr("n_trials", plan.config.study.n_trials)
    return finals


def _lay(study: optuna.Study, finals: optuna.Study, plan: Plan) -> None:
    laid, by_slot = slots(finals), {int(trial.user_attrs["slot"]): trial for trial in slots(study)}
    present = {trial.user_attrs["slot"] for trial in laid}
    chosen = {of: by_slot[of] for of in sorted({int(run.user_attrs["of"]) for run in laid})}
    known = {_key(trial) for trial in chosen.values()}
    now = candidates(study, plan.config.study)
    chosen |= {int(trial.user_attrs["slot"]): trial for trial in now if _key(trial) not in known}
    lacking: list[tuple[int, Start, int, int]] = []
    for of, trial in chosen.items():
        for number in range(plan.config.study.finalist_seeds):
            slot = of * MOST_SEEDS + number  # known by the trial: a longer study has more finalists
            if slot not in present:
                seed = fresh_seed(plan.config.seed, number)
                settings = [*trial.user_attrs["settings"], f"seed={seed}"]
                lacking.append((slot, Start({}, settings), of, seed))
    if lacking:
        plan.check_images()
    for slot, start, of, seed in lacking:
        add_slot(finals, slot, start, laid=True, of=of, seed=seed)
    if lacking and len(chosen) > len(now):
        log.info(
            "trained again with fresh seeds: %d settings of this call, and those of earlier ones", len(now)
        )


def fresh_seed(seed: int, number: int) -> int:
    """Returns the ``number``-th seed of a finalist: no trial had it, and no finalist of a study with another seed.

    With ``seed=1`` they are 1001, 1002, ...; two studies that share one would share a training.
    """
    return (seed * MOST_SEEDS + 1 + number) % LARGEST


def open_finals(study: optuna.Study, plan: Plan) -> optuna.Study:
    """Opens the finals of a study; no trial of theirs is pruned."""
    return optuna.create_study(
        storage=storage_of(study),
        study_name=plan.config.study.name + SUFFIX,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.NopPruner(),
    )


def ranking(study: optuna.Study, finals: optuna.Study, plan: Plan) -> list[Finalist]:
    """Returns the finalists, best mean first; those whose runs all failed are left out."""
    by_slot = {int(trial.user_attrs["slot"]): trial for trial in slots(study)}
    found: dict[int, Finalist] = {}
    for run in slots(finals, (TrialState.COMPLETE,)):
        of = int(run.user_attrs["of"])
        if int(run.user_attrs["slot"]) % MOST_SEEDS >= plan.config.study.finalist_seeds:
            continue  # of a call that asked for more seeds
        if of not in found:
            trial = by_slot[of]
            reference = of == 0 and bool(plan.config.study.first)
            value = float(trial.value or 0.0)
            found[of] = Finalist(of, list(trial.user_attrs["settings"]), value, reference, [], [], [])
        assert run.value is not None
        found[of].values.append(float(run.value))
        found[of].seeds.append(int(run.user_attrs["seed"]))
        found[of].folders.append(run_folder(plan, int(run.user_attrs["slot"])))
    return sorted(found.values(), key=lambda finalist: -finalist.mean)


def run_folder(plan: Plan, slot: int) -> Path:
    """Returns where a run of the finals is."""
    trial, number = divmod(slot, MOST_SEEDS)
    return plan.folder / "finalists" / f"trial{trial:04d}_{number}"


def met_before(finals: optuna.Study, plan: Plan, winner: Finalist) -> list[int]:
    """Returns the trials, but for the winner, that met the test images: winners of earlier calls."""
    return sorted(
        {
            int(run.user_attrs["of"])
            for run in slots(finals, (TrialState.COMPLETE,))
            if read_metrics(run_folder(plan, int(run.user_attrs["slot"]))).get("test")
        }
        - {winner.trial}
    )


def meet_test(plan: Plan, winner: Finalist) -> list[dict[str, Any]]:
    """Scores the test images with each of the winner's runs; this call lets no other finalist meet them.

    Returns:
        ``acc``, ``macro_f1`` and ``loss`` a seed; empty if the data has no test split.
    """
    from seedsweep.data.pin import Pin
    from seedsweep.study.trial import quiet
    from seedsweep.training.test_split import score_test

    found = []
    for seed, folder in zip(winner.seeds, winner.folders, strict=True):
        lines = [*winner.settings, f"seed={seed}"]
        with quiet():
            scores = score_test(plan.trial_config(lines), folder, Pin.of_study(plan.folder))
        if scores is not None:
            found.append({key: scores[key] for key in ("acc", "macro_f1", "loss")})
    return found


def write_best(plan: Plan, winner: Finalist, metric: str) -> Path:
    """Writes the winner as an experiment that runs as it is, with all that it depends on."""
    from omegaconf import OmegaConf

    config = plan.trial_config(winner.settings)
    content = {key: value for key, value in asdict(config).items() if key in SECTIONS}
    if content["data"]["root"]:
        content["data"]["root"] = str(path_of(content["data"]["root"]).absolute())
    # its split; and the run is refused if the images changed since
    if (manifest := plan.folder / "manifest.csv").is_file():
        content["data"]["manifest"] = str(manifest)
    name = f"best_of_{plan.config.study.name}"
    told = f"the winner of study {plan.config.study.name}: {', '.join(winner.settings) or 'as it began'}"
    content = {"experiment": {"name": name, "teaches": told}, **content}
    path = plan.folder / "conf" / "experiment" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    seeds = "one fresh seed"
    if (n := len(winner.values)) > 1:
        seeds = f"mean of {n} fresh seeds ({min(winner.values):.4f} to {max(winner.values):.4f})"
    head = f"# @package _global_\n# {metric} of the validation images: {winner.mean:.4f}, {seeds}.\n"
    path.write_text(head + OmegaConf.to_yaml(OmegaConf.create(content)))
    return path


SECTIONS = (
    "data", "augment", "preprocess", "backbone", "batchnorm", "head", "optim", "trainer", "features",
)  # fmt: skip


def _key(trial: optuna.trial.FrozenTrial) -> str:
    return json.dumps(sorted(trial.user_attrs.get("settings", [])), allow_nan=False)
