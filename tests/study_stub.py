"""A stub in the place of training, and the studies that a test runs with it."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from seedsweep.cli.config.schema import Config
from seedsweep.cli.main import main
from seedsweep.report import write_report as write
from seedsweep.study import close, main_process
from seedsweep.study.plan import Plan
from seedsweep.training import run as training

STUDY = ["+study=head", "+experiment=frozen_bn", "backbone=efficientnet_lite0", "trainer.max_epochs=6"]
FEW = [
    "study.finalists=1",
    "study.finalist_seeds=1",
]  # where they are not what is tested
ALL = ["study.finalists=3", "study.finalist_seeds=3"]  # the default
SCORES = {"acc": 0.8, "macro_f1": 0.7, "loss": 0.5}


class Same:
    """Gives the same settings to every trial."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def __call__(self, lines: list[str]) -> Config:
        return self.config


def none(_: Any) -> list[str]:
    return []


def plan_of(config: Config, folder: Path, kind: type[Plan] = Plan, **more: Any) -> Any:
    """Returns the plan of a study whose trials all have these settings."""
    parts = config.study, config.sampler, config.pruner, config.storage
    return kind(config, *parts, folder, Same(config), none, **more)


class Arm:
    """Stands for training: macro-F1 is best at lr 3e-4, width 256, no dropout, and moves a little with the seed."""

    def __init__(self) -> None:
        self.calls: list[Config] = []
        self.act: Callable[[Config], None] = lambda config: None
        self.more: Callable[[Config], dict[str, float]] = lambda config: {}  # columns of the history

    def goal(self, config: Config) -> float:
        lr = (math.log10(config.optim.lr) - math.log10(3e-4)) ** 2
        width = (math.log2(max(1, config.head.width)) - 8) ** 2 / 50
        return 0.9 - 0.1 * lr - 0.1 * width - 0.1 * config.head.dropout + (config.seed % 7) / 1000

    def __call__(self, config: Config, run_dir: Path, *, on_epoch: Any, **options: Any) -> dict[str, Any]:
        assert options["meet_test"] is False
        self.calls.append(config)
        run_dir.mkdir(parents=True, exist_ok=True)
        rows = []
        for epoch in range(config.trainer.max_epochs):
            value = self.goal(config) * (1 - 0.5 ** (epoch + 1))
            rows.append({"epoch": epoch, "val/macro_f1": value, "val/acc": value, **self.more(config)})
            with (run_dir / "history.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            if epoch == 1:
                self.act(config)
            on_epoch(rows)
        (run_dir / "metrics.json").write_text(
            json.dumps({"status": "finished", "val": SCORES, "best_epoch": 1})
        )
        return {"val": SCORES, "best_epoch": 1}


@pytest.fixture
def arm(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Arm:
    stub = Arm()
    monkeypatch.setattr(training, "train", stub)
    table = SimpleNamespace(counts=lambda: {"train": {"a": 3, "b": 1}})
    images = SimpleNamespace(warn_of_changes=lambda: None, table=table)
    monkeypatch.setattr(Plan, "images", lambda *_: images)
    monkeypatch.setattr(main_process, "_check_images", lambda *_: None)
    monkeypatch.setattr(close, "meet_test", lambda _, winner: [SCORES for _ in winner.seeds])
    monkeypatch.setattr(close, "draw_study", lambda *_: [])
    monkeypatch.setattr(write, "write_at_end", lambda *_, **__: None)
    return stub


def run(*overrides: str, name: str = "s", n: int = 8) -> int:
    return main([*STUDY, *FEW, f"study.name={name}", f"study.n_trials={n}", *overrides])


def study(name: str = "s") -> optuna.Study:
    path = f"outputs/studies/{name}/study.journal"
    backend = optuna.storages.journal.JournalFileBackend(path)
    return optuna.load_study(study_name=name, storage=optuna.storages.JournalStorage(backend))


def told(name: str = "s") -> list[tuple[Any, ...]]:
    return [(t.number, t.state.name, t.value, t.params, t.intermediate_values) for t in study(name).trials]


def result(name: str = "s") -> dict[str, Any]:
    return json.loads(Path(f"outputs/studies/{name}/result.json").read_text())
