"""The record of a run: what it says is what the net does, and it is strict JSON."""

import ast
import json
import math
from pathlib import Path
from typing import Any

import pytest
from composed import compose_config, config_of
from omegaconf import OmegaConf
from torch import nn

import seedsweep
from seedsweep.cli.config import compose as composing
from seedsweep.cli.config.compose import CommandLine
from seedsweep.cli.config.departures import departures
from seedsweep.cli.main import main
from seedsweep.diagnosis.remedy import proved, saved_whole
from seedsweep.export.load import load_trained
from seedsweep.models.called import augment_called, batchnorm_called, preprocess_called
from seedsweep.names import conf_dir
from seedsweep.runs.run_result import RunResult
from seedsweep.runs.switches import Switches
from seedsweep.training.effective import name_by_values
from seedsweep.training.route import why_online
from seedsweep.whole import strict, write_json

SMALL = [
    "backbone=timm", "backbone.name=test_resnet", "backbone.weights=none", "data.demo.n_images=70",
    "data.image_size=[48,48]",
    "data.workers=1", "head.width=8", "trainer.max_epochs=2", "trainer.probe_images=16", "trainer.accelerator=cpu",
    "trainer.progress_bar=false", "features.engine=torch", "report.write=false",
]  # fmt: skip
OTHERWISE = ["+experiment=frozen_bn", "batchnorm.training_statistics=batch", "augment.rotation=20"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose name and groups say other than its switches."""
    made = tmp_path_factory.mktemp("runs") / "run"
    assert main([*SMALL, *OTHERWISE, "preprocess.rescale=true", f"hydra.run.dir={made}"]) == 0
    return made


def parsed(path: Path) -> Any:
    def refuse(word: str) -> None:
        raise ValueError(f"{path} holds a bare {word}")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_a_record_goes_by_the_switches(folder: Path):
    metrics = parsed(folder / "metrics.json")
    assert (metrics["batchnorm"], metrics["preprocess"]) == ("batch_stats", "rescale_twice")
    assert metrics["augment"] == "custom (augment.rotation=20)".replace("augment.", "")
    assert metrics["departures"] == ["batchnorm.training_statistics=batch"]
    switches = RunResult(folder).switches
    assert switches is not None
    assert Switches.from_dict(metrics["switches"]) == switches
    assert switches.batchnorm.training_statistics == "batch"
    assert not switches.batchnorm.train_affine
    assert "frozen_bn (with batchnorm.training_statistics=batch): " in (folder / "run.log").read_text()
    assert "BatchNorm policy batch_stats on " in (folder / "run.log").read_text()


def test_a_record_tells_what_went_in_and_came_out(folder: Path):
    import hashlib

    metrics = parsed(folder / "metrics.json")
    digests = metrics["digests"]
    best = hashlib.sha256((folder / "checkpoints" / "best.ckpt").read_bytes()).hexdigest()
    assert digests["checkpoint"] == best
    assert digests["weights"] is None  # the net began with random ones
    assert len(digests["split"]) == len(digests["images"]) == 64
    assert metrics["features"]["stored"] is False
    assert "batch_stats" in metrics["features"]["reason"]
    assert metrics["version"] == 2
    assert metrics["values"] == {}, "images of 8 bits need no range"


def test_all_json_of_a_run_is_strict(folder: Path):
    paths = list(folder.rglob("*.json"))
    assert folder / "metrics.json" in paths
    for path in paths:
        parsed(path)


def test_numbers_that_are_none_become_null(tmp_path: Path):
    content = {"a": math.nan, "b": [1.5, -math.inf, {"c": (math.inf, 2)}], "d": "NaN", "e": None, "f": 1}
    write_json(tmp_path / "it.json", content)
    assert parsed(tmp_path / "it.json") == {
        "a": None, "b": [1.5, None, {"c": [None, 2]}], "d": "NaN", "e": None, "f": 1,
    }  # fmt: skip
    assert math.isnan(content["a"])  # type: ignore[arg-type]
    assert strict(0.1) == 0.1


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ([], ("none", "inference", "auto")),
        (["augment=light", "augment.rotation=15.0"], ("light", "inference", "auto")),
        (["augment=question", "batchnorm=train"], ("question", "train", "auto")),
        (
            ["augment=light", "augment.rotation=0", "augment.shift=[0,0]", "augment.zoom=0", "augment.brightness=0"],
            ("custom (horizontal_flip=true, vertical_flip=true)", "inference", "auto"),
        ),
        (["batchnorm=train", "batchnorm.train_affine=false"], ("none", "update_stats", "auto")),
        (["batchnorm.recalibrate=true", "preprocess.normalise=false"], ("none", "recalibrate", "custom")),
        (["batchnorm.train_affine=true", "preprocess=rescale_only"], ("none", "custom", "rescale_only")),
        (["augment=none", "augment.zoom=0.1"], ("custom (zoom=0.1)", "inference", "auto")),
    ],
)  # fmt: skip
def test_settings_are_called_by_what_they_do(overrides: list[str], names: tuple[str, str, str]):
    config = config_of(*overrides)
    called = (
        augment_called(config.augment), batchnorm_called(config.batchnorm), preprocess_called(config.preprocess),
    )  # fmt: skip
    for found, wanted in zip(called, names, strict=True):
        assert found == wanted or (wanted == "custom" and found.startswith("custom ("))
    name_by_values(config)
    assert (config.augment.name, config.batchnorm.name, config.preprocess.name) == called


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["+experiment=frozen_bn"], []),
        (["+experiment=frozen_bn", "augment.rotation=20", "optim.lr=0.1"], []),  # the file says nothing of them
        (["+experiment=frozen_bn", "batchnorm.recalibrate=true"], ["batchnorm.recalibrate=true"]),
        (["+experiment=frozen_bn", "batchnorm=inference"], []),
        (
            ["+experiment=frozen_bn", "batchnorm=train", "data.batch_size=8"],
            [
                "batchnorm.training_statistics=batch", "batchnorm.update_statistics=true",
                "batchnorm.train_affine=true", "data.batch_size=8",
            ],
        ),
        (["+experiment=as_asked", "backbone=vgg16"], ["backbone.name=vgg16"]),
        (["+rung=02_bn_inference"], []),
        (["+rung=02_bn_inference", "batchnorm.training_statistics=batch"], ["batchnorm.training_statistics=batch"]),
        (["+rung=03_lr_1e-4", "optim.lr=0.01"], ["optim.lr=0.01"]),
        (["experiment.name=mine", "optim.lr=0.1"], []),
    ],
)  # fmt: skip
def test_settings_that_depart_from_the_experiments_file_are_told(overrides: list[str], expected: list[str]):
    assert departures(config_of(*overrides)) == expected


def test_a_users_own_files_are_read_by_the_rules_of_the_command_line(tmp_path: Path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "optim").mkdir()
    (tmp_path / "rung").mkdir()
    (tmp_path / "rung/broken.yaml").write_text("a: [\n")
    (tmp_path / "optim/my.yaml").write_text("name: adam\nlr: 1e-4\nweight_decay: '1e-3'\n")
    (tmp_path / "experiment/mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /optim: my\nexperiment: {name: mine}\n"
        "head: {dropout: 1e-1, width: '8'}\ndata: {root: 2024_10, batch_size: '${head.width}'}\n"
    )
    folders = [tmp_path, conf_dir()]
    config = config_of(
        "experiment.name=mine", "optim.lr=1e-4", "optim.weight_decay=1e-3", "head.dropout=0.1", "head.width=8",
        "data.root='2024_10'", "data.batch_size=8",
    )  # fmt: skip
    assert departures(config, folders) == []
    config.optim.lr, config.head.width = 1e-3, 16
    assert set(departures(config, folders)) == {"optim.lr=0.001", "head.width=16"}


def test_no_experiment_or_rung_departs_from_itself():
    for path in (conf_dir() / "experiment").glob("*.yaml"):
        assert departures(config_of(f"+experiment={path.stem}")) == [], path
    for rung in ("00_as_asked", "09_finetuned", "back_finetuned_scaled_twice", "cell_inference_scaled_twice"):
        assert departures(config_of(f"+rung={rung}")) == [], rung


@pytest.mark.parametrize(
    ("remedy", "said", "expected"),
    [
        (["batchnorm=inference"], ["batchnorm=batch_stats"], ["batchnorm=inference"]),
        (["batchnorm=inference"], ["+experiment=frozen_inception"], ["batchnorm=inference"]),
        (["batchnorm=inference"], ["+experiment=frozen_bn"], []),  # it has that
        (["batchnorm=inference"], ["batchnorm=batch_stats", "batchnorm.training_statistics=stored"], []),
        (
            ["batchnorm=inference"], ["+experiment=frozen_bn", "batchnorm.training_statistics=batch"],
            ["batchnorm.training_statistics=stored"],
        ),
        (["preprocess=auto"], ["preprocess.rescale=true"], ["preprocess.rescale=false"]),
        (["optim.lr=3e-05"], ["optim.lr=0.1", "+experiment=finetune_bn"], ["optim.lr=3e-05"]),
        (["optim.lr=0.1"], ["optim.lr=0.1"], []),
        (["backbone.freeze=true", "batchnorm=inference"], ["+experiment=finetune_upper"], []),  # is refused
        (
            ["backbone.freeze=true", "backbone.train_from=null", "batchnorm=inference"], ["+experiment=finetune_upper"],
            ["backbone.freeze=true", "backbone.train_from=null", "batchnorm=inference"],
        ),
        (["optim.lr=1e-4"], ["+experiment=gone"], []),
    ],
)  # fmt: skip
def test_a_remedy_is_proved_on_the_command_line(remedy: list[str], said: list[str], expected: list[str]):
    assert proved(remedy, None, CommandLine([], said)) == expected


def test_a_run_s_own_settings_spare_a_composition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    said = ["batchnorm=batch_stats"]
    (tmp_path / ".hydra").mkdir()
    saved = tmp_path / ".hydra" / "config.yaml"
    saved.write_text(OmegaConf.to_yaml(compose_config(*said)))
    made = []
    compose = composing.compose_from
    monkeypatch.setattr(composing, "compose_from", lambda *given: (made.append(given), compose(*given))[1])
    config = saved_whole(tmp_path)
    assert proved(["batchnorm=inference"], config, CommandLine([], said)) == ["batchnorm=inference"]
    assert len(made) == 1
    saved.write_text("seed: 1")
    assert saved_whole(tmp_path) is None, "settings of which most are missing are none"


def test_a_choice_named_by_hand_changes_nothing():
    config = config_of("batchnorm=inference", "batchnorm.name=mine")
    assert proved(["batchnorm=inference"], config, None) == []
    assert proved(["batchnorm=batch_stats"], config, None) == ["batchnorm=batch_stats"]


def test_no_json_is_written_that_could_be_bare():
    """``json.dumps`` writes NaN unless it is told not to."""
    calls = []
    for path in sorted(Path(seedsweep.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.dumps", "json.dump"):
                strictly = any(word.arg == "allow_nan" for word in node.keywords)
                calls.append((path.name, strictly))
    assert len(calls) > 10
    assert [name for name, strictly in calls if not strictly] == []


def test_a_checkpoint_beside_another_runs_record_is_told(folder: Path, caplog: pytest.LogCaptureFixture):
    best = folder / "checkpoints" / "best.ckpt"
    trained = load_trained(best)
    assert caplog.text == ""
    assert "inputs as preprocess=rescale_twice scales them" in trained.described
    assert Switches.from_dict(trained.card["switches"]) == RunResult(folder).switches
    record = (folder / "metrics.json").read_text()
    (folder / "metrics.json").write_text(record.replace(trained.digest, "0" * 64))
    load_trained(best)
    (folder / "metrics.json").write_text(record)
    assert "is not the file that this run's metrics.json speaks of" in caplog.text


def test_the_json_of_a_run_that_diverged_is_strict(tmp_path: Path):
    line = ["optim.lr=1e38", "optim=sgd", "+experiment=frozen_bn", f"hydra.run.dir={tmp_path / 'run'}"]
    assert main([*SMALL, *line]) == 1
    metrics = parsed(tmp_path / "run" / "metrics.json")
    assert metrics["status"] == "diverged"
    for path in tmp_path.rglob("*.json"):
        parsed(path)


@pytest.mark.parametrize(
    ("overrides", "fits"),
    [([], True), (["augment.rotation=20"], False), (["augment=light", "features.views=1"], False)],
)
def test_augmented_views_count_in_the_estimate_whatever_the_augmentation_is_called(
    overrides: list[str], fits: bool
):
    config = config_of("augment=none", "features.budget_gib=0.01", *overrides)
    reason = why_online(config, nn.Identity(), n_train=1000, n_images=1000, shape=(2048,))
    assert (reason is None) == fits
    assert fits or "images and views would take" in str(reason)
