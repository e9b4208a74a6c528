"""The loop: repeatable, resumable after kill -9, undisturbed by the probe, honest in what it writes."""

import csv
import json
import multiprocessing
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from composed import config_of
from optuna import TrialPruned
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_net import tiny_net

from seedsweep.cli.config.schema import Config
from seedsweep.errors import SeedsweepError
from seedsweep.names import conf_dir
from seedsweep.report.run_pictures import draw_run
from seedsweep.training import online
from seedsweep.training.module import ArmModule
from seedsweep.training.run import Given, train

SMALL = [
    "backbone=efficientnet_lite0",
    "data.demo.n_images=70",
    "data.image_size=[32,32]",
    "data.batch_size=8",
    "head.width=16",
    "head.dropout=0.3",
    "augment=light",
    "trainer.max_epochs=2",
    "trainer.progress_bar=false",
    "trainer.accelerator=cpu",
    "trainer.probe_images=16",
    "features=off",
]
# a server that has imported everything forks a process in no time; nothing of torch has run in it
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["seedsweep.training.run", "seedsweep.training.route", "hydra"])
EXPERIMENTS = [
    # what each of the others does with its net is tested quickly, too (test_record_net)
    pytest.param(name, marks=[] if name in ("frozen_bn", "finetune_upper") else pytest.mark.slow)
    for name in sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))
]


def small(*overrides: str) -> Config:
    return config_of(*SMALL, *overrides)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=False)
    state: dict[str, torch.Tensor] = checkpoint["state_dict"]
    return state


def assert_same(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    rows = [list(csv.DictReader((folder / "history.csv").open())) for folder in (a, b)]
    for row in rows[0] + rows[1]:
        row.pop("seconds")
    assert rows[0] == rows[1]
    scores = [json.loads((folder / "metrics.json").read_text()) for folder in (a, b)]
    for key in ("train", "val", "test", "best_epoch", "epochs", "train_images"):
        assert scores[0][key] == scores[1][key], key


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "reference"
    train(small("batchnorm=train"), folder, given=Given(draw=draw_run))
    return folder


def test_a_run_leaves_everything(reference: Path):
    for name in (
        "metrics.json", "history.csv", "predictions.csv", "curves.png", "confusion_matrix.png",
        "model_summary.txt", "manifest.csv", "run.log", "checkpoints/best.ckpt", "checkpoints/last.ckpt",
    ):  # fmt: skip
        assert (reference / name).stat().st_size > 0, name
    assert list((reference / "tb").rglob("events.*"))
    metrics = json.loads((reference / "metrics.json").read_text())
    assert metrics["weights"]["source"] == "package"
    assert len(metrics["weights"]["digest"]) == 64
    assert metrics["status"] == "finished"
    assert sum(sum(split.values()) for split in metrics["images"].values()) == 70
    for split in ("train", "val", "test"):
        assert set(metrics[split]) >= {"loss", "acc", "macro_f1", "per_class_recall"}
    gap = metrics["train_images"]
    assert gap["bn_gap"] == pytest.approx(gap["acc_train_mode"] - gap["acc_eval_mode"])


def test_metrics_agree_with_predictions_and_history(reference: Path):
    metrics = json.loads((reference / "metrics.json").read_text())
    rows = list(csv.DictReader((reference / "predictions.csv").open()))
    assert len(rows) == 70
    for split in ("train", "val", "test"):
        part = [row for row in rows if row["split"] == split]
        acc = sum(row["label"] == row["predicted"] for row in part) / len(part)
        assert metrics[split]["acc"] == pytest.approx(acc)
    history = list(csv.DictReader((reference / "history.csv").open()))
    best = max(float(row["val/acc"]) for row in history)
    assert metrics["val"]["acc"] == pytest.approx(best)
    assert float(history[metrics["best_epoch"]]["val/acc"]) == pytest.approx(best)


def test_a_seed_repeats_to_the_bit(reference: Path, tmp_path: Path):
    train(small("batchnorm=train"), tmp_path / "again")
    assert_same(reference, tmp_path / "again")


def test_the_probe_disturbs_nothing(reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    figures = {"train_images/acc_train_mode": 0.0, "train_images/acc_eval_mode": 0.0, "bn_gap": 0.0}
    monkeypatch.setattr(online, "probe_accuracies", lambda *_: dict(figures))
    train(small("batchnorm=train"), tmp_path / "unprobed")
    first, second = weights(reference), weights(tmp_path / "unprobed")
    assert all(torch.equal(first[key], second[key]) for key in first)


def train_and_stop(folder: Path, tell: Connection) -> None:
    """Trains as the reference did, up to the middle of the second epoch."""
    step = ArmModule.training_step

    def slow(self: ArmModule, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        if self.current_epoch == 1 and batch_idx == 2:
            tell.send("middle")
            time.sleep(60)
        return step(self, batch, batch_idx)

    ArmModule.training_step = slow  # type: ignore[method-assign]
    train(small("batchnorm=train"), folder, pictures=False)


@pytest.mark.slow
def test_killed_in_the_middle_of_an_epoch_and_resumed(reference: Path, tmp_path: Path):
    folder = tmp_path / "killed"
    ours, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=train_and_stop, args=(folder, theirs), daemon=True)
    process.start()
    theirs.close()
    assert ours.poll(100)
    assert ours.recv() == "middle"
    process.kill()
    process.join()
    assert not (folder / "metrics.json").exists()
    train(small("batchnorm=train"), folder, resume=True)
    assert_same(reference, folder)


def test_ctrl_c_keeps_what_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    step = ArmModule.training_step

    def interrupted(self: ArmModule, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(ArmModule, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(small(*tiny_net()), tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) == before
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["status"] == "interrupted"
    assert metrics["epochs"] == 1
    assert metrics["test"] is None
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


def test_the_two_modes_are_one_under_inference(tmp_path: Path):
    metrics = train(small(*tiny_net(), "batchnorm=inference"), tmp_path)
    assert metrics["train_images"]["bn_gap"] == 0


def test_balanced_class_weights_change_the_loss(tmp_path: Path):
    plain = train(small(*tiny_net(), "trainer.max_epochs=1"), tmp_path / "a")
    balanced = train(
        small(*tiny_net(), "trainer.max_epochs=1", "head.class_weights=balanced"), tmp_path / "b"
    )
    assert plain["train"]["loss"] != balanced["train"]["loss"]


def test_images_too_small_for_the_net(tmp_path: Path):
    with pytest.raises(SeedsweepError, match="75 px"):
        train(small("backbone=inception_v3", "backbone.weights=none"), tmp_path)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_runs(name: str, tmp_path: Path):
    """One tiny epoch each; nets whose weights are out of reach start from random ones, as said."""
    overrides = [f"+experiment={name}", "trainer.max_epochs=1", "data.batch_size=16"]
    if name == "frozen_vgg16":
        overrides.append("backbone.weights=none")
    metrics = train(small(*overrides), tmp_path)
    assert metrics["experiment"] == name
    assert 0 <= metrics["val"]["acc"] <= 1


@pytest.mark.parametrize("features", ["off", "required"])
def test_a_pruned_run_keeps_its_row_of_the_hparams_table(features: str, tmp_path: Path) -> None:
    def prune(rows: list[dict[str, float]]) -> None:
        raise TrialPruned

    config = small(*tiny_net(), f"features={features}", "augment=none")
    with pytest.raises(TrialPruned):
        train(config, tmp_path, label="trial 3", on_epoch=prune, pictures=False, meet_test=False)
    events = EventAccumulator(str(tmp_path / "tb/val")).Reload()
    (row,) = csv.DictReader((tmp_path / "history.csv").open())
    assert events.Scalars("final/val_acc")[0].value == pytest.approx(float(row["val/acc"]))
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["backbone.freeze=true"], "the weights of the frozen backbone are random"),
        (["backbone.freeze=false", "backbone.train_from=layer4"], "the backbone before layer4 are random"),
        (["backbone.freeze=false"], ""),
    ],
)
def test_random_weights_that_are_never_trained_are_warned_of(
    overrides: list[str], said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    net = ["backbone=timm", "backbone.name=test_resnet", "backbone.weights=none", "batchnorm=inference"]
    metrics = train(config_of(*SMALL[1:], *net, "trainer.max_epochs=1", *overrides), tmp_path, pictures=False)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [said in line for line in warnings if line.startswith("!!!")] == [True] * bool(said)
    stays = "random start, and what is frozen stays random" if said else "random start"
    assert metrics["weights"]["note"] == stays
    assert (said in (tmp_path / "run.log").read_text()) or not said
