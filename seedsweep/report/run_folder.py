"""Reads one run's folder."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seedsweep.config.schema import Config
from seedsweep.config.store import to_config
from seedsweep.diagnosis.finding import Finding
from seedsweep.errors import DamagedError, SeedsweepError
from seedsweep.runs.answers import Answers, read_answers
from seedsweep.runs.held_out import HeldOut
from seedsweep.runs.history import read_history
from seedsweep.runs.record import read_metrics, read_switches, with_departures
from seedsweep.runs.switches import Switches
from seedsweep.whole import read_json

log = logging.getLogger(__name__)

GRADCAM = 8  # mistakes looked into, where the run's settings don't say


@dataclass
class Run:
    """One finished (or interrupted) run.

    Attributes:
        folder: its own.
        metrics: what metrics.json holds; keys may be missing in older ones.
        history: rows an epoch, with ``epoch`` from 0.
        config_text: as Hydra wrote it.
        switches: what it really did; None: not known.
        held_out_by: of a sweep's run, the images that it was judged by.
    """

    folder: Path
    metrics: dict[str, Any]
    history: list[dict[str, float]] = field(default_factory=list)
    config_text: str = ""
    switches: Switches | None = None
    held_out_by: HeldOut | None = None

    @property
    def told(self) -> str:
        """The arm's name as code, and the settings in which it departs from the experiment of that name."""
        return with_departures(self.label, self.departures, code=True)

    @property
    def departures(self) -> list[str]:
        """Settings that the file of its experiment says otherwise."""
        return list(self.metrics.get("departures") or [])

    @property
    def label(self) -> str:
        """The arm's name."""
        return str(self.metrics.get("label", self.folder.name))

    @property
    def seed(self) -> int:
        """Of the run."""
        return int(self.metrics.get("seed", 0))

    @cached_property
    def answers(self) -> dict[str, Answers]:
        """What it answered, by split."""
        return read_answers(self.folder)

    @property
    def held_out(self) -> tuple[str, Answers] | None:
        """The images that it is judged by in detail: test if they were met, else validation."""
        return next(
            ((split, self.answers[split]) for split in ("test", "val") if split in self.answers), None
        )

    @cached_property
    def diagnosis(self) -> dict[str, Any]:
        """What its diagnosis.json holds; empty if it was not diagnosed."""
        return read_diagnosis(self.folder)

    @property
    def findings(self) -> list[Finding]:
        """Of its diagnosis, in the order of the file."""
        return findings_of(self.diagnosis)

    @cached_property
    def config(self) -> Config | None:
        """Its settings, as Hydra wrote them; None where they can't be read or are not whole."""
        try:
            content = OmegaConf.create(self.config_text)
            whole = isinstance(content, DictConfig) and set(content) >= {each.name for each in fields(Config)}
            return to_config(content) if whole else None  # type: ignore[arg-type]
        except (yaml.YAMLError, OmegaConfBaseException, SeedsweepError, ValueError):
            return None

    @property
    def gradcam(self) -> int:
        """Mistakes that its settings want explained."""
        try:
            return int(yaml.safe_load(self.config_text)["report"]["gradcam"])
        except (yaml.YAMLError, KeyError, TypeError, ValueError):
            return GRADCAM

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


def read_diagnosis(folder: Path) -> dict[str, Any]:
    """Returns what a run's diagnosis.json holds; empty if there is none, or it is damaged, which is said."""
    try:
        return read_json(folder / "diagnosis" / "diagnosis.json")
    except DamagedError as error:
        log.warning("the report goes without a diagnosis: %s", error)
        return {}


def findings_of(diagnosis: dict[str, Any]) -> list[Finding]:
    """Returns the findings of a diagnosis.json, less those that can't be read."""
    found = []
    for content in diagnosis.get("findings", []):
        try:
            found.append(Finding.from_dict(content))
        except (KeyError, ValueError, TypeError):
            continue
    return found


def read_run(folder: Path) -> Run | None:
    """Reads a run's folder; None if it holds no metrics."""
    metrics = read_metrics(folder)
    if not metrics:
        return None
    path = folder / ".hydra" / "config.yaml"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return Run(folder, metrics, _history(folder / "history.csv"), text, read_switches(folder, metrics))


def _history(path: Path) -> list[dict[str, float]]:
    try:
        return read_history(path)
    except FileNotFoundError:
        return []
    except (OSError, DamagedError) as error:
        log.warning("the report goes without curves: %s", error)
        return []
