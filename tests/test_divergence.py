"""NaN and infinity: a run that diverges says so, keeps what was finite, and has no place in a ranking."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from composed import config_of
from fewer import mostly_slow
from study_stub import told

from seedsweep.cli.main import main
from seedsweep.errors import SeedsweepError
from seedsweep.features.image_features import FeatureImages
from seedsweep.models.checkpoint import not_finite, read_checkpoint
from seedsweep.training.heads import divergence, validation_metrics
from seedsweep.training.module import ArmModule

SMALL = [
    "backbone=timm", "backbone.name=test_resnet", "backbone.weights=none", "data.demo.n_images=70",
    "data.image_size=[32,32]", "data.batch_size=16", "head.width=8", "trainer.max_epochs=3", "features.engine=torch",
    "trainer.progress_bar=false", "trainer.accelerator=cpu", "trainer.probe_images=8",
]  # fmt: skip
ROUTES = {
    "stored": ["features=required", "batchnorm=inference"],
    "upper": ["features=required", "batchnorm=inference", "backbone.freeze=false", "backbone.train_from=0.7"],
    "online": ["features=off"],
}


@pytest.fixture
def second_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training goes well for an epoch, and meets NaN in the second."""
    step, features = ArmModule.training_step, FeatureImages.training_features

    def broken_step(self: ArmModule, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        return step(self, batch, batch_idx) * (math.nan if self.current_epoch == 1 else 1)

    def broken_features(self: FeatureImages, epoch: int) -> Any:
        found = features(self, epoch)
        return found * math.nan if epoch == 1 else found

    monkeypatch.setattr(ArmModule, "training_step", broken_step)
    monkeypatch.setattr(FeatureImages, "training_features", broken_features)


def metrics_of(folder: str) -> dict[str, Any]:
    def refuse(word: str) -> None:
        raise AssertionError(f"bare {word}")

    found: dict[str, Any] = json.loads(Path(folder, "metrics.json").read_text(), parse_constant=refuse)
    return found


@pytest.mark.usefixtures("second_epoch")
@pytest.mark.parametrize("route", mostly_slow(ROUTES, ["stored", "online"]))
def test_what_was_finite_is_kept(route: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    assert main([*SMALL, *ROUTES[route], "hydra.run.dir=r"]) == 1
    err = capsys.readouterr().err
    assert "diverged at epoch 2: the training loss became NaN; the weights of epoch 1 are kept in" in err
    assert "smaller optim.lr (it was 0.001)" in err
    assert len(err.strip().splitlines()) == 1
    metrics = metrics_of("r")
    assert (metrics["status"], metrics["diverged_at"], metrics["diverged"]) == (
        "diverged", 2, "the training loss became NaN",
    )  # fmt: skip
    assert (metrics["epochs"], metrics["best_epoch"], metrics["test"]) == (1, 0, None)
    assert 0 <= metrics["val"]["acc"] <= 1
    assert len(list(csv.DictReader(Path("r/history.csv").read_text().splitlines()))) == 1
    for path in Path("r/checkpoints").glob("*.ckpt"):
        assert not_finite(read_checkpoint(path)["state_dict"]) is None
    report = Path("r/report.md").read_text()
    assert "diverged at epoch 2: the training loss became NaN" in report
    assert "The weights of epoch 1 were kept" in report
    assert "## BatchNorm" not in report
    assert main(["resume=r"]) == 1
    assert "same settings would do so again" in capsys.readouterr().err


@pytest.mark.parametrize("route", mostly_slow(ROUTES, ["stored", "online"]))
def test_divergence_in_the_first_epoch(route: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    assert main([*SMALL, *ROUTES[route], "optim.lr=1e30", "hydra.run.dir=r"]) == 1
    assert "no epoch was finished before, so there is no checkpoint" in capsys.readouterr().err
    metrics = metrics_of("r")
    assert (metrics["status"], metrics["diverged_at"], metrics["best_epoch"]) == ("diverged", 1, None)
    assert metrics["val"] is None
    report = Path("r/report.md").read_text()
    assert "diverged at epoch 1" in report
    assert "BatchNorm" not in report.partition("## Verdict")[2].partition("##")[0]
    Path("few").mkdir()
    assert main(["task=diagnose", "diagnose.run=r"]) == 2
    assert "diverged at epoch 1" in capsys.readouterr().err
    assert main(["task=predict", "checkpoint=r", "data.root=few"]) == 2


def test_a_grid_goes_on_and_marks_it(in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    line = [
        "-m",
        *SMALL,
        *ROUTES["stored"],
        "trainer.max_epochs=1",
        "optim.lr=1e30,1e-3",
        "hydra.sweep.dir=g",
    ]
    assert main(line) == 1
    out = capsys.readouterr().out
    assert "1 run finished, 0 failed, 1 diverged" in out
    assert "go on" not in out
    assert "(seed 1) diverged at epoch 1: " in out
    table = [text for text in out.splitlines() if text.startswith("custom optim.lr=") and ": " not in text]
    assert "optim.lr=0.001" in table[0]
    assert "diverged at epoch 1" in table[1]
    rows = {row["status"]: row for row in csv.DictReader(Path("g/results.csv").read_text().splitlines())}
    assert rows["diverged"]["reason"].startswith("diverged at epoch 1: ")
    assert rows["diverged"]["val_acc"] == ""
    assert "diverged at epoch 1" in Path("g/report.md").read_text()
    capsys.readouterr()
    assert main(["resume=g"]) == 1
    out = capsys.readouterr().out
    assert "diverged at epoch 1" in out
    assert "custom: " not in out, "nothing is trained again"


def test_a_study_has_no_diverged_winner(in_tmp: Path):
    space = [f"~study.space.{name}" for name in ("lr", "dropout", "width")]
    space += ["+study.space.only={key: optim.lr, choices: [1e30, 1e-3]}", "sampler=grid", "pruner=none"]
    line = [
        "+study=head",
        *SMALL,
        *ROUTES["stored"],
        "trainer.max_epochs=1",
        "study.settings=[]",
        "study.first=[]",
    ]
    finals = ["study.finalists=2", "study.finalist_seeds=1", "study.name=s", "report.write=false"]
    assert main([*line, *space, *finals]) == 0
    found = json.loads(Path("outputs/studies/s/result.json").read_text())
    assert found["trials"] == {"complete": 1, "fail": 1}
    assert found["winner"]["settings"] == ["optim.lr=0.001"]
    states = [state for _, state, *_ in told()]
    assert sorted(states) == ["COMPLETE", "FAIL"]
    rows = list(csv.DictReader(Path("outputs/studies/s/trials.csv").read_text().splitlines()))
    assert any("diverged at epoch 1" in str(row) for row in rows)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_logit_is_enough(value: float):
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]])
    assert divergence(validation_metrics(logits, torch.tensor([0, 1]), ["a", "b", "c"])) is None
    logits[0, 2] = value
    metrics = validation_metrics(logits, torch.tensor([0, 1]), ["a", "b", "c"])
    assert divergence(metrics) == "the validation loss became NaN"


@pytest.mark.parametrize(
    "setting",
    [
        "optim.lr", "optim.weight_decay", "optim.momentum", "head.dropout", "data.cache_gib", "features.budget_gib",
        "augment.rotation", "study.grace", "sampler.options.x", "pruner.options.x",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_no_setting_is_nan_or_infinite(setting: str, value: str):
    plus = "+" if ".options." in setting else ""
    with pytest.raises(SeedsweepError, match=rf"{setting}.* is -?(nan|inf), but must"):
        config_of("backbone=vgg16", f"{plus}{setting}={value}")


def test_a_refused_number_is_one_sentence(in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    assert main([*SMALL, "optim.momentum=nan"]) == 2
    assert main(["-m", *SMALL, "optim.weight_decay=0,inf"]) == 2
    assert main(["+study=head", *SMALL, "study.space.lr.high=inf"]) == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert len(err) == 3, err
    assert not list(in_tmp.rglob("metrics.json"))
