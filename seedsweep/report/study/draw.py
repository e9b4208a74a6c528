"""Draws every picture of a study."""

from __future__ import annotations

import importlib
import logging
import pkgutil
from pathlib import Path

import optuna

from seedsweep.report.study import panels
from seedsweep.report.study.trials import NothingToDrawError, read_trials
from seedsweep.report.style import save

log = logging.getLogger(__name__)


def draw_study(study: optuna.Study, folder: Path, metric: str) -> list[Path]:
    """Writes a PNG for each file of ``panels``.

    A picture that has too little to show, or that fails, is left out and named: a study is not lost
    for its pictures.

    Args:
        study: one objective, maximised; finished or not.
        folder: made if need be.
        metric: what the values are, for axes and headings.

    Returns:
        The pictures written.

    Raises:
        SeedsweepError: the study minimises, or has several objectives.
    """
    trials = read_trials(study, metric)
    folder.mkdir(parents=True, exist_ok=True)
    written, without = [], []
    for name in sorted(module.name for module in pkgutil.iter_modules(panels.__path__)):
        path = folder / f"{name}.png"
        try:
            save(importlib.import_module(f"{panels.__name__}.{name}").draw(trials), path)
        except NothingToDrawError as reason:
            log.debug("no %s: %s", path.name, reason)
            without.append(path.name)
        except Exception as error:
            log.warning("%s could not be drawn (%s: %s)", path.name, type(error).__name__, error)
            log.debug("", exc_info=True)
        else:
            written.append(path)
    if without:
        log.info("left out, for too few trials or settings: %s", ", ".join(without))
    return written
