"""Pictures of a study, drawn by Optuna."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
import optuna
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator
from optuna.visualization import matplotlib as drawn

from seedsweep.drawing import DOTS, GREY, INK, TRAIN, VAL
from seedsweep.report.study_trials import Trials, read_trials, score

log = logging.getLogger(__name__)

FIRST_CHOICE = ("optim.lr", "head.width")  # of the contour's two settings
LEAST = 8  # finished trials of which importances say anything


def draw_study(study: optuna.Study, folder: Path, metric: str) -> list[Path]:
    """Writes a PNG for each of :data:`PICTURES`.

    A picture that has too little to show, or that fails, is left out and named: a study is not lost for its pictures.

    Returns:
        The pictures written.

    Raises:
        SeedsweepError: the study minimises, or has several objectives.
    """
    trials = read_trials(study, metric)
    folder.mkdir(parents=True, exist_ok=True)
    written, without = [], []
    for name, draw in PICTURES.items():
        path = folder / f"{name}.png"
        try:
            with _quiet_pyplot():
                if draw(study, trials):
                    _save(path)
                    written.append(path)
                else:
                    without.append(path.name)
        except Exception as error:
            log.warning("%s could not be drawn (%s: %s)", path.name, type(error).__name__, error)
            log.debug("", exc_info=True)
    if without:
        log.info("left out, for too few trials or settings: %s", ", ".join(without))
    return written


def _contour(study: optuna.Study, trials: Trials) -> bool:
    """Draws the value over learning rate and width, or over the first two numbers."""
    numbers = [name for name, is_number in trials.is_number.items() if is_number]
    chosen = sorted(numbers, key=lambda name: name not in FIRST_CHOICE)[:2]
    if len(trials.finished) < 2 or len(chosen) < 2:
        return False
    drawn.plot_contour(study, chosen, target_name=trials.metric)
    return True


def _history(study: optuna.Study, trials: Trials) -> bool:
    if not trials.finished:
        return False
    axes = drawn.plot_optimization_history(study, target_name=trials.metric)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.legend(loc="lower right")
    return True


def _importances(study: optuna.Study, trials: Trials) -> bool:
    differ = len({score(trial) for trial in trials.finished}) > 1
    if len(trials.finished) < LEAST or not differ or len(trials.is_number) < 2:
        return False
    axes = drawn.plot_param_importances(study, params=list(trials.is_number), target_name=trials.metric)
    axes.set(xlabel="importance (PED-ANOVA: what the best trials have in common)", ylabel="")
    if legend := axes.get_legend():
        legend.remove()
    return True


def _learning_curves(study: optuna.Study, trials: Trials) -> bool:
    """Draws a line a trial; Optuna's colours repeat, so finished, pruned and best ones are told apart here."""
    if not any(trial.intermediate_values for trial in [*trials.finished, *trials.pruned]):
        return False
    axes = drawn.plot_intermediate_values(study)
    finished = {trial.number for trial in trials.finished}
    best = max(trials.finished, key=score).number if finished else None
    names = {}
    for line in axes.lines:
        number = int(str(line.get_label()).removeprefix("Trial"))
        if number == best:
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
    return True


def _parallel(study: optuna.Study, trials: Trials) -> bool:
    if len(trials.finished) < 2 or len(trials.is_number) < 2:
        return False
    drawn.plot_parallel_coordinate(study, list(trials.is_number), target_name=trials.metric)
    plt.gcf().set_size_inches(max(8, 2 * len(trials.is_number)), 4.8)
    return True


def _slices(study: optuna.Study, trials: Trials) -> bool:
    if not trials.finished or not trials.is_number:
        return False
    axes = drawn.plot_slice(study, list(trials.is_number), target_name=trials.metric)
    for each in np.ravel(np.asarray(axes)):
        each.tick_params(axis="x", labelrotation=30)
    return True


# each draws a new figure of pyplot, or says that there is too little to show
PICTURES = {
    "contour": _contour,
    "history": _history,
    "importances": _importances,
    "learning_curves": _learning_curves,
    "parallel": _parallel,
    "slices": _slices,
}


@contextmanager
def _quiet_pyplot() -> Iterator[None]:
    """Gives pyplot's settings back after Optuna changed them, and keeps both quiet."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    figures = set(plt.get_fignums())
    # no window is opened, and a notebook keeps its backend
    backend = mpl.get_backend(auto_select=False) or "agg"
    try:
        with mpl.rc_context({"backend": backend}), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for number in set(plt.get_fignums()) - figures:
            plt.close(number)
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
