"""Pictures of a study, drawn by Optuna."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import optuna
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator
from optuna.visualization import matplotlib as drawn

from seedsweep.drawing import DOTS, GREY, INK, TRAIN, VAL
from seedsweep.report.study.trials import Trials, read_trials, score

log = logging.getLogger(__name__)

FIRST_CHOICE = ("optim.lr", "head.width")  # of the contour's two settings


LEAST = 8  # finished trials of which importances say anything


@dataclass(frozen=True)
class Picture:
    """A picture of a study.

    Attributes:
        draw: draws it as a new figure of pyplot.
        has_enough: says whether there is something to show.
    """

    draw: Callable[[optuna.Study, Trials], Any]
    has_enough: Callable[[Trials], bool]


def draw_study(study: optuna.Study, folder: Path, metric: str) -> list[Path]:
    """Writes a PNG for each of :data:`PICTURES`.

    A picture that has too little to show, or that fails, is left out and named: a study is not lost for its pictures.

    Args:
        study: one objective, maximised; finished or not.
        folder: made if need be.
        metric: what the values are, for axes.

    Returns:
        The pictures written.

    Raises:
        SeedsweepError: the study minimises, or has several objectives.
    """
    trials = read_trials(study, metric)
    folder.mkdir(parents=True, exist_ok=True)
    written, without = [], []
    for name, picture in PICTURES.items():
        path = folder / f"{name}.png"
        if not picture.has_enough(trials):
            without.append(path.name)
            continue
        try:
            with _drawing():
                picture.draw(study, trials)
                _save(path)
        except Exception as error:
            log.warning("%s could not be drawn (%s: %s)", path.name, type(error).__name__, error)
            log.debug("", exc_info=True)
        else:
            written.append(path)
    if without:
        log.info("left out, for too few trials or settings: %s", ", ".join(without))
    return written


def _names(trials: Trials) -> list[str]:
    return [setting.name for setting in trials.parameters]


def _numbers(trials: Trials) -> list[str]:
    return [setting.name for setting in trials.parameters if setting.is_number]


def _contour(study: optuna.Study, trials: Trials) -> None:
    """Draws the value over learning rate and width, or over the first two numbers."""
    chosen = sorted(_numbers(trials), key=lambda name: name not in FIRST_CHOICE)[:2]
    drawn.plot_contour(study, chosen, target_name=trials.metric)


def _history(study: optuna.Study, trials: Trials) -> None:
    axes = drawn.plot_optimization_history(study, target_name=trials.metric)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.legend(loc="lower right")


def _importances(study: optuna.Study, trials: Trials) -> None:
    axes = drawn.plot_param_importances(study, params=_names(trials), target_name=trials.metric)
    axes.set_xlabel("importance (PED-ANOVA: what the best trials have in common)")
    axes.set_ylabel("")
    if legend := axes.get_legend():
        legend.remove()


def _learning_curves(study: optuna.Study, trials: Trials) -> None:
    """Draws a line a trial; Optuna's colours repeat, so finished, pruned and best ones are told apart here."""
    axes = drawn.plot_intermediate_values(study)
    finished = {trial.number for trial in trials.finished}
    names = {}
    for line in axes.lines:
        number = int(str(line.get_label()).removeprefix("Trial"))
        if trials.best and number == trials.best.number:
            name = f"best: trial {number}"
            line.set(color=TRAIN, linewidth=2.5, alpha=1, zorder=3)
        else:
            name = "finished" if number in finished else "not finished"
            line.set(color=VAL if number in finished else GREY, alpha=0.5)
        line.set_label(name)
        names[name] = line
    axes.legend(list(names.values()), list(names), loc="lower right")
    axes.set(xlabel="epoch, from 0", ylabel=trials.metric)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))


def _parallel(study: optuna.Study, trials: Trials) -> None:
    drawn.plot_parallel_coordinate(study, _names(trials), target_name=trials.metric)
    plt.gcf().set_size_inches(max(8, 2 * len(trials.parameters)), 4.8)


def _slices(study: optuna.Study, trials: Trials) -> None:
    axes = drawn.plot_slice(study, _names(trials), target_name=trials.metric)
    for each in np.ravel(np.asarray(axes)):
        each.tick_params(axis="x", labelrotation=30)


PICTURES = {
    "contour": Picture(_contour, lambda trials: len(trials.finished) > 1 and len(_numbers(trials)) > 1),
    "history": Picture(_history, lambda trials: bool(trials.finished)),
    "importances": Picture(
        _importances,
        lambda trials: (
            len(trials.finished) >= LEAST
            and len({score(trial) for trial in trials.finished}) > 1
            and len(trials.parameters) > 1
        ),
    ),
    "learning_curves": Picture(
        _learning_curves,
        lambda trials: any(trial.intermediate_values for trial in [*trials.finished, *trials.pruned]),
    ),
    "parallel": Picture(_parallel, lambda trials: len(trials.finished) > 1 and len(trials.parameters) > 1),
    "slices": Picture(_slices, lambda trials: bool(trials.finished and trials.parameters)),
}


@contextmanager
def _drawing() -> Iterator[None]:
    """Gives pyplot's settings back after Optuna changed them, and keeps both quiet."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # no window is opened, and a notebook keeps its backend
    backend = mpl.get_backend(auto_select=False) or "agg"
    try:
        with mpl.rc_context({"backend": backend}), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        plt.close()
        optuna.logging.set_verbosity(verbosity)


def _save(path: Path) -> None:
    """Writes pyplot's figure on white, without Optuna's titles: the file's name says as much."""
    made = plt.gcf()
    made.suptitle("")
    for axes in made.axes:
        for side in ("left", "center"):
            axes.set_title("", loc=side)
        axes.tick_params(colors=INK)
        axes.set_facecolor("white")
        for line in [*axes.get_xgridlines(), *axes.get_ygridlines()]:
            line.set_color("#e8e8e8")
    made.savefig(path, dpi=DOTS, bbox_inches="tight", facecolor="white")
