"""What CONTRIBUTING.md says of new arms, backbones, policies, checks and panels is done, in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from composed import config_of

from seedsweep.cli.config.departures import departures
from seedsweep.cli.main import main
from seedsweep.diagnosis.run_checks import found_checks
from seedsweep.models import nets
from seedsweep.names import conf_dir

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
FILES = dict(re.findall(r"^File `([^`]+)`:\n\n```\w+\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE))
TINY = ["data.demo.n_images=70", "data.image_size=[64,64]", "trainer.max_epochs=1", "trainer.probe_images=8"]


# in one process, which imports torch once; the other checks have tests of their own
SCRIPT = """
import sys

from seedsweep.cli.main import main
from seedsweep.diagnosis import run_checks

assert main([*sys.argv[1:], "hydra.run.dir=run"]) == 0
found = run_checks.found_checks
run_checks.found_checks = lambda: [module for module in found() if module.CHECK.name == "brightness"]
assert main(["task=diagnose", "diagnose.run=run", "diagnose.images=20", "report.write=false"]) == 0
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contributed")
    for part in ("seedsweep", "conf"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name, content in FILES.items():
        assert (folder / name).parent.is_dir(), f"{name}: there is no such folder any more"
        assert not (folder / name).exists()
        (folder / name).write_text(content)
    return folder


def test_there_is_an_example_of_each_kind():
    kinds = {str(Path(name).parent) for name in FILES}
    assert len(FILES) == 7
    assert "brightness" not in {module.CHECK.name for module in found_checks()}
    assert {"conf/experiment", "conf/batchnorm"} < kinds


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.endswith(".py")))
def test_what_the_examples_import_is_there(name: str):
    made: dict[str, object] = {"__name__": "example"}
    exec(compile(FILES[name], name, "exec"), made)
    assert {"check", "section", "build"} & set(made)


@pytest.mark.slow
def test_the_examples_work(copy: Path):
    """One run with the new arm, policy and net; its report has the panel, its diagnosis the check."""
    net = ["backbone=mobilenet_v2", "backbone.weights=none"]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "+experiment=frozen_affine", *net, *TINY, "report.gradcam=0"],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mobilenet_v2" in done.stdout
    assert "BatchNorm policy affine_only on 52 layers" in done.stdout
    assert "Durations" in (copy / "run" / "report.html").read_text()
    assert "Brightness" in done.stdout


def test_a_recipe_is_taken(copy: Path, capsys: pytest.CaptureFixture[str]):
    file = next(name for name in FILES if "resnet26" in name)
    (copy / "extra" / "experiment").mkdir(parents=True)
    shutil.copy(copy / file, copy / "extra" / "experiment")
    assert main(["--config-dir", str(copy / "extra"), "+experiment=frozen_resnet26", "--cfg", "job"]) == 0
    shown = capsys.readouterr().out
    assert "name: resnet26" in shown
    assert "lr: 0.0003" in shown
    assert "weight_decay: 0.05" in shown


def test_a_recipe_of_a_backbone_holds_in_every_arm(copy: Path, capsys: pytest.CaptureFixture[str]):
    (copy / "more" / "backbone").mkdir(parents=True)
    shutil.copy(copy / "conf" / "backbone" / "resnet26_small.yaml", copy / "more" / "backbone")
    chosen = ["--config-dir", str(copy / "more"), "backbone=resnet26_small", "--cfg", "job"]
    for further, lr in ([], "0.0003"), (["optim=sgd"], "0.0003"), (["optim.lr=0.5"], "0.5"):
        assert main([*chosen, *further]) == 0
        shown = capsys.readouterr().out
        assert f"lr: {lr}" in shown
        assert "weight_decay: 0.05" in shown
        assert "name: resnet26" in shown


def test_a_backbone_with_code_needs_no_other_file(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(nets, "__path__", [str(copy / "seedsweep" / "models" / "nets")])
    assert main(["backbone=mobilenet_v2", "--cfg", "job"]) == 0
    assert "name: mobilenet_v2\n  library: own" in capsys.readouterr().out
    assert main(["backbone=mobilenet_v7"]) == 2
    assert "did you mean mobilenet_v2?" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "mobilenet_v2" in capsys.readouterr().out


def test_an_experiment_with_a_recipe_departs_from_nothing(tmp_path: Path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "backbone").mkdir()
    recipe = next(text for name, text in FILES.items() if name.endswith("resnet26_small.yaml"))
    (tmp_path / "backbone" / "resnet26_small.yaml").write_text(recipe)
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\n"
        "defaults: [override /backbone: resnet26_small, override /optim: adamw]\n"
        "experiment: {name: mine}\n"
    )
    config = config_of(f"hydra.searchpath=[file://{tmp_path}]", "+experiment=mine")
    assert config.optim.lr == 3e-4
    assert departures(config, [conf_dir(), tmp_path]) == []
