"""Experiment trackers beside TensorBoard: what they get, that runs go on without them, and that runs are nested."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import Logger

import seedsweep as ss
from seedsweep.training.trackers import TrackedRun, Tracker, Trackers, check_trackers

MLFLOW: dict[str, Any] = {"_target_": "seedsweep.training.trackers.mlflow", "experiment_name": "seeds"}
METRICS = {
    "status": "finished", "best_epoch": 1, "train_images": {"bn_gap_last": 0.0},
    "val": {"acc": 0.75, "macro_f1": 0.5}, "train": {"acc": 1.0},
}  # fmt: skip
ROW = {"epoch": 0.0, "val/acc": 0.5, "train/loss": 1.25}
SECOND = ROW | {"epoch": 1.0}


class Lines(Logger):
    """Writes what it gets as lines of JSON into the run's folder; fails from a given call on."""

    name, version = "lines", "7"

    def __init__(self, folder: Path, calls: int) -> None:
        super().__init__()
        self.path, self.calls = folder / "lines.jsonl", calls

    def write(self, **content: Any) -> None:
        self.calls -= 1
        if self.calls < 0:
            raise ConnectionError("no route\nto the host")
        with self.path.open("a") as file:
            file.write(json.dumps(content) + "\n")

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.write(settings=params)

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.write(step=step, **metrics)


def lines(run: TrackedRun, calls: int = 99) -> Tracker:
    """Returns a tracker as a user may write one."""
    logger = Lines(run.folder, calls)
    return Tracker(
        logger, lambda path: logger.write(kept=path.name), lambda finished: logger.write(finished=finished)
    )


def told(folder: Path) -> list[dict[str, Any]]:
    """Returns what a tracker of a run got."""
    return [json.loads(line) for line in (folder / "lines.jsonl").read_text().splitlines()]


def test_a_tracker_of_ones_own_gets_settings_epochs_scores_and_files(in_tmp: Path) -> None:
    cfg = ss.compose(
        "+experiment=frozen_bn", "backbone=efficientnet_lite0", "data.demo.n_images=70", "data.image_size=[32,32]",
        "trainer.max_epochs=2", "trainer.progress_bar=false", "head.width=8", "report.write=false",
        f"++logger.lines._target_={__name__}.lines",
    )  # fmt: skip
    ss.train(cfg, "run")
    settings, *epochs, final, metrics, checkpoint, end = told(Path("run"))
    assert settings["settings"]["optim.lr"] == cfg.optim.lr
    with open("run/history.csv") as file:
        history = list(csv.DictReader(file))
    for number, (row, got) in enumerate(zip(history, epochs, strict=True), 1):
        assert got.pop("step") == number
        assert set(got) == set(row) - {"epoch"}
        assert all(got[key] == pytest.approx(float(row[key])) for key in ("val/acc", "train/loss", "lr"))
    assert final["final/val_acc"] == json.loads(Path("run/metrics.json").read_text())["val"]["acc"]
    assert (metrics, checkpoint) == ({"kept": "metrics.json"}, {"kept": "best.ckpt"})
    assert end == {"finished": True}


@pytest.mark.parametrize("calls", [0, 1])
def test_a_tracker_that_fails_is_left_out_and_others_go_on(
    tmp_path: Path, calls: int, caplog: pytest.LogCaptureFixture
) -> None:
    target = f"{__name__}.lines"
    loggers = {"away": {"_target_": target, "calls": calls}, "good": {"_target_": target}}
    with Trackers(loggers, TrackedRun(tmp_path, "run"), {"optim.lr": 0.1}) as tracked:
        tracked.epoch([ROW])
        tracked.epoch([ROW, SECOND])
        tracked.end(METRICS)
    assert [record.getMessage() for record in caplog.records] == [
        "away gets no more of this run, which goes on without it: no route"
    ]
    assert [line for line in told(tmp_path) if "settings" not in line][-1] == {"finished": True}


def test_a_run_that_diverged_is_not_finished(tmp_path: Path) -> None:
    with Trackers({"lines": {"_target_": f"{__name__}.lines"}}, TrackedRun(tmp_path, "run"), {}) as tracked:
        tracked.end(METRICS | {"status": "diverged"})
    assert told(tmp_path)[-1] == {"finished": False}


def test_a_missing_package_is_one_sentence_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ss.SeedsweepError, match=r"logger=mlflow needs .* pip install 'seedsweep\[mlflow\]'"):
        check_trackers({"mlflow": MLFLOW})
    check_trackers({"lines": {}})


def test_no_target_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ss.SeedsweepError, match="_target_"):
        Trackers({"own": {"project": "seeds"}}, TrackedRun(tmp_path, "run"), {})


def test_mlflow_nests_resumes_and_keeps_files(tmp_path: Path, in_tmp: Path) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    address = f"sqlite:///{tmp_path}/mlflow.db"
    loggers = {"mlflow": MLFLOW | {"tracking_uri": address}}
    for name in ("a", "b"):
        folder = tmp_path / "grid" / name
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text("{}")
        run = TrackedRun(folder, name, tmp_path / "grid")
        with Trackers(loggers, run, {"optim.lr": 0.1}) as stopped:
            stopped.epoch([ROW])
        with Trackers(loggers, run, {"optim.lr": 0.1}) as resumed:
            resumed.epoch([ROW, SECOND | {"val/acc": 0.75}])
            resumed.end(METRICS)
    client = tracking.MlflowClient(address)
    found = client.search_runs([client.get_experiment_by_name("seeds").experiment_id])
    above = next(run for run in found if run.info.run_name == "grid")
    below = [run for run in found if run.data.tags.get("mlflow.parentRunId") == above.info.run_id]
    assert sorted(run.info.run_name for run in below) == ["a", "b"]
    assert len(found) == 3
    assert len(list(tmp_path.glob("mlflow_files/*/artifacts/metrics.json"))) == 2
    for each in below:
        assert each.data.params == {"optim.lr": "0.1"}
        assert (
            each.data.metrics | {"val/acc": 0.75, "train/loss": 1.25, "final/val_acc": 0.75}
            == each.data.metrics
        )
        history = client.get_metric_history(each.info.run_id, "val/acc")
        assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.75)]
        assert [file.path for file in client.list_artifacts(each.info.run_id)] == ["metrics.json"]
        assert each.info.status == "FINISHED"


def test_wandb_offline_writes_into_the_run(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    given = {"_target_": "seedsweep.training.trackers.wandb", "project": "seeds", "offline": True}
    for name in ("a", "b"):  # one after the other in a process, as jobs of a grid
        folder = tmp_path / "grid" / name
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text("{}")
        with Trackers(
            {"wandb": given}, TrackedRun(folder, name, tmp_path / "grid"), {"optim.lr": 0.1}
        ) as tracked:
            tracked.epoch([ROW])
            tracked.end(METRICS)
        assert len(list(folder.glob("wandb/offline-run-*/*.wandb"))) == 1
