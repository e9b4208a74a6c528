"""Closes a study: the winner meets the test images, and everything is written down."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import optuna
from optuna.trial import TrialState
from rich.console import Console

from seedsweep.config.study_options import METRICS
from seedsweep.errors import SeedsweepError
from seedsweep.overrides import shortened
from seedsweep.report.studies_table import score_text
from seedsweep.report.study_pictures import draw_study
from seedsweep.report.study_trials import print_study, write_trials_csv
from seedsweep.runs.answers import read_answers
from seedsweep.runs.command import Word, command, shown
from seedsweep.runs.held_out import held_out
from seedsweep.runs.record import read_metrics
from seedsweep.stats.scores import majority_macro_f1, majority_share
from seedsweep.study.finalists import Finalist, meet_test, met_before, ranking, write_best
from seedsweep.study.plan import Plan, slots
from seedsweep.whole import write_json

log = logging.getLogger(__name__)


def close_study(study: optuna.Study, finals: optuna.Study, plan: Plan, started: float) -> dict[str, Any]:
    """Ranks the finalists, scores the winner on the test images, writes and prints the result.

    Args:
        study: all its trials ended.
        finals: likewise.
        plan: the study.
        started: ``time.perf_counter()`` when this call began.

    Returns:
        What result.json holds.

    Raises:
        SeedsweepError: no trial went to its end.
    """
    metric = METRICS[plan.config.study.metric]
    console = Console(highlight=False, width=max(Console().width, 100))
    write_trials_csv(study, plan.folder / "trials.csv")
    pictures = draw_study(study, plan.folder / "plots", metric)
    print_study(study, console, metric)
    ranked = ranking(study, finals, plan)
    if not ranked:
        raise SeedsweepError(
            f"no trial of {plan.config.study.name} went to its end: {_reason(study, finals)}"
        )
    winner = ranked[0]
    before = met_before(finals, plan, winner)
    test = meet_test(plan, winner)
    best = write_best(plan, winner, f"{metric} ({_rule(plan)})")
    counts = {state.name.lower(): len(slots(study, (state,))) for state in TrialState}
    result = {
        "study": plan.config.study.name,
        "experiment": plan.config.experiment.name,
        "seed": plan.config.seed,
        "metric": plan.config.study.metric,
        "rule": _rule(plan),
        "trials": {name: count for name, count in counts.items() if count},
        "finalists": [_as_dict(finalist, plan.folder) for finalist in ranked],
        "winner": {
            **_as_dict(winner, plan.folder),
            "test": {"seeds": test, "met_before_by": before, **_spread(test)},
        },
        "best_config": str(best),
        "data": _data(winner.folders[0]),
        "trial_seconds": sum(float(t.user_attrs.get("seconds", 0)) for t in slots(study)),
        "wall_seconds": time.perf_counter() - started,  # of this call, which may have resumed an earlier one
    }
    write_json(plan.folder / "result.json", result)
    _say(console, plan, ranked, test, before, best, bool(pictures))
    return result


def _data(run: Path) -> dict[str, Any]:
    """Returns by which images the study was judged, and what always the largest class gives on them."""
    metrics = read_metrics(run)
    val = read_answers(run, ("val",)).get("val")
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


def _spread(test: list[dict[str, Any]]) -> dict[str, Any]:
    if not test:
        return {}
    return {
        key: {
            "mean": fmean(row[key] for row in test),
            "sd": stdev(row[key] for row in test) if len(test) > 1 else 0.0,
        }
        for key in ("acc", "macro_f1")
    }


def _rule(plan: Plan) -> str:
    study = plan.config.study
    if study.rule == "checkpoint":
        return "of the epoch with the best validation accuracy, whose weights are kept"
    tail = min(study.tail, plan.trial_config([]).trainer.max_epochs)
    return f"mean of the last {tail} epochs" if tail > 1 else "of the last epoch"


def _reason(study: optuna.Study, finals: optuna.Study) -> str:
    failed = slots(finals, (TrialState.FAIL,)) or slots(study, (TrialState.FAIL,))
    return (
        str(failed[0].user_attrs.get("reason", "unknown")) if failed else "all were pruned; take pruner=none."
    )


def _say(
    console: Console,
    plan: Plan,
    ranked: list[Finalist],
    test: list[dict[str, Any]],
    before: list[int],
    best: Path,
    pictures: bool,
) -> None:
    study = plan.config.study
    metric = METRICS[study.metric]
    n = study.finalist_seeds
    console.print(
        f"\nTrained again with {n} fresh {'seed' if n == 1 else 'seeds'} each, for the best of many trials is so "
        f"partly by luck: {metric}, {_rule(plan)}",
        soft_wrap=True,
    )
    for place, finalist in enumerate(ranked, 1):
        note = "  (the study began with it)" if finalist.reference else ""
        settings = ", ".join(map(shortened, finalist.settings)) or "as it stands"
        score = score_text(finalist.mean, finalist.spread, len(finalist.values))
        console.print(
            f"  {place}. {score}  trial {finalist.trial}: {settings}{note}",
            soft_wrap=True, markup=False,
        )  # fmt: skip
    if test:
        spread = _spread(test)
        scores = ", ".join(
            f"{name} {score_text(spread[key]['mean'], spread[key]['sd'], len(test))}"
            for key, name in (("acc", "accuracy"), ("macro_f1", "macro-F1"))
        )
        met = "met once"
        if before:
            met = f"which earlier winners met, too (trial {', '.join(map(str, before))})"
        console.print(f"The winner on the test images, {met}: {scores}")
    run: list[Word] = [("experiment", best.stem)]
    if plan.folder.parent.absolute() != Path("outputs/studies").absolute():
        run = ["--config-dir", str(shown(best.parents[1])), *run]
    files = "trials.csv, result.json" + (", plots/" if pictures else "")
    console.print(f"\nresults    {shown(plan.folder)}  ({files})", soft_wrap=True, markup=False)
    console.print(f"the winner {command(*run)}", soft_wrap=True, markup=False)
    dashboard = command("task=dashboard", ("dashboard.dir", shown(plan.folder)))
    console.print(f"dashboard  {dashboard}", soft_wrap=True, markup=False)
