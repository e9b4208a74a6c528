"""Reads what came of one run from its folder."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from seedsweep.errors import DamagedError, SeedsweepError
from seedsweep.runs.csv_files import Predictions, read_history, read_predictions
from seedsweep.runs.held_out import HeldOut, held_out
from seedsweep.runs.record import (
    DIVERGED,
    FINISHED,
    RunRecord,
    divergence_of,
    early_of,
    read_metrics,
    read_record,
    with_departures,
)
from seedsweep.runs.switches import Switches
from seedsweep.runs.unseen import Unseen
from seedsweep.whole import read_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """One run of a folder, a grid or a study; each file is read when it is first asked for."""

    folder: Path  # of the run, with metrics.json, history.csv, predictions.csv, checkpoints/ and the rest
    # of a job that came to no result, what its failure.json holds (label, experiment, seed, reason)
    failure: Mapping[str, Any] | None = None
    # its name where the one in its files says too little, as that of a study's trial does
    called: str | None = None
    dropped: str | None = None  # why its arm got no further run in a grid with a budget; None: it was not so

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What metrics.json holds; keys may be missing in older ones. Empty: the job failed, or has not ended."""
        return {} if self.failure is not None else read_metrics(self.folder)

    @cached_property
    def record(self) -> RunRecord:
        """The same as a typed record."""
        return read_record(self.folder)

    @property
    def label(self) -> str:
        """The arm's name."""
        return self.called or str(self._about.get("label", self.folder.name))

    @property
    def experiment(self) -> str:
        """What the user called it."""
        return str(self._about.get("experiment", self.label))

    @property
    def seed(self) -> int:
        """Of the run."""
        return int(self._about.get("seed", 0))

    @property
    def fold(self) -> int | None:
        """Number of the fold that it was tested on; None: its images are in no folds."""
        return int(fold["number"]) if (fold := self.metrics.get("fold")) else None

    @property
    def which(self) -> str:
        """Which of its arm's runs it is, in words."""
        return f"seed {self.seed}" if self.fold is None else f"seed {self.seed}, fold {self.fold}"

    @property
    def reason(self) -> str | None:
        """Why it failed or diverged; None: it did not."""
        reason = self.failure["reason"] if self.failure is not None else divergence_of(self.metrics)
        return None if reason is None else str(reason)

    @property
    def _about(self) -> Mapping[str, Any]:
        return self.metrics if self.failure is None else self.failure

    @property
    def is_finished(self) -> bool:
        """Whether it went to its end: others have no place in a ranking."""
        return self.metrics.get("status") == FINISHED

    @property
    def is_diverged(self) -> bool:
        """Whether its loss became NaN or infinite."""
        return self.metrics.get("status") == DIVERGED

    @cached_property
    def unseen(self) -> Unseen | None:
        """What its accuracy owes to photographs that the split tears; None: nothing, or not known."""
        with suppress(TypeError):
            return Unseen(**content) if (content := self.metrics.get("unseen")) else None
        return None

    @property
    def early(self) -> str | None:
        """Why a budget ended it before its last epoch; None: it did not."""
        return early_of(self.metrics).get("text")

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
        with suppress(KeyError, TypeError, AttributeError, SeedsweepError):
            return Switches.from_dict(self.metrics["switches"])
        return None

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """A dict an epoch (``epoch`` from 0, ``train/loss``, ``val/acc``, ``bn_gap``, ...), from history.csv.

        Empty where the file is missing, or damaged, which is logged.
        """
        try:
            return read_history(self.folder / "history.csv")
        except FileNotFoundError:
            return []
        except (OSError, DamagedError) as error:
            log.warning("the report goes without curves: %s", error)
            return []

    @cached_property
    def predictions(self) -> dict[str, Predictions]:
        """The predictions for ``val`` and ``test``, from predictions.csv; a split without any is left out."""
        return read_predictions(self.folder)

    @property
    def detailed(self) -> tuple[str, Predictions] | None:
        """The split that is shown in detail, with the predictions: test if it was met, else validation."""
        return next(
            ((split, self.predictions[split]) for split in ("test", "val") if split in self.predictions), None
        )

    @cached_property
    def held_out(self) -> HeldOut | None:
        """The images that it was judged by; None for a run that neither finished nor diverged."""
        if not (self.is_finished or self.is_diverged):
            return None
        val = self.predictions.get("val") if self.is_finished else None
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
        value = (self.metrics.get("train_images") or {}).get("bn_gap_last")
        return None if value is None or not math.isfinite(float(value)) else float(value)


def read_run(folder: Path) -> RunResult | None:
    """Reads a run that finished, diverged or was interrupted; None if it has no metrics.json."""
    run = RunResult(folder)
    return run if run.metrics else None


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
            _ = (
                run.metrics["val"]["acc"],
                run.metrics["train_images"]["bn_gap_last"],
                run.metrics["images"]["val"],
            )
        return run
    if failure:
        _ = [failure[key] for key in ("label", "experiment", "seed", "reason")]
        return RunResult(folder, failure)
    return None
