"""Every command that the README and the pages of docs/ show is run, or the page says that it is not."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import test_data_folder
from fewer import mostly_slow
from omegaconf import OmegaConf

from seedsweep.cli.config.schema import Config
from seedsweep.cli.main import main
from seedsweep.names import conf_dir
from seedsweep.training import run as training

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = [(path, *found) for path in PAGES for found in BLOCK.findall(path.read_text())]
LINES = sorted(
    {
        line.split(" #")[0].strip()
        for _, language, title, block in BLOCKS
        if language == "bash" and not title
        for line in block.splitlines()
        if line.strip()
    }
)
OURS = [line for line in LINES if "-m seedsweep" in line]
MAKE = [line for line in LINES if line.startswith("make")]
TINY = [
    "data.image_size=[32,32]",
    "trainer.max_epochs=1",
    "trainer.probe_images=8",
    "report.write=false",  # tests of its own
    "backbone=timm",
    "backbone.name=test_resnet",
    "backbone.weights=none",
]
# the same is done in every suite by test_backbone_study, test_deploy, test_pins, test_damaged and test_grid
ELSEWHERE = (
    "+sweep=answer",
    "+study=backbones",
    "answer/winner",
    "diagnose.run=",
    "task=export",
    "task=evaluate",
    "best_of_",
    "resume=",
    "seed=1,2,3",
)
SHORT = ["study.n_trials=2", "study.finalists=1", "study.finalist_seeds=1"]


def test_every_line_is_covered():
    assert len(OURS) >= 15
    assert {"make demo", "make test"} <= set(MAKE)
    assert sorted(OURS + MAKE) == LINES


def test_what_is_not_run_is_named():
    for path, language, title, block in BLOCKS:
        if "seedsweep" in block and language != "bash" and not block.lstrip().startswith('"""'):
            assert language in ("powershell", "python", "yaml"), f"{path}: a block of commands is ```bash"
        if title:
            assert title.strip().startswith('title="not run by the tests: '), path
    untried = "has not been tried on real machines yet"
    for path, text in {(path, path.read_text()) for path, language, *_ in BLOCKS if language == "powershell"}:
        assert untried in " ".join(text.split()), path


@pytest.mark.parametrize("line", MAKE)
def test_make_targets_exist(line: str):
    subprocess.run(["make", "-n", *shlex.split(line)[1:]], cwd=ROOT, check=True, capture_output=True)


def test_make_alone_prints_the_targets():
    page = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for target in ("setup", "demo", "test", "lint", "docs", "grid", "dashboard", "bench", "clean"):
        assert f"make {target}" in page


def finished(config: Config, run_dir: Path, *, label: str = "", resume: bool = False, **_: object) -> dict:
    """Stands for training: writes a result."""
    scores = {"loss": 1.0, "acc": 0.5, "macro_f1": 0.5, "per_class_recall": {"a": 0.5}}
    metrics = {
        "label": label, "experiment": config.experiment.name, "seed": config.seed, "status": "finished",
        "backbone": "x", "batchnorm": "x", "preprocess": "auto", "batch_size": 4, "epochs": 1, "best_epoch": 0,
        "train": scores, "val": scores, "test": scores, "wall_seconds": 1.0,
        "train_images": {"bn_gap": 0.0, "bn_gap_last": 0.0},
        "images": {"val": {"a": 1, "b": 1}},
    }  # fmt: skip
    (run_dir / "metrics.json").write_text(json.dumps(metrics))
    return metrics


def overrides(line: str) -> list[str]:
    return shlex.split(line.split("-m seedsweep", 1)[1])


def before(args: list[str]) -> None:
    """Makes what a command reads: the run, the grid or the study that an earlier line left."""
    for part in args:
        key, _, value = part.partition("=")
        if key == "checkpoint":
            made = value.replace("answer/winner", "winner")  # the answer's own is made in test_forecast
            first = next(line for line in OURS if f"hydra.run.dir={made}" in line)
            assert main([*overrides(first), *TINY, f"hydra.run.dir={value}"]) == 0
        elif key == "diagnose.run":
            run = ["+experiment=frozen_inception", "data.demo.n_images=70", f"hydra.run.dir={value}"]
            assert main([*run, *TINY]) == 0
        elif "best_of_" in part:
            assert main([*overrides(next(line for line in OURS if "+study=" in line)), *TINY, *SHORT]) == 0
        elif key in ("resume", "report.dir"):
            grid = ["-m", "+experiment=scratch,frozen_bn", "report.write=false"]
            assert main([*grid, f"hydra.sweep.dir={value}"]) == 0


def size(args: list[str]) -> list[str]:
    """Returns what makes a command small enough for a test."""
    if "+study=backbones" in args:
        return [TINY[0], "backbones.nets=[{name:test_resnet,weights:none}]", "backbones.finetune=0"]
    if any(part.startswith("+study=") for part in args):
        return [*TINY, *SHORT]
    if "+sweep=answer" in args:
        return [*TINY, "answer.arms=[frozen_bn]", "answer.seeds=1", "answer.trials=0"]
    if "+sweep=ladder" in args:
        return ["seed=1", "rung=00_as_asked", "report.write=false"]
    if any(part.startswith("+sweep=") for part in args):
        return ["seed=1", "report.write=false"]
    if "task=diagnose" in args and any(part.startswith("diagnose.run=") for part in args):
        return ["diagnose.images=40", "report.write=false"]
    if "task=diagnose" in args or "diagnose" in args:
        return [*TINY, "diagnose.images=20"]
    if any(part.startswith(("task=", "resume=", "--", "-m")) for part in args):
        return []
    ours = any(part.startswith(("data.root=", "data.file=")) for part in args)
    return TINY if ours else [*TINY, "data.demo.n_images=70"]


@pytest.mark.parametrize("line", mostly_slow(OURS, lambda line: not any(word in line for word in ELSEWHERE)))
def test_commands_run(line: str, in_tmp: Path, monkeypatch: pytest.MonkeyPatch):
    test_data_folder.make(in_tmp / "seeds", {"good": 10, "bad": 10})
    listed = [f"{path},{path.parent.name}" for path in (in_tmp / "seeds").rglob("*.png")]
    (in_tmp / "seeds" / "labels.csv").write_text("\n".join(["path,label", *listed]))
    test_data_folder.make(in_tmp / "new", {"any": 3})
    test_data_folder.make(in_tmp / "labelled", {"good": 3, "bad": 3})
    monkeypatch.setenv("HOME", str(in_tmp))  # bash leaves the ~ of data.root=~/seeds to us
    args = overrides(line)
    if "-m" in args or any(part.startswith(("resume=", "report.dir=")) for part in args):
        monkeypatch.setattr(training, "train", finished)  # grids have tests of their own
    before(args)
    assert main([*args, *size(args)]) == 0


def test_all_experiments_are_listed_with_what_they_teach():
    listed = (ROOT / "docs" / "guides" / "arms.md").read_text()
    for path in (conf_dir() / "experiment").glob("*.yaml"):
        assert f"| `{path.stem}` |" in listed
        assert OmegaConf.load(path).experiment.teaches
