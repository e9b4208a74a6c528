"""Damaged files of our own: each is one sentence that names it and what can be used instead, and never a defect."""

import json
import shutil
from pathlib import Path

import pytest

from seedsweep.cli.main import main
from seedsweep.errors import DamagedError
from seedsweep.runs.csv_files import read_history, read_predictions
from seedsweep.whole import read_json

SMALL = [
    "backbone=timm", "backbone.name=test_resnet", "backbone.weights=none", "data.demo.n_images=70",
    "data.image_size=[32,32]", "data.batch_size=16", "head.width=8", "trainer.max_epochs=2", "features.engine=torch",
    "trainer.progress_bar=false", "trainer.accelerator=cpu", "trainer.probe_images=8", "batchnorm=inference",
]  # fmt: skip
DAMAGE = {
    "cut": lambda c: c[: len(c) // 2].rstrip(b"\n"),
    "empty": lambda c: b"",
    "noise": lambda c: b"\xff\x00{" + c[3:],
}
HOW = ["cut", pytest.param("empty", marks=pytest.mark.slow), pytest.param("noise", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run online, and a grid of two jobs."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*SMALL, "features=off", "hydra.run.dir=run", "report.write=false"]) == 0
        assert (
            main(
                [
                    "-m",
                    *SMALL,
                    "trainer.max_epochs=1",
                    "seed=1,2",
                    "hydra.sweep.dir=grid",
                    "report.write=false",
                ]
            )
            == 0
        )
    return folder


@pytest.fixture
def here(made: Path, in_tmp: Path) -> Path:
    shutil.copytree(made / "run", "run")
    shutil.copytree(made / "grid", "grid")
    return in_tmp


def damage(path: str, how: str) -> None:
    file = Path(path)
    file.write_bytes(DAMAGE[how](file.read_bytes()))


def sentence(capsys: pytest.CaptureFixture[str], line: list[str]) -> str:
    capsys.readouterr()
    assert main(line) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1, said
    assert "defect" not in said[0]
    return said[0]


RUN = {  # damaged file, command: what is said
    ("run/metrics.json", "task=report report.dir=run"): "delete it and go on with resume=",
    ("run/metrics.json", "task=diagnose diagnose.run=run"): "delete it and go on with resume=",
    ("run/metrics.json", "resume=run"): "delete it and go on with resume=",
    ("run/checkpoints/best.ckpt", "task=diagnose diagnose.run=run"): "run/checkpoints/last.ckpt",
    ("run/checkpoints/best.ckpt", "task=export checkpoint=run"): "run/checkpoints/last.ckpt",
    ("run/checkpoints/last.ckpt", "task=export checkpoint=run/checkpoints/last.ckpt"): "run/checkpoints/best.ckpt",
    ("run/.hydra/config.yaml", "task=diagnose diagnose.run=run"): "put back a copy of it. Or remove it, ",
    ("run/.hydra/hydra.yaml", "resume=run"): "put back a copy of it, or begin anew",
    ("run/history.csv", "task=diagnose diagnose.run=run"): "or delete it to go without the curves",
    ("run/manifest.csv", "task=diagnose diagnose.run=run"): "manifest.csv",
}  # fmt: skip


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("file", "line"), list(RUN))
def test_one_sentence(file: str, line: str, how: str, capsys: pytest.CaptureFixture[str]):
    damage(file, how)
    said = sentence(capsys, line.split())
    assert file in said
    assert RUN[file, line] in said


@pytest.mark.usefixtures("here")
def test_what_the_sentence_advises_works(capsys: pytest.CaptureFixture[str]):
    before = json.loads(Path("run/metrics.json").read_text())
    damage("run/metrics.json", "cut")
    Path("run/metrics.json").unlink()
    assert main(["resume=run"]) == 0
    after = json.loads(Path("run/metrics.json").read_text())
    assert all(after[key] == before[key] for key in ("val", "train", "test", "best_epoch", "status"))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("how", HOW)
def test_a_grid_whose_multirun_yaml_is_damaged_goes_by_its_copy(how: str, capsys: pytest.CaptureFixture[str]):
    damage("grid/multirun.yaml", how)
    assert main(["resume=grid"]) == 0
    damage("grid/multirun.yaml", how)
    damage("grid/.multirun.yaml", how)
    assert "multirun.yaml was not written by Hydra" in (said := sentence(capsys, ["resume=grid"]))
    assert "put back a copy of it, or begin anew" in said


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("how", HOW)
def test_a_grid_tells_of_a_job_whose_record_is_damaged(how: str, capsys: pytest.CaptureFixture[str]):
    jobs = sorted(path.parent for path in Path("grid").glob("*/metrics.json"))
    damage(str(jobs[0] / "metrics.json"), how)
    capsys.readouterr()
    assert main(["task=report", "report.dir=grid"]) == 0
    assert f"{jobs[0]}/metrics.json is damaged" in Path("grid/report.md").read_text().replace("\\", "")
    assert main(["resume=grid"]) == 1
    out = capsys.readouterr().out
    assert "1 run finished, 1 failed" in out
    assert f"{jobs[0].name}/metrics.json is damaged" in out
    (jobs[0] / "metrics.json").unlink()
    assert main(["resume=grid", "report.write=false"]) == 0
    assert "2 runs finished, 0 failed" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_a_grid_s_notes(capsys: pytest.CaptureFixture[str]):
    job = next(Path("grid").glob("0_*"))
    damage(str(job / "job.json"), "cut")
    assert main(["resume=grid"]) == 1
    out = capsys.readouterr().out
    assert f"{job.name}/job.json is damaged" in out
    (job / "job.json").unlink()
    (job / "failure.json").write_text("[")
    assert main(["resume=grid", "report.write=false"]) == 0
    assert "2 runs finished" in capsys.readouterr().out


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("how", HOW)
def test_a_report_goes_without_what_is_damaged_and_says_so(how: str, capsys: pytest.CaptureFixture[str]):
    Path("run/diagnosis").mkdir()
    Path("run/diagnosis/diagnosis.json").write_text('{"findings": []}')
    for file in ("history.csv", "predictions.csv", "diagnosis/diagnosis.json"):
        damage(f"run/{file}", how)
    damage("run/.hydra/config.yaml", how)
    assert main(["task=report", "report.dir=run", "report.gradcam=0"]) == 0
    out = capsys.readouterr().out
    for file in ("history.csv", "predictions.csv", "diagnosis.json"):
        assert f"{file} is damaged" in out, file


def test_predictions_and_history_are_checked(here: Path, caplog: pytest.LogCaptureFixture):
    path = Path("run/predictions.csv")
    assert set(read_predictions(Path("run"))) == {"val", "test"}
    head, *lines = path.read_text().splitlines(keepends=True)
    val = next(n for n, line in enumerate(lines) if ",val," in line)
    wrong = lines[val].replace(",0.", ",7.", 1)
    for changed in (lines[:-1], [*lines[:-1], lines[-1][:-9]], [*lines[:val], wrong, *lines[val + 1 :]]):
        path.write_text(head + "".join(changed))
        caplog.clear()
        assert read_predictions(Path("run")) == {}
        assert "predictions.csv is damaged" in caplog.text
    path.write_text("".join(lines))
    assert read_predictions(Path("run")) == {}
    history = Path("run/history.csv")
    rows = history.read_text().splitlines(keepends=True)
    for text in (
        "",
        rows[0] + rows[2],
        rows[0] + rows[1][:9] + "\n",
        rows[0] + rows[1] + rows[2].replace("1,", "x,", 1),
    ):
        history.write_text(text)
        with pytest.raises(DamagedError, match="delete it to go without"):
            read_history(history)


@pytest.mark.parametrize("content", ["", "[1]", "{", "nan", '{"a":', "[" * 100_000])
def test_a_missing_json_file_is_nothing_and_a_damaged_one_is_told(content: str, tmp_path: Path):
    path = tmp_path / "x.json"
    assert read_json(path) == {}
    path.write_text(content)
    with pytest.raises(DamagedError, match=r"x\.json is damaged .*: put back a copy of it"):
        read_json(path)
