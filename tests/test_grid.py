"""Grids with a stub in the place of training: folders, labels, failures, resume."""

import csv
import json
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from seedsweep.bounds import file_name
from seedsweep.cli.config.schema import Config
from seedsweep.cli.main import main
from seedsweep.errors import SeedsweepError
from seedsweep.runs.recorded import arm_label, count, read_recorded, varied

GRID = ["-m", "+experiment=scratch,frozen_bn", "seed=1,2", "hydra.sweep.dir=a grid"]
SMALL = ["-m", "+experiment=scratch", "seed=1,2", "hydra.sweep.dir=a grid"]


class Trainer:
    """Writes the metrics.json of a finished run; ``act`` may raise before."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, bool]] = []
        self.act: Callable[[Config], None] = lambda config: None

    def __call__(
        self, config: Config, run_dir: Path, *, label: str, resume: bool, **_: object
    ) -> dict[str, object]:
        self.calls.append((run_dir.name, label, resume))
        (run_dir / "checkpoints").mkdir(exist_ok=True)
        self.act(config)
        score = {"acc": 0.5 + config.seed / 100, "macro_f1": 0.5}
        content = {
            "status": "finished", "label": label, "experiment": config.experiment.name, "seed": config.seed,
            "val": score, "test": score, "train": score,
            "train_images": {"bn_gap": 0.1, "bn_gap_last": 0.1}, "wall_seconds": 1.0,
            "images": {"val": {"a": 3, "b": 1}}, "backbone": "vgg16", "batchnorm": config.batchnorm.name,
            "preprocess": "auto", "batch_size": 4, "epochs": 1, "best_epoch": 1,
        }  # fmt: skip
        (run_dir / "metrics.json").write_text(json.dumps(content))
        return {}

    def names(self) -> list[str]:
        return [name for name, _, _ in self.calls]


@pytest.fixture
def trainer(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    stub, module = Trainer(), types.ModuleType("seedsweep.training.run")
    monkeypatch.setattr(module, "train", stub, raising=False)
    monkeypatch.setattr(module, "Given", dict, raising=False)
    monkeypatch.setitem(sys.modules, "seedsweep.training.run", module)
    return stub


def fail(error: BaseException, experiment: str, seed: int) -> Callable[[Config], None]:
    def act(config: Config) -> None:
        if (config.experiment.name, config.seed) == (experiment, seed):
            raise error

    return act


def test_a_grid_from_start_to_table(trainer: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-m", "+experiment=scratch,frozen_bn", "seed=2", "hydra.sweep.dir=a grid"]) == 0
    expected = ["0_scratch_s2", "1_frozen_bn_s2"]
    assert trainer.names() == expected
    assert sorted(p.name for p in Path("a grid").iterdir() if p.is_dir()) == expected
    assert {label for _, label, _ in trainer.calls} == {"scratch", "frozen_bn"}
    out = capsys.readouterr().out
    assert "[2/2] frozen_bn seed 2" in out
    assert "2 runs finished, 0 failed" in out
    assert "-m seedsweep task=dashboard 'dashboard.dir=a grid'" in out
    assert Path("a grid/comparison.png").stat().st_size > 1000
    rows = list(csv.DictReader(Path("a grid/results.csv").read_text().splitlines()))
    assert [row["status"] for row in rows] == ["finished"] * 2


def test_resume_skips_what_is_finished(trainer: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    stop = fail(KeyboardInterrupt(), "frozen_bn", 1)

    def act(config: Config) -> None:
        if config.experiment.name == "frozen_bn":  # Hydra made the folder of another worker's job already
            Path("a grid/3_frozen_bn_s2/.hydra").mkdir(parents=True)
        stop(config)

    trainer.act = act
    assert main(GRID) == 130
    out = capsys.readouterr().out
    assert "2 runs finished, 0 failed, 1 stopped on the way, 1 not begun" in out
    assert "-m seedsweep 'resume=a grid'" in out
    trainer.calls.clear()
    trainer.act = lambda config: None
    assert main(["resume=a grid"]) == 0
    assert trainer.names() == ["2_frozen_bn_s1", "3_frozen_bn_s2"]
    assert all(resume for _, _, resume in trainer.calls)
    assert capsys.readouterr().out.count("finished already") == 2
    trainer.calls.clear()
    assert main(["resume=a grid", "seed=1,2,3"]) == 0, "an override beside resume wins"
    assert trainer.names() == ["2_scratch_s3", "5_frozen_bn_s3"], (
        "the others are known under their old numbers"
    )
    assert "6 runs finished" in capsys.readouterr().out


def test_one_job_of_a_grid_resumed_alone_keeps_its_label(trainer: Trainer) -> None:
    trainer.act = fail(RuntimeError("once"), "scratch", 1)
    line = ["-m", "+experiment=scratch", "optim.lr=1e-3,1e-4", "hydra.sweep.dir=g"]
    assert main(line) == 1
    trainer.act = lambda config: None
    trainer.calls.clear()
    assert main(["resume=g/0_scratch_s1"]) == 0
    assert trainer.calls == [("0_scratch_s1", "scratch optim.lr=0.001", True)]
    assert not Path("g/0_scratch_s1/failure.json").exists()


FAILURES = {  # seed: what it raises, the reason that is told
    1: (SeedsweepError("No image in /x."), "No image in /x."),
    2: (MemoryError(), "MemoryError"),
    3: (RuntimeError("CUDA out of memory.\nTried to"), "RuntimeError: CUDA out of memory."),
    4: (SystemExit(1), "SystemExit: 1"),
}


def test_failing_jobs_do_not_end_the_grid(trainer: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    def act(config: Config) -> None:
        if config.seed in FAILURES:
            raise FAILURES[config.seed][0]

    trainer.act = act
    assert main(["-m", "+experiment=scratch", "seed=1,2,3,4,5", "hydra.sweep.dir=a grid"]) == 1
    out = capsys.readouterr().out
    assert "1 run finished, 4 failed" in out
    for number, (seed, (_, reason)) in enumerate(FAILURES.items()):
        folder = Path(f"a grid/{number}_scratch_s{seed}")
        failure = json.loads((folder / "failure.json").read_text())
        assert failure == {"reason": reason, "label": "scratch", "experiment": "scratch", "seed": seed}
        assert "Traceback" in (folder / "error.log").read_text()
        assert f"failed: scratch (seed {seed}): {reason}" in out
    trainer.calls.clear()
    trainer.act = lambda config: None
    assert main(["resume=a grid"]) == 0
    assert trainer.names() == [f"{n}_scratch_s{seed}" for n, seed in enumerate(FAILURES)], (
        "what failed is tried again"
    )
    assert not list(Path("a grid").glob("*/failure.json"))


@pytest.mark.parametrize(
    "missing", [pytest.param(True, marks=pytest.mark.slow), False], ids=["a job is missing", "all done"]
)
def test_other_settings_are_refused_before_anything_is_written(
    missing: bool, trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    """No other setting beside those of the others, whether all jobs of a grid are done or one is missing."""
    assert main(SMALL) == 0
    if missing:
        shutil.rmtree("a grid/1_scratch_s2")
    trainer.calls.clear()
    before = content_of("a grid")
    capsys.readouterr()
    for changed in (["optim.lr=0.5"], ["trainer.max_epochs=3"], ["optim.lr=0.5", "seed=1,2,3"]):
        assert main(["resume=a grid", *changed]) == 2
        key, _, value = changed[0].partition("=")
        said = capsys.readouterr().err
        assert f"{key} was " in said
        assert f" and is {value})" in said
    assert main([*SMALL, "optim.lr=0.5"]) == 2, "without resume= too"
    assert content_of("a grid") == before
    assert not trainer.calls
    assert main(["resume=a grid", "data.workers=1"]) == 0
    assert trainer.names() == (["1_scratch_s2"] if missing else [])
    trainer.calls.clear()
    assert main(["resume=a grid", "optim.lr=1e-3,0.5"]) == 0, (
        "one of the newly swept values is that of before"
    )
    assert {label for _, label, _ in trainer.calls} == {"scratch optim.lr=0.5"}


def content_of(folder: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_a_grid_whose_experiment_changed_is_refused(
    trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The experiment's file has changed meanwhile, so that no override tells; the settings do."""
    Path("mine/experiment").mkdir(parents=True)
    own = Path("mine/experiment/own.yaml")
    own.write_text("# @package _global_\nexperiment: {name: own}\noptim: {lr: 0.1}\n")
    line = ["-m", "+experiment=own", "seed=1,2", "hydra.sweep.dir=g", "--config-dir", "mine"]
    assert main(line) == 0
    notes = content_of("g/0_own_s1")
    own.write_text(own.read_text().replace("0.1", "0.2"))
    capsys.readouterr()
    assert main(["resume=g"]) == 2
    assert "optim.lr was 0.1 and is 0.2" in capsys.readouterr().err
    config = Path("g/0_own_s1/.hydra/config.yaml")
    assert config.read_bytes() == notes[config], "what it was trained with stays on record"


def test_a_job_killed_without_a_word_counts_as_failed(
    trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(SMALL) == 0
    Path("a grid/1_scratch_s2/metrics.json").unlink()
    assert main(["resume=a grid"]) == 0
    assert trainer.names()[2:] == ["1_scratch_s2"]
    Path("a grid/1_scratch_s2/metrics.json").unlink()
    from seedsweep.cli.close_grid import finish_grid

    assert finish_grid(Path("a grid"), interrupted=False) == 1
    assert "1_scratch_s2: ended without a result" in capsys.readouterr().out


def test_a_table_that_fails_is_no_success(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no ink")

    monkeypatch.setattr("seedsweep.cli.close_grid.draw_comparison", broken)
    assert main(["-m", "seed=1,2", "hydra.sweep.dir=g"]) == 3
    assert "ValueError: no ink" in capsys.readouterr().err
    assert Path("g/error.log").is_file()


def test_labels_name_what_varies(trainer: Trainer) -> None:
    line = ["-m", "+experiment=frozen_bn", "batchnorm=inference,batch_stats", "head.width=0", "seed=1,2"]
    assert main(line) == 0
    labels = ["frozen_bn batchnorm=inference", "frozen_bn batchnorm=batch_stats"]
    assert [label for _, label, _ in trainer.calls] == [name for name in labels for _ in range(2)]


def test_arm_label() -> None:
    overrides = ["+experiment=scratch", "seed=2", "optim.lr=1e-4", "data.root='a b'", "head=linear"]
    swept = {"experiment", "seed", "optim.lr", "head"}
    assert arm_label("scratch", overrides, swept) == "scratch optim.lr=0.0001 head=linear"


def test_a_folder_whose_name_is_no_utf8(tmp_path: Path) -> None:
    root = os.fsdecode(b"/im/d\xe9")
    assert arm_label("scratch", [f'data.root="{root}"'], {"data.root"}) == 'scratch data.root="/im/d\\xe9"'
    overrides = {"task": [f'data.root="{root}",b'], "hydra": []}
    hydra = {"overrides": overrides, "sweeper": {"params": None}, "runtime": {"config_sources": []}}
    (tmp_path / "multirun.yaml").write_text(OmegaConf.to_yaml({"hydra": hydra}), encoding="utf-8")
    assert read_recorded(tmp_path / "multirun.yaml").overrides == overrides["task"]
    assert count(varied(tmp_path)) == 2
    with pytest.raises(SeedsweepError, match="bytes that are no UTF-8"):
        file_name("experiment.name", os.fsdecode(b"d\xe9"))


def test_values_beside_a_sweep_win_and_name_no_arm(trainer: Trainer) -> None:
    Path("mine/sweep").mkdir(parents=True)
    params = {"+experiment": "scratch,frozen_bn", "optim.lr": "1e-3,1e-4", "seed": "1,2"}
    content = {"hydra": {"sweeper": {"params": params}, "sweep": {"dir": "g"}}}
    Path("mine/sweep/own.yaml").write_text("# @package _global_\n" + yaml.safe_dump(content))
    line = ["-m", "sweep=own", "experiment=scratch", "seed=7", "--config-dir", "mine"]
    assert main(line) == 0
    assert [label for _, label, _ in trainer.calls] == ["scratch optim.lr=0.001", "scratch optim.lr=0.0001"]
    assert main(["resume=g"]) == 0
    assert len(trainer.calls) == 2


def test_all_of_a_sweep_is_checked(trainer: Trainer, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine/sweep").mkdir(parents=True)
    content = {"hydra": {"sweeper": {"params": {"+experiment": "scratch,frozn_bn"}}}}
    Path("mine/sweep/own.yaml").write_text("# @package _global_\n" + yaml.safe_dump(content))
    assert main(["-m", "+sweep=own", "--config-dir", "mine"]) == 2
    assert "did you mean frozen_bn?" in capsys.readouterr().err
    assert not trainer.calls


def test_a_value_that_is_not_checked_beforehand_fails_its_job_alone(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("seedsweep.cli.preflight.MOST_VALUES", 1)
    assert main(["-m", "+experiment=scratch", "optim.lr=0.1,-1,0.3", "hydra.sweep.dir=g"]) == 1
    assert [name[0] for name in trainer.names()] == ["0", "2"]
    reason = json.loads(next(Path("g").glob("1*/failure.json")).read_text())["reason"]
    assert "optim.lr" in reason
    assert reason in " ".join(capsys.readouterr().out.split())


def test_settings_that_change_no_number_repeat_no_job(trainer: Trainer) -> None:
    assert main(["-m", "+experiment=scratch", "seed=1", "hydra.sweep.dir=g"]) == 0
    further = ["data.workers=1", "data.cache_gib=1", "trainer.progress_bar=false", "features.budget_gib=1"]
    assert main(["resume=g", *further]) == 0
    assert trainer.names() == ["0_scratch_s1"], "it is the same run"
    assert main(["resume=g", "optim.lr=0.5"]) == 2, "and this is another"


def test_runs_begun_at_the_same_time_have_folders_of_their_own(trainer: Trainer) -> None:
    by_clock = "hydra.run.dir=runs/${now:%Y}"  # a clock that stands still
    assert [main(["+experiment=scratch", by_clock]) for _ in range(3)] == [0, 0, 0]
    first, second, third = trainer.names()
    assert (second, third) == (f"{first}_2", f"{first}_3")
    assert all((Path("runs") / name / "metrics.json").is_file() for name in trainer.names())
    assert main([f"resume=runs/{second}"]) == 0
    assert len(trainer.calls) == 3, "it goes on with its own, which is finished"


def test_what_a_grid_froze_is_freed_at_the_end_of_the_process() -> None:
    script = (
        "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count()))\n"  # the first is called last
        "from seedsweep.cli import job; job._give_memory_back(); assert gc.get_freeze_count()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
