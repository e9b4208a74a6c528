"""What a study's winner is worth on unseen images: its validation images chose it, so its score there is too high."""

from __future__ import annotations

from optuna.trial import FrozenTrial

from seedsweep.report.blocks import percent, span
from seedsweep.runs.csv_files import read_predictions
from seedsweep.stats.selection import Candidate, Chosen, of_chosen
from seedsweep.study.leases import NUMBER
from seedsweep.study.plan import Plan
from seedsweep.study.reevaluation import Finalist


def in_words(chosen: Chosen) -> str:
    """Returns the accuracy on the images that chose the winner, and what is left of it on unseen ones."""
    here, unseen = chosen.here, chosen.unseen
    return (
        f"The winner classifies {percent(here.value)} % of the validation images correctly ({span(here)}, 95 % over "
        f"{here.over}). They chose it among {chosen.among} finished trials: without that choice's luck it would be "
        f"{percent(unseen.value)} % ({span(unseen)}). The luck in the choice of its epoch is still in both."
    )


def chosen_of(trials: list[FrozenTrial], ranked: list[Finalist], plan: Plan) -> Chosen | None:
    """Returns what the winner is worth on unseen images; None: too few images, or runs whose predictions are gone.

    Args:
        trials: all that finished; the winner is the first.
    """
    again = {
        each.trial: [read_predictions(run, ("val",)).get("val") for run in each.folders] for each in ranked
    }
    answers, candidates = None, []
    for number in (int(trial.user_attrs[NUMBER]) for trial in trials):
        first = read_predictions(plan.folder / "trials" / f"{number:04d}", ("val",)).get("val")
        runs = [first, *again.get(number, [])]
        if any(run is None for run in runs):
            return None
        answers = answers or again[number][0]
        predicted = [run.predicted for run in runs if run is not None]
        candidates.append(Candidate(predicted[0], predicted[1:]))
    if answers is None or any(len(each.first) != len(answers.labels) for each in candidates):
        return None
    return of_chosen(answers.labels, candidates, 0, len(ranked), plan.study.metric, answers.groups)
