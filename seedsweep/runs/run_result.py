"""Reads what came of one run from its folder."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from seedsweep.errors import DamagedError
from seedsweep.runs.answers import Answers, read_answers
from seedsweep.runs.held_out import HeldOut, held_out
from seedsweep.runs.history import read_history
from seedsweep.runs.record import (
    DIVERGED,
    FINISHED,
    divergence_of,
    read_metrics,
    read_switches,
    with_departures,
)
from seedsweep.runs.switches import Switches
from seedsweep.whole import read_json

log = logging.getLogger(__name__)


@dataclass
class RunResult:
    """One run of a folder, a grid or a study; each file is read when it is first asked for.

    Attributes:
        folder: of the run.
        label: the arm's name.
        experiment: what the user called it.
        seed: of the run.
        metrics: what metrics.json holds; keys may be missing in older ones. Empty: there is no such file.
        reason: why it failed or diverged; None: it did not.
    """

    folder: Path
    label: str
    experiment: str
    seed: int
    metrics: dict[str, Any]
    reason: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether it went to its end: others have no place in a ranking."""
        return self.metrics.get("status") == FINISHED

    @property
    def is_diverged(self) -> bool:
        """Whether its loss became NaN or infinite."""
        return self.metrics.get("status") == DIVERGED

    @property
    def departures(self) -> list[str]:
        """Settings that the file of its experiment says otherwise."""
        return list(self.metrics.get("departures") or [])

    @property
    def full_name(self) -> str:
        """The arm's name as code, and the settings in which it departs from the experiment of that name."""
        return with_departures(self.label, self.departures, code=True)

    @cached_property
    def config_text(self) -> str:
        """Its settings, as Hydra wrote them; empty where they are missing."""
        path = self.folder / ".hydra" / "config.yaml"
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    @cached_property
    def switches(self) -> Switches | None:
        """What it really did; None: not known."""
        return read_switches(self.folder, self.metrics)

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """A row an epoch, with ``epoch`` from 0; empty where the file is missing, or damaged, which is said."""
        try:
            return read_history(self.folder / "history.csv")
        except FileNotFoundError:
            return []
        except (OSError, DamagedError) as error:
            log.warning("the report goes without curves: %s", error)
            return []

    @cached_property
    def answers(self) -> dict[str, Answers]:
        """Its predictions, by split."""
        return read_answers(self.folder)

    @property
    def detailed(self) -> tuple[str, Answers] | None:
        """The split that is shown in detail, with the predictions: test if it was met, else validation."""
        return next(
            ((split, self.answers[split]) for split in ("test", "val") if split in self.answers), None
        )

    @cached_property
    def held_out(self) -> HeldOut | None:
        """The images that it was judged by; None for a run that neither finished nor diverged."""
        if not (self.is_finished or self.is_diverged):
            return None
        val = self.answers.get("val") if self.is_finished else None
        return held_out(self.folder, self.metrics, val.paths[0] if val else None)

    def accuracy(self, split: str) -> float | None:
        """Returns the accuracy of the kept checkpoint, 0..1; None where it wasn't measured."""
        scores = self.metrics.get(split)
        return float(scores["acc"]) if scores else None

    @property
    def last_modes(self) -> tuple[float, float] | None:
        """Accuracy on training images in train mode and in eval mode, after the last epoch."""
        if not self.history or "train_images/acc_train_mode" not in self.history[-1]:
            return None
        last = self.history[-1]
        return last["train_images/acc_train_mode"], last["train_images/acc_eval_mode"]

    @property
    def gap(self) -> float | None:
        """bn_gap of the last epoch; None where it wasn't measured."""
        modes = self.metrics.get("train_images") or {}
        value = modes.get("bn_gap_last", modes.get("bn_gap"))
        return None if value is None or not math.isfinite(float(value)) else float(value)


def read_run(folder: Path) -> RunResult | None:
    """Reads a run that finished, diverged or was interrupted; None if it has no metrics.json.

    Raises:
        DamagedError: its metrics.json is damaged.
    """
    metrics = read_metrics(folder)
    if not metrics:
        return None
    label = str(metrics.get("label", folder.name))
    diverged = divergence_of(metrics)
    return RunResult(
        folder,
        label,
        str(metrics.get("experiment", label)),
        int(metrics.get("seed", 0)),
        metrics,
        str(diverged) if diverged else None,
    )


def read_job(folder: Path) -> RunResult | None:
    """Reads what became of a grid's job; None: nothing yet.

    Raises:
        DamagedError: its metrics.json or failure.json is damaged.
        KeyError, TypeError, AttributeError, ValueError: it is JSON, but lacks entries that every job has.
    """
    run, failure = read_run(folder), read_json(folder / "failure.json")
    if run is not None and (run.is_finished or run.is_diverged):
        _ = [run.metrics[key] for key in ("label", "experiment", "seed")], run.held_out
        if run.is_finished:
            _ = [run.metrics[key] for key in ("images", "train_images", "test")]
            _ = run.metrics["val"]["acc"], run.metrics["train_images"]["bn_gap"], run.metrics["images"]["val"]
        return run
    if failure:
        made_by = failure["label"], failure["experiment"], failure["seed"]
        return RunResult(folder, *made_by, {}, failure["reason"])
    return None
