"""Closes a study: the winner meets the test images, and everything is written down."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import optuna
from omegaconf import OmegaConf
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from seedsweep.errors import SeedsweepError
from seedsweep.names import path_of
from seedsweep.overrides import shortened
from seedsweep.report.blocks import span
from seedsweep.report.studies_table import score_text
from seedsweep.report.study_pictures import draw_study
from seedsweep.report.study_trials import ENDED, print_study, state_of, write_trials_csv
from seedsweep.runs.command import Word, command, shown
from seedsweep.runs.csv_files import accuracy_of, read_predictions
from seedsweep.runs.held_out import held_out
from seedsweep.runs.record import METRICS, read_metrics
from seedsweep.stats.interval import Interval
from seedsweep.stats.scores import majority_macro_f1, majority_share
from seedsweep.study.edges import as_dicts, edges_of
from seedsweep.study.leases import NUMBER
from seedsweep.study.optimism import chosen_of, in_words
from seedsweep.study.plan import Plan, trials_of
from seedsweep.study.reevaluation import Finalist, ranking, run_folder
from seedsweep.study.trial import quiet
from seedsweep.whole import write_json

log = logging.getLogger(__name__)

SECTIONS = (
    "data", "augment", "preprocess", "backbone", "batchnorm", "head", "optim", "trainer", "features",
)  # fmt: skip


def close_study(study: optuna.Study, again: optuna.Study, plan: Plan, started: float) -> dict[str, Any]:
    """Ranks the finalists, scores the winner on the test images, writes and prints the result.

    Returns:
        What result.json holds.

    Raises:
        SeedsweepError: no trial went to its end.
    """
    metric = METRICS[plan.study.metric]
    console = Console(highlight=False, width=max(Console().width, 100))
    write_trials_csv(study, plan.folder / "trials.csv")
    pictures = draw_study(study, plan.folder / "plots", metric)
    print_study(study, console, metric)
    ranked = ranking(study, again, plan)
    if not ranked and plan.time is not None and trials_of(study, (TrialState.WAITING,)):
        done = len(trials_of(study, (TrialState.COMPLETE,)))
        raise SeedsweepError(
            f"the budget was too short for a result of {plan.study.name}: {done} of its trials are done. The same "
            "command with more time goes on with it."
        )
    if not ranked:
        failed = trials_of(again, (TrialState.FAIL,)) or trials_of(study, (TrialState.FAIL,))
        reason = "all were pruned; take pruner=none."
        if why := next(
            (trial.user_attrs.get("reason", "unknown") for trial in failed or _ended(study)), None
        ):
            more = "" if failed else ". Search another space, or give study.end_hopeless=false."
            reason = f"{why}{more}"
        raise SeedsweepError(f"no trial of {plan.study.name} went to its end: {reason}")
    winner, finished = ranked[0], trials_of(study, (TrialState.COMPLETE,))
    finished.sort(
        key=lambda trial: (int(trial.user_attrs[NUMBER]) != winner.trial, -float(trial.value or 0.0))
    )
    edges = edges_of(plan.study, [trial.params for trial in finished], lambda line: _works(plan, line))
    chosen = chosen_of(finished, ranked, plan)
    before = _met_before(again, plan, winner)
    test = meet_test(plan, winner)
    of_test = accuracy_of([read_predictions(run, ("test",)).get("test") for run in winner.folders])
    best = _write_best(plan, winner)
    counts = {state.name.lower(): len(trials_of(study, (state,))) for state in TrialState}
    result = {
        "study": plan.study.name,
        "experiment": plan.asked.experiment.name,
        "seed": plan.asked.seed,
        "metric": plan.study.metric,
        "rule": _rule(plan),
        "trials": {name: count for name, count in counts.items() if count},
        "ended_by_evidence": len(_ended(study)),
        "finalists": [_as_dict(finalist, plan.folder) for finalist in ranked],
        "winner": {
            **_as_dict(winner, plan.folder),
            "test": {"seeds": test, "met_before_by": before, **_spread(test)},
            "chosen": asdict(chosen) | {"sentence": in_words(chosen)} if chosen else None,
            "test_accuracy": asdict(of_test) if of_test else None,
        },
        "edges": as_dicts(edges),
        "best_config": str(best),
        "data": _data(winner.folders[0]),
        "trial_seconds": sum(float(t.user_attrs.get("seconds", 0)) for t in trials_of(study)),
        "wall_seconds": time.perf_counter() - started,  # of this call, which may have resumed an earlier one
    }
    write_json(plan.folder / "result.json", result)
    _print_ranking(console, plan, ranked)
    if chosen:
        console.print(in_words(chosen), soft_wrap=True, markup=False)
    if test:
        _print_test(console, test, before, of_test)
    for edge in edges:
        console.print(str(edge).replace("`", ""), soft_wrap=True, markup=False)
    _print_ways_on(console, plan, best, bool(pictures))
    return result


def meet_test(plan: Plan, winner: Finalist) -> list[dict[str, Any]]:
    """Scores the test images with each of the winner's runs; this call lets no other finalist meet them.

    Returns:
        ``acc``, ``macro_f1`` and ``loss`` a seed; empty if the data has no test split.
    """
    from seedsweep.data.pin import Pin
    from seedsweep.training.finish import score_test

    found = []
    for seed, folder in zip(winner.seeds, winner.folders, strict=True):
        settings = plan.compose([*winner.settings, f"seed={seed}"])
        with quiet():
            scores = score_test(settings, folder, Pin.of_study(plan.folder))
        if scores is not None:
            found.append({key: scores[key] for key in ("acc", "macro_f1", "loss")})
    return found


def _met_before(again: optuna.Study, plan: Plan, winner: Finalist) -> list[int]:
    """Returns the trials, but for the winner, that met the test images: winners of earlier calls."""
    runs = trials_of(again, (TrialState.COMPLETE,))
    met = {
        int(run.user_attrs["of"])
        for run in runs
        if read_metrics(run_folder(plan, int(run.user_attrs[NUMBER]))).get("test")
    }
    return sorted(met - {winner.trial})


def _ended(study: optuna.Study) -> list[FrozenTrial]:
    """Returns the trials that ended by their evidence."""
    return [trial for trial in trials_of(study) if state_of(trial) == ENDED]


def _works(plan: Plan, line: str) -> bool:
    """Says whether a trial may have this setting."""
    try:
        plan.compose([line])
    except SeedsweepError:
        return False
    return True


def _write_best(plan: Plan, winner: Finalist) -> Path:
    """Writes the winner as an experiment that runs as it is, with all that it depends on."""
    settings = asdict(plan.compose(winner.settings))
    content = {key: value for key, value in settings.items() if key in SECTIONS}
    if content["data"]["root"]:
        content["data"]["root"] = str(path_of(content["data"]["root"]).absolute())
    # its split; and the run is refused if the images changed since
    if (manifest := plan.folder / "manifest.csv").is_file():
        content["data"]["manifest"] = str(manifest)
    name = f"best_of_{plan.study.name}"
    teaches = f"the winner of study {plan.study.name}: {', '.join(winner.settings) or 'as it began'}"
    content = {"experiment": {"name": name, "teaches": teaches}, **content}
    path = plan.folder / "conf" / "experiment" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    seeds = "one fresh seed"
    if (n := len(winner.values)) > 1:
        seeds = f"mean of {n} fresh seeds ({min(winner.values):.4f} to {max(winner.values):.4f})"
    metric = f"{METRICS[plan.study.metric]} ({_rule(plan)})"
    head = f"# @package _global_\n# {metric} of the validation images: {winner.mean:.4f}, {seeds}.\n"
    path.write_text(head + OmegaConf.to_yaml(OmegaConf.create(content)), encoding="utf-8")
    return path


def _data(run: Path) -> dict[str, Any]:
    """Returns by which images the study was judged, and what always the largest class gives on them."""
    metrics = read_metrics(run)
    val = read_predictions(run, ("val",)).get("val")
    found = held_out(run, metrics, val.paths[0] if val else None)
    counts = (metrics.get("images") or {}).get("val") or {}
    largest = {"acc": majority_share(counts), "macro_f1": majority_macro_f1(counts)} if counts else {}
    return {"digest": found.digest, "about": found.about, "largest_class": largest}


def _as_dict(finalist: Finalist, folder: Path) -> dict[str, Any]:
    return {
        "trial": finalist.trial,
        "settings": finalist.settings,
        "value_in_study": finalist.trial_value,
        "values": finalist.values,
        "seeds": finalist.seeds,
        "mean": finalist.mean,
        "sd": finalist.spread,
        "reference": finalist.reference,
        "runs": [str(run.relative_to(folder)) for run in finalist.folders],
    }


def _spread(test: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    found = {}
    for key in ("acc", "macro_f1") if test else ():
        values = [row[key] for row in test]
        found[key] = {"mean": fmean(values), "sd": stdev(values) if len(values) > 1 else 0.0}
    return found


def _rule(plan: Plan) -> str:
    if plan.study.rule == "checkpoint":
        return "of the epoch with the best validation accuracy, whose weights are kept"
    tail = min(plan.study.tail, plan.compose([]).trainer.max_epochs)
    return f"mean of the last {tail} epochs" if tail > 1 else "of the last epoch"


def _print_ranking(console: Console, plan: Plan, ranked: list[Finalist]) -> None:
    n = plan.study.finalist_seeds
    console.print(
        f"\nTrained again with {n} fresh {'seed' if n == 1 else 'seeds'} each, for the best of many trials is so "
        f"partly by luck: {METRICS[plan.study.metric]}, {_rule(plan)}",
        soft_wrap=True,
    )
    for place, finalist in enumerate(ranked, 1):
        note = "  (the study began with it)" if finalist.reference else ""
        settings = ", ".join(map(shortened, finalist.settings)) or "as it stands"
        score = score_text(finalist.mean, finalist.spread, len(finalist.values))
        line = f"  {place}. {score}  trial {finalist.trial}: {settings}{note}"
        console.print(line, soft_wrap=True, markup=False)


def _print_test(
    console: Console, test: list[dict[str, Any]], before: list[int], found: Interval | None
) -> None:
    spread = _spread(test)
    scores = ", ".join(
        f"{name} {score_text(spread[key]['mean'], spread[key]['sd'], len(test))}"
        for key, name in (("acc", "accuracy"), ("macro_f1", "macro-F1"))
    )
    met = "met once"
    if before:
        met = f"which earlier winners met, too (trial {', '.join(map(str, before))})"
    interval = f" (accuracy {span(found)} %, 95 % over {found.over})" if found else ""
    console.print(f"The winner on the test images, {met}: {scores}{interval}", soft_wrap=True)


def _print_ways_on(console: Console, plan: Plan, best: Path, pictures: bool) -> None:
    run: list[Word] = [("experiment", best.stem)]
    if plan.folder.parent.absolute() != Path("outputs/studies").absolute():
        run = ["--config-dir", str(shown(best.parents[1])), *run]
    files = "trials.csv, result.json" + (", plots/" if pictures else "")
    dashboard = command("task=dashboard", ("dashboard.dir", shown(plan.folder)))
    console.print(f"\nresults    {shown(plan.folder)}  ({files})", soft_wrap=True, markup=False)
    console.print(f"the winner {command(*run)}", soft_wrap=True, markup=False)
    console.print(f"dashboard  {dashboard}", soft_wrap=True, markup=False)
