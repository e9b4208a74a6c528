"""`compose`, `train` and `load_run`: a run from Python is the run of the command line."""

import numpy as np
import pytest
import torch
import yaml
from test_training import SMALL
from tiny_net import tiny_net

import seedsweep as ss
from seedsweep.cli.main import main
from seedsweep.runs.record import FINISHED, RunRecord

STORED = [o for o in SMALL if o not in ("features=off", "augment=light")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> ss.Run:
    """Settings of an experiment, one more on its line, one changed afterwards."""
    config = ss.compose("+experiment=frozen_bn", *STORED, "optim.lr=3e-3")
    config.head.width = 12
    return ss.train(config, tmp_path_factory.mktemp("runs") / "mine")


def test_a_run_reads_what_the_folder_holds(trained):
    assert trained.record.status == trained.metrics["status"] == FINISHED
    assert isinstance(trained.record, RunRecord)
    assert trained.record.as_dict() == trained.metrics
    assert [row["epoch"] for row in trained.history] == [0, 1]
    val = trained.predictions["val"]
    assert ss.stats.accuracy(val.correct, val.groups).value == pytest.approx(trained.metrics["val"]["acc"])
    net = trained.model()
    assert not net.training
    with torch.no_grad():
        assert net(torch.full((2, 3, 32, 32), 128.0)).shape == (2, len(val.classes))
    assert ss.load_run(trained.folder) == trained
    assert ss.load_run(str(trained.folder)).metrics == trained.metrics


def test_a_run_without_a_checkpoint_has_no_model(tmp_path):
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(ss.SeedsweepError, match=r"best\.ckpt is missing"):
        ss.load_run(tmp_path).model()


def test_the_run_is_the_one_of_the_command_line(trained, tmp_path):
    recorded = yaml.safe_load((trained.folder / ".hydra/overrides.yaml").read_text())
    assert recorded[0] == "+experiment=frozen_bn"
    assert {"optim.lr=0.003", "head.width=12"} <= set(recorded)
    folder = tmp_path / "theirs"
    assert main([*recorded, f"hydra.run.dir={folder}"]) == 0
    theirs = ss.load_run(folder)
    timed = ("wall_seconds", "digests")
    assert {k: v for k, v in theirs.metrics.items() if k not in timed} == {
        k: v for k, v in trained.metrics.items() if k not in timed
    }
    for name in ("split", "images", "weights"):
        assert getattr(theirs.record.digests, name) == getattr(trained.record.digests, name)
    ours = yaml.safe_load((trained.folder / ".hydra/config.yaml").read_text())
    assert yaml.safe_load((folder / ".hydra/config.yaml").read_text()) == ours
    assert set(path.name for path in folder.iterdir()) == set(path.name for path in trained.folder.iterdir())


def test_the_command_line_resumes_and_explains_a_run_from_python(trained, capsys):
    assert main([f"resume={trained.folder}"]) == 0
    assert "is finished already: nothing to do" in capsys.readouterr().out
    assert main(["task=report", f"report.dir={trained.folder}"]) == 0


def test_a_stopped_run_goes_on(tmp_path, monkeypatch):
    config = ss.compose(*SMALL, *tiny_net(), "trainer.max_epochs=2")
    folder = tmp_path / "run"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("seedsweep.training.run.write_manifest", stop)
        with pytest.raises(KeyboardInterrupt):
            ss.train(config, folder)
    with pytest.raises(ss.SeedsweepError, match=r"no metrics\.json"):
        ss.load_run(folder)
    assert ss.train(config, folder, resume=True).record.epochs == 2
    stamp = (folder / "metrics.json").stat().st_mtime_ns
    assert ss.train(config, folder, resume=True).folder == folder
    assert (folder / "metrics.json").stat().st_mtime_ns == stamp, "a finished run is not trained again"


def test_a_folder_is_never_overwritten(trained):
    before = (trained.folder / ".hydra/config.yaml").read_bytes()
    with pytest.raises(ss.SeedsweepError, match="holds a run already: give another folder, or resume=True"):
        ss.train(ss.compose(*STORED), trained.folder)
    assert (trained.folder / ".hydra/config.yaml").read_bytes() == before


def test_without_a_folder_it_is_named_as_the_command_line_names_it(in_tmp, monkeypatch):
    folders = []
    monkeypatch.setattr(
        "seedsweep.cli.tasks.train.run",
        lambda config, folder, **_: folders.append(folder) or (folder / "metrics.json"),
    )
    for _ in range(2):
        ss.train(ss.compose("+experiment=frozen_bn"))
    assert [folder.parts[:2] for folder in folders] == [("outputs", "frozen_bn")] * 2
    assert folders[0] != folders[1]


def test_values_are_checked_when_they_are_used(tmp_path):
    config = ss.compose()
    config.optim.lr = -1.0
    with pytest.raises(ss.SeedsweepError, match=r"optim.lr is -1.0"):
        ss.train(config, tmp_path / "run")
    config = ss.compose()
    config.data.image_size = "large"  # type: ignore[assignment]
    with pytest.raises(ss.SeedsweepError, match=r"data.image_size"):
        ss.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["optim.lrr=1"], "optim.lrr is not a setting; did you mean optim.lr"),
        (["backbone.freeze=perhaps"], "must be true or false"),
        (["+experiment=frozen_bm"], "did you mean frozen_bn"),
        (["seed=1,2"], "list of values"),
        (["data.root=/no/such/folder"], "/no/such/folder"),
        (["-m", "seed=1,2"], "-m is an option of the command line"),
    ],
)
def test_compose_refuses_as_the_command_line_does(overrides, words):
    with pytest.raises(ss.SeedsweepError, match=words):
        ss.compose(*overrides)


def test_compose_reads_a_folder_of_ones_own(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text(
        "# @package _global_\ndefaults: [frozen_bn, _self_]\nexperiment: {name: mine}\noptim: {lr: 0.007}\n"
    )
    config = ss.compose("+experiment=mine", config_dir=tmp_path)
    assert (config.experiment.name, config.optim.lr, config.batchnorm.name) == ("mine", 0.007, "inference")


def test_other_tasks_are_refused(tmp_path):
    config = ss.compose()
    config.task = "cache"
    with pytest.raises(ss.SeedsweepError, match="of task=cache: use the command line"):
        ss.train(config, tmp_path)
    with pytest.raises(ss.SeedsweepError, match="needs the folder"):
        ss.train(ss.compose(), resume=True)


def test_predictions_of_two_runs_are_compared(trained):
    right = trained.predictions["val"].correct
    found = ss.stats.compare(right, np.zeros_like(right))
    assert found.difference.value == pytest.approx(trained.metrics["val"]["acc"])
