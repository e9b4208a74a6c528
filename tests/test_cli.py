"""The command line: one sentence for each mistake, help, completion, folders, resume."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from seedsweep.cli.arguments import arrange
from seedsweep.cli.config.compose import command_line_of
from seedsweep.cli.config.schema import Config
from seedsweep.cli.main import main
from seedsweep.cli.sentences import sentence
from seedsweep.errors import SeedsweepError
from seedsweep.names import conf_dir
from seedsweep.runs.recorded import read_recorded
from seedsweep.training import run as training

MISTAKES = {
    "optim.lrr=1": "optim.lrr is not a setting; did you mean optim.lr?",
    "optim.learning_rate=1": "did you mean optim.lr?",
    "trainer.epochs=3": "did you mean trainer.max_epochs?",
    "+optim.lrr=1": "did you mean optim.lr",
    "backbone=vgg61": "did you mean vgg16?",
    "+experiment=frozn_bn": "did you mean frozen_bn?",
    "experiment=frozn_bn": "did you mean frozen_bn?",
    "backbon=vgg16": "backbon is not a setting; did you mean backbone?",
    "+experimnt=x": "experimnt is not a setting; did you mean experiment?",
    "hydra.run.dri=x": "did you mean hydra.run.dir",
    "optim.lr=abc": "optim.lr is 'abc', but must be a number",
    "optim.lr=-1": "optim.lr is -1.0, but must be greater than 0",
    "data.image_size=[10,99]": "data.image_size is 10",
    "data.image_size=[99]": "data.image_size is [99], but must be two numbers: [height, width]",
    "data.root=seeds": "is no folder",
    "data=~/my/seeds": "data=folder data.root=~/my/seeds",
    "optim.lr=(1": "optim.lr is '(1', but must be a number",
    "data=seeds/": "data=folder data.root=seeds/",
    "frozen_bn": "+experiment=frozen_bn?",
    "--experiment=frozen_bn": "without dashes: experiment=frozen_bn",
    "--multirum": "did you mean --multirun?",
    "optim.lr": "can't be read",
    "head.dropout=0.1,0.2": "add -m",
    "data=folder": "data.root is not set",
    "resume=nowhere": "resume=nowhere holds neither a run",
    "trainer.max_epochs=0": "must be at least 1",
    "head.class_weights=foo": "none, balanced",
}


class Stub:
    """Stands for training: remembers its calls, fails or stops on demand."""

    def __init__(self) -> None:
        self.calls: list[tuple[Config, Path, str, bool]] = []
        self.fail: dict[str, BaseException] = {}

    def __call__(
        self, config: Config, run_dir: Path, *, label: str = "", resume: bool = False, **_: object
    ) -> dict:
        self.calls.append((config, run_dir, label, resume))
        (run_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
        if config.experiment.name in self.fail:
            raise self.fail[config.experiment.name]
        scores = {"loss": 1.0, "acc": 0.5 + config.seed / 10, "macro_f1": 0.4, "per_class_recall": {"a": 0.5}}
        metrics = {
            "label": label, "experiment": config.experiment.name, "seed": config.seed, "status": "finished",
            "backbone": "x", "batchnorm": config.batchnorm.name, "preprocess": "auto", "batch_size": 4, "epochs": 1,
            "best_epoch": 0, "train": scores, "val": scores, "test": scores, "wall_seconds": 1.0,
            "train_images": {"bn_gap": 0.25, "bn_gap_last": 0.25}, "images": {"val": {"a": 3, "b": 1}},
        }  # fmt: skip
        (run_dir / "metrics.json").write_text(json.dumps(metrics))
        return metrics


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, in_tmp: Path) -> Stub:
    made = Stub()
    monkeypatch.setattr(training, "train", made)
    return made


@pytest.mark.parametrize("override", sorted(MISTAKES))
def test_mistakes_get_one_sentence(override: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    assert main([override]) == 2
    error = capsys.readouterr().err
    assert MISTAKES[override] in error
    assert error.strip().count("\n") == 0
    assert "Traceback" not in error


LONG = "x" * 300
UNUSABLE = [
    *([verb, "{}"] for verb in ("train", "study", "diagnose", "predict", "report", "dashboard", "export", "resume")),
    ["{}"], ["resume={}"], ["data.root={}"], ["-m", "data.root={}"], ["paths.outputs={}"], ["paths.multirun={}", "-m"],
    ["hydra.run.dir={}"], ["--config-dir", "{}"], ["--config-name", "{}"], ["task=predict", "checkpoint={}"],
    ["task=diagnose", "diagnose.run={}"], ["task=diagnose", "diagnose.checkpoint={}"], ["task=export", "checkpoint={}"],
    ["backbone.weights={}", "data.demo.n_images=28"], ["data.manifest={}", "data.demo.n_images=28"],
    ["task=report", "report.dir={}"], ["experiment.name={}"],
    ["storage.path={}", "+study=head", "+experiment=frozen_bn", "study.name=s"],
]  # fmt: skip


TOO_LONG = [
    ["{}"],
    ["data.root={}"],
    ["-m", "data.root={}"],
    ["hydra.run.dir={}"],
    ["task=predict", "checkpoint={}"],
]


@pytest.mark.parametrize("line", UNUSABLE, ids=" ".join)
@pytest.mark.parametrize("name", ["file/below", pytest.param(LONG, marks=pytest.mark.slow)])
def test_a_path_that_cannot_be_is_one_sentence(
    line: list[str], name: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]
):
    _one_sentence_for(line, name, capsys)


@pytest.mark.parametrize("line", TOO_LONG, ids=" ".join)
def test_a_path_that_is_too_long_is_one_sentence(
    line: list[str], in_tmp: Path, capsys: pytest.CaptureFixture[str]
):
    _one_sentence_for(line, LONG, capsys)


def _one_sentence_for(line: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    assert main([word.format(name) for word in line]) == 2
    error = capsys.readouterr().err.strip()
    last = error.splitlines()[-1]
    assert last.startswith("seedsweep: ")
    assert "Traceback" not in error
    assert "defect" not in error


def test_a_folder_that_may_not_be_read_is_one_sentence(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    is_dir = Path.is_dir

    def refused(path: Path) -> bool:
        if path.name == "theirs":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", refused)
    assert main(["data.root=theirs"]) == 2
    assert "theirs can't be used (Permission denied): see who may" in capsys.readouterr().err


def test_mistakes_in_a_grid_stop_it_before_it_runs(stub: Stub, capsys: pytest.CaptureFixture[str]):
    assert main(["-m", "+experiment=scratch,frozn_bn"]) == 2
    assert "did you mean frozen_bn" in capsys.readouterr().err
    assert stub.calls == []


@pytest.mark.parametrize(
    "value", ["~/seeds", "a b (1)", r"^(IMG_\d+)_", 'say "so"', "ends\\", r"\"", "it's", "plain"]
)
def test_what_hydra_cannot_read_is_quoted(value: str):
    override, *_ = OverridesParser.create().parse_overrides(arrange([f"data.root={value}"]))
    assert str(override.value()) == value


def test_a_value_needs_no_quotes_of_hydras(stub: Stub, in_tmp: Path):
    """Bash leaves the ~ of data.root=~/seeds as it is, and Hydra's grammar has no ~."""
    assert main(["data.group_regex=~^(IMG_\\d+)_", "hydra.run.dir=r"]) == 0
    (in_tmp / "r" / "metrics.json").unlink()
    assert main(["resume=r"]) == 0
    assert [call[0].data.group_regex for call in stub.calls] == ["~^(IMG_\\d+)_"] * 2


@pytest.mark.parametrize(
    "arguments", [["data=folder", "data.root=gone"], ["data=folder"], ["data.root=gone"]]
)
def test_a_wrong_folder_stops_a_grid_before_it_runs(
    arguments: list[str], stub: Stub, in_tmp: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["-m", "+experiment=scratch,frozen_bn", *arguments]) == 2
    assert "data.root" in capsys.readouterr().err
    assert stub.calls == []
    assert not (in_tmp / "multirun").exists()
    assert main([*arguments, "--cfg", "job"]) == 0, "the configuration can be looked at without images"


def test_an_error_after_hydra_has_left_gets_a_sentence():
    error = ConfigCompositionException("Could not override 'head.gone'.\nTo append it, use +")
    assert "head.gone is not a setting" in sentence(error, ["head.gone=1"])


def test_help_lists_every_experiment(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0
    page = capsys.readouterr().out
    for path in (conf_dir() / "experiment").glob("*.yaml"):
        teaches = OmegaConf.load(path).experiment.teaches
        assert path.stem in page
        assert teaches in page
    assert "batch_stats" in page


def test_a_kill_while_settings_are_written_loses_none(
    stub: Stub, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
):
    stub.fail["frozen_bn"] = KeyboardInterrupt()
    run = ["+experiment=frozen_bn", "seed=3", "hydra.run.dir=r"]
    assert main(run) == 130
    notes = in_tmp / "r/.hydra"
    before = {path.name: path.read_bytes() for path in notes.iterdir()}
    assert sorted(before) == ["config.yaml", "hydra.yaml", "overrides.yaml"]

    def killed(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("seedsweep.whole.os.replace", killed)
        assert main(["resume=r", "trainer.max_epochs=2"]) == 130
    assert {path.name: path.read_bytes() for path in notes.iterdir()} == before
    stub.fail.clear()
    assert main(["resume=r"]) == 0
    assert stub.calls[-1][0].seed == 3


def test_a_run_has_its_folder_and_the_resolved_config(stub: Stub, in_tmp: Path):
    assert main(["+experiment=frozen_bn", "optim.lr=1e-4"]) == 0
    config, folder, label, resume = stub.calls[0]
    assert folder.parent == in_tmp / "outputs" / "frozen_bn"
    assert (config.optim.lr, label, resume) == (1e-4, "frozen_bn", False)
    assert OmegaConf.load(folder / ".hydra" / "config.yaml").optim.lr == 1e-4


def test_a_used_folder_is_not_overwritten(stub: Stub, in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["hydra.run.dir=here"]) == 0
    assert main(["hydra.run.dir=here"]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert len(stub.calls) == 1


def test_resume_repeats_the_overrides(stub: Stub, in_tmp: Path):
    stub.fail["frozen_bn"] = KeyboardInterrupt()
    command = ["+experiment=frozen_bn", "data.group_regex='^(a b)_'", "hydra.run.dir=my run"]
    assert main(command) == 130
    del stub.fail["frozen_bn"]
    assert main(["resume=my run"]) == 0
    first, second = stub.calls
    assert second[3]
    assert first[1] == second[1]
    assert first[0].data == second[0].data
    assert main(["resume=my run"]) == 0
    assert len(stub.calls) == 2


def test_resume_and_advice_keep_the_name_of_the_config(stub: Stub, in_tmp: Path):
    (in_tmp / "mine").mkdir()
    (in_tmp / "mine/other.yaml").write_text("defaults:\n  - config\n  - _self_\nseed: 7\n")
    options = ["--config-dir", "mine", "--config-name", "other"]
    assert main([*options, "optim.lr=1e-2", "hydra.run.dir=run"]) == 0
    (in_tmp / "run/metrics.json").unlink()
    assert main(["resume=run"]) == 0
    assert [call[0].seed for call in stub.calls] == [7, 7]
    assert read_recorded(in_tmp / "run/.hydra/hydra.yaml").options[2:] == ["--config-name", "other"]
    said = command_line_of(in_tmp / "run")
    assert said is not None
    made = said.composed(["optim.lr=1e-3"])
    assert made is not None
    assert (made.seed, made.optim.lr) == (7, 1e-3)
    assert main([*options, "-m", "batchnorm=train,inference", "hydra.sweep.dir=grid"]) == 0
    assert read_recorded(in_tmp / "grid/multirun.yaml").options[2:] == ["--config-name", "other"]


@pytest.mark.parametrize("words", [["seed=1,2"], ["-m", "seed=1,2"], ["-m", "seed=1"], ["+sweep=demo"]])
def test_a_grid_is_not_shown(words: list[str], in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["+experiment=frozen_bn", *words, "--cfg", "job"]) == 2
    assert "--cfg and --info show one run: leave out -m and the lists of values." in capsys.readouterr().err


def test_a_finished_run_keeps_its_record(stub: Stub, in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["+experiment=frozen_bn", "hydra.run.dir=here"]) == 0
    notes = {path: path.read_bytes() for path in Path("here/.hydra").iterdir()}
    assert main(["resume=here", "optim.lr=0.5"]) == 2
    assert "(optim.lr was 0.001 and is 0.5)" in capsys.readouterr().err
    assert main(["resume=here", "trainer.max_epochs=3"]) == 0
    assert (
        "nothing to do (trainer.max_epochs was 25 and is 3: that needs a new run)" in capsys.readouterr().out
    )
    for task in ("predict", "export", "report", "diagnose"):
        assert main(["resume=here", f"task={task}"]) == 2
        assert f"here is of task=train, and task={task} would overwrite" in capsys.readouterr().err
        assert main([f"task={task}", "hydra.run.dir=here"]) == 2
        assert "holds a run already" in capsys.readouterr().err
    assert main(["-m", "seed=1,2", "hydra.sweep.dir=here"]) == 2
    assert "here holds a single run, and no grid" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("here/.hydra").iterdir()} == notes
    assert not Path("here/multirun.yaml").exists()
    assert len(stub.calls) == 1


def test_a_defect_is_named_and_logged(stub: Stub, in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    stub.fail["custom"] = ZeroDivisionError("division by zero")
    assert main(["hydra.run.dir=d"]) == 3
    assert "ZeroDivisionError" in (in_tmp / "d" / "error.log").read_text()
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.slow  # the README's test runs the same sweep with one seed
def test_the_arms_sweep_runs_every_arm_with_three_seeds(stub: Stub, in_tmp: Path):
    params = OmegaConf.load(conf_dir() / "sweep" / "arms.yaml").hydra.sweeper.params
    assert params.seed == "1,2,3"  # one of them is run here: each job costs Hydra half a second
    assert main(["-m", "+sweep=arms", "data=demo", "backbone=efficientnet_lite0", "seed=1"]) == 0
    arms = {call[0].experiment.name for call in stub.calls}
    assert {"scratch", "frozen_inception", "frozen_bn", "frozen_vgg16", "finetune_bn"} <= arms
    assert len(stub.calls) == len(arms) == len(params["+experiment"].split(","))
    assert {call[0].backbone.name for call in stub.calls if call[0].experiment.name == "frozen_vgg16"} == {
        "vgg16"
    }
    assert stub.calls[0][1].parent.parent == in_tmp / "multirun" / "arms"


def test_experiments_of_the_users_own(stub: Stub, in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    (in_tmp / "mine" / "experiment").mkdir(parents=True)
    (in_tmp / "mine" / "experiment" / "ours.yaml").write_text(
        "# @package _global_\nexperiment: {name: ours, teaches: something}\nhead: {width: 7}\n"
    )
    assert main(["--config-dir", "mine", "+experiment=ours", "hydra.run.dir=r"]) == 0
    assert stub.calls[0][0].head.width == 7
    assert main(["--config-dir", "mine", "--help"]) == 0
    assert "something" in capsys.readouterr().out


def test_completion(in_tmp: Path):
    line = "seedsweep batchnorm=ba"
    result = subprocess.run(
        [sys.executable, "-m", "seedsweep", "-sc", "query=bash"],
        env={**__import__("os").environ, "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_CWORD": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "batchnorm=batch_stats" in result.stdout


def test_a_wrong_path_is_told_before_pytorch_is_loaded(tmp_path: Path):
    """PyTorch takes seconds, ten where the disk is slow; another process, for here it is loaded already."""
    code = (
        "import sys; from seedsweep.cli.main import main; line = ['data=folder', 'data.root=nowhere']; "
        "codes = [main(line), main(['task=diagnose', *line]), main(['-m', 'seed=1,2', *line])]; "
        "codes += [main(named.split()) for named in sys.argv[1:]]; "
        "sys.exit(f'{codes} {\"torch\" in sys.modules}')"
    )
    named = {
        "task=diagnose diagnose.run=no": "diagnose.run=no is no finished run",
        "task=diagnose diagnose.checkpoint=no": "diagnose.checkpoint=no is no file",
        "task=predict checkpoint=no data.root=.": "checkpoint=no is no file",
        "task=predict checkpoint=x data.root=. predict.out=a.xlsx": "predict.out=a.xlsx must end in",
        "task=export checkpoint=x data.root=no": "data.root=no is no folder",
    }
    (tmp_path / "x").touch()
    command = [sys.executable, "-c", code, *named]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    *said, end = done.stderr.splitlines()
    assert end == f"{[2] * 8} False"
    assert all("nowhere is no folder" in line for line in said[:3])
    assert all(there in line for there, line in zip(named.values(), said[3:], strict=True))
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


@pytest.mark.parametrize(
    ("task", "end"),
    [
        *((task, "well") for task in ("report", "predict", "export", "diagnose")),
        ("predict", "writes"), ("export", "sentence"), ("report", "defect"), ("diagnose", "stopped"),
    ],
)  # fmt: skip
def test_a_task_that_writes_elsewhere_leaves_no_folder(
    task: str, end: str, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
):
    def run(config: Config, folder: Path, **_: object) -> None:
        if end == "writes":
            (folder / "predictions.csv").write_text("path")
        if end == "sentence":
            raise SeedsweepError("no such checkpoint.")
        if end == "defect":
            raise ValueError
        if end == "stopped":
            raise KeyboardInterrupt

    monkeypatch.setattr(f"seedsweep.cli.tasks.{task}.run", run)
    code = main([f"task={task}"])
    assert code == {"well": 0, "writes": 0, "sentence": 2, "defect": 3, "stopped": 130}[end]
    left = {path.name for path in in_tmp.rglob("*") if path.is_file() and path.parent.name != ".hydra"}
    assert left == {"writes": {"predictions.csv"}, "defect": {"error.log"}}.get(end, set())
    assert left or list(in_tmp.iterdir()) == []


def test_only_an_empty_folder_of_ours_is_removed(in_tmp: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("seedsweep.cli.tasks.report.run", lambda *_, **__: None)
    (in_tmp / "outputs/earlier").mkdir(parents=True)
    assert main(["task=report"]) == 0
    assert [path.name for path in (in_tmp / "outputs").iterdir()] == ["earlier"]
    assert main(["task=report", "hydra.run.dir=mine"]) == 0
    assert (in_tmp / "mine/.hydra").is_dir()


def test_a_single_command_composes_its_settings_once(in_tmp: Path, monkeypatch: pytest.MonkeyPatch):
    composed: list[tuple[str, ...]] = []
    compose = ConfigLoaderImpl.load_configuration

    def count(loader: ConfigLoaderImpl, config_name: str, overrides: list[str], *args: Any, **named: Any):
        composed.append(tuple(overrides))
        return compose(loader, config_name, overrides, *args, **named)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", count)
    monkeypatch.setattr("seedsweep.cli.tasks.report.run", lambda *_, **__: None)
    assert main(["task=report", "report.dir=.", "+experiment=frozen_bn"]) == 0
    assert len(composed) == 1


def test_a_tilde_in_a_file_is_the_users_home(in_tmp: Path, monkeypatch: pytest.MonkeyPatch):
    """Hydra makes folders of runs and of grids, and takes a ~ for a name."""
    monkeypatch.setenv("HOME", str(in_tmp / "home"))
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/mine.yaml").write_text(
        "# @package _global_\nexperiment: {name: mine}\npaths: {outputs: ~/results, multirun: ~/grids}\n"
    )
    folders: list[Path] = []
    monkeypatch.setattr("seedsweep.cli.tasks.report.run", lambda config, folder, **_: folders.append(folder))
    line = ["task=report", "report.dir=.", "+experiment=mine", "--config-dir", "mine"]
    assert main(line) == 0
    assert main(["-m", *line, "seed=1,2"]) == 0
    home = in_tmp / "home"
    assert folders[0].parent == home / "results/mine"
    assert {folder.parents[1] for folder in folders[1:]} == {home / "grids/grid"}
    assert not Path("~").exists()


def test_a_defect_before_any_folder_is_there_has_a_file_of_its_own(tmp_path: Path):
    code = (
        "from seedsweep.cli import main as cli; cli._main = lambda args: 1 / 0; raise SystemExit(cli.main())"
    )
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    (log,) = tmp_path.glob("seedsweep-*.log")
    assert done.returncode == 3
    assert done.stderr == (
        f"seedsweep: a defect of ours (ZeroDivisionError: division by zero); the details are in {log}.\n"
    )
    assert "Traceback" in log.read_text()
