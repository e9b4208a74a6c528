"""Checkpoints: whole or not there, verified when read, and what a run goes on from when one is damaged."""

import csv
import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from composed import config_of

from seedsweep.cli.main import main
from seedsweep.errors import DamagedError, RefusedError, SeedsweepError
from seedsweep.models.checkpoint import BEST, LAST, PREVIOUS, read_checkpoint, write_checkpoint
from seedsweep.training import checkpoints
from seedsweep.training.checkpoints import checkpoint_to_resume
from seedsweep.training.run import train

SMALL = [
    "backbone=timm", "backbone.name=test_resnet", "backbone.weights=none", "data.demo.n_images=70",
    "data.image_size=[32,32]", "data.batch_size=16", "head.width=8", "trainer.max_epochs=3", "features=off",
    "trainer.progress_bar=false", "trainer.accelerator=cpu", "trainer.probe_images=8",
]  # fmt: skip
CONTENT = {
    "epoch": 2,
    "state_dict": {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(4), "h": torch.ones(2).bfloat16()},
    "seedsweep": {"classes": ["a", "ö"], "rate": 0.1, "none": None, "pair": (1, True)},
}


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("ran",)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that finished; beside it ``stopped``, as it was in its last epoch."""
    folder = tmp_path_factory.mktemp("checkpoints")
    with pytest.MonkeyPatch.context() as patch:

        def stop(rows: list[dict[str, float]]) -> None:
            if len(rows) == 3:
                raise RuntimeError("killed")

        patch.chdir(folder)
        with pytest.raises(RuntimeError, match="killed"):
            train(config_of(*SMALL), folder / "stopped", on_epoch=stop, pictures=False)
        shutil.copytree(folder / "stopped", folder / "reference")
        train(config_of(*SMALL), folder / "reference", resume=True, pictures=False)
    return folder


def stopped(reference: Path, to: Path) -> Path:
    shutil.copytree(reference / "stopped", to)
    return to


def flip(path: Path, at: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 0xFF
    path.write_bytes(content)


def outcome(folder: Path) -> tuple[Any, ...]:
    metrics = json.loads((folder / "metrics.json").read_text())
    rows = list(csv.DictReader((folder / "history.csv").open()))
    for row in rows:
        row.pop("seconds")
    return metrics["val"], metrics["train"], metrics["best_epoch"], rows


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path):
    write_checkpoint(CONTENT, tmp_path / "a.ckpt")
    again = read_checkpoint(tmp_path / "a.ckpt")
    assert list(again) == list(CONTENT)
    for name, tensor in CONTENT["state_dict"].items():  # type: ignore[attr-defined]
        assert torch.equal(again["state_dict"][name], tensor)
    assert again["seedsweep"] == CONTENT["seedsweep"]
    assert list(tmp_path.iterdir()) == [tmp_path / "a.ckpt"]


def test_no_code_in_a_checkpoint_is_run(reference: Path, in_tmp: Path):
    folder = stopped(reference, in_tmp / "run")
    for path in (folder / "checkpoints").glob("*.ckpt"):
        torch.save({"state_dict": {}, "evil": Evil()}, path)
        with pytest.raises(DamagedError):
            read_checkpoint(path)
    with pytest.raises(SeedsweepError, match="no whole checkpoint to go on from"):
        train(config_of(*SMALL), folder, resume=True, pictures=False)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DamagedError):
        read_checkpoint(path)
    assert not Path("ran").exists()


def test_a_kill_before_the_rename_leaves_the_checkpoint_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Killed at each call that changes the folder: there is always a whole last.ckpt, or the one before it."""
    path = tmp_path / LAST
    write_checkpoint(CONTENT, path)
    later = CONTENT | {"epoch": 3}

    class Killed(BaseException):
        pass

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    for name in ("torch.save", "os.fsync", "os.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(name, kill)
            with pytest.raises(Killed):
                write_checkpoint(later, path)
        left = path if path.is_file() else path.with_name(PREVIOUS)
        assert read_checkpoint(left)["epoch"] == 2
        left.replace(path)
    write_checkpoint(later, path)
    assert read_checkpoint(path)["epoch"] == 3
    assert read_checkpoint(path.with_name(PREVIOUS))["epoch"] == 2


def test_tmpdir_has_no_part_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    write_checkpoint(CONTENT, tmp_path / LAST)
    assert read_checkpoint(tmp_path / LAST)["epoch"] == 2


def test_a_run_writes_its_checkpoints_by_our_own_means(reference: Path):
    kept = {path.name for path in (reference / "stopped" / "checkpoints").iterdir()}
    assert kept == {BEST, LAST, PREVIOUS}
    assert sorted(path.name for path in (reference / "reference" / "checkpoints").iterdir()) == [BEST, LAST]


@pytest.mark.parametrize("damaged", [[LAST], [LAST, PREVIOUS]])
def test_a_run_goes_on_from_the_last_whole_checkpoint(
    damaged: list[str], reference: Path, in_tmp: Path, caplog: pytest.LogCaptureFixture
):
    folder = stopped(reference, in_tmp / "run")
    flip(folder / "checkpoints" / LAST)
    if PREVIOUS in damaged:
        part = folder / "checkpoints" / PREVIOUS
        part.write_bytes(part.read_bytes()[:3000])
    train(config_of(*SMALL), folder, resume=True, pictures=False)
    assert outcome(folder) == outcome(reference / "reference")
    used = BEST if PREVIOUS in damaged else PREVIOUS
    assert f"goes on from {folder}/checkpoints/{used}" in caplog.text
    assert f"{LAST} is damaged" in caplog.text


STATE = {"w": torch.zeros(9999)}


def checkpoint(path: Path, *accuracies: float) -> None:
    """Writes the checkpoint of the last of some epochs with these validation accuracies."""
    rows = {"rows": [{"val/acc": accuracy} for accuracy in accuracies]}
    content = {"epoch": len(accuracies) - 1, "state_dict": STATE, "optimizer_states": [], "loops": {}}
    write_checkpoint(content | {"callbacks": {"Recorder": rows}}, path)


def test_the_best_weights_are_looked_for_before_any_training(tmp_path: Path):
    checkpoint(tmp_path / LAST, 0.8, 0.6)
    with pytest.raises(
        RefusedError, match=r"best\.ckpt is missing, and the weights of the best epoch so far, 1, are"
    ):
        checkpoint_to_resume(tmp_path, STATE)
    checkpoint(tmp_path / BEST, 0.8)
    assert checkpoint_to_resume(tmp_path, STATE) == tmp_path / LAST
    flip(tmp_path / BEST)
    with pytest.raises(RefusedError, match=r"best\.ckpt is damaged, and .* or delete \S+ to train the run"):
        checkpoint_to_resume(tmp_path, STATE)


def test_a_kill_before_the_best_was_copied_loses_nothing(tmp_path: Path):
    checkpoint(tmp_path / BEST, 0.6)
    checkpoint(tmp_path / LAST, 0.6, 0.8)
    assert checkpoint_to_resume(tmp_path, STATE) == tmp_path / LAST
    assert read_checkpoint(tmp_path / BEST)["epoch"] == 1


@pytest.mark.parametrize("damaged", [False, True])
def test_a_best_that_is_later_than_the_others_is_gone_on_from(damaged: bool, tmp_path: Path):
    """An earlier version wrote it first; or the last one is damaged since."""
    checkpoint(tmp_path / LAST, 0.6)
    if damaged:
        checkpoint(tmp_path / LAST, 0.6, 0.8)
        flip(tmp_path / LAST)
    checkpoint(tmp_path / BEST, 0.6, 0.8)
    assert checkpoint_to_resume(tmp_path, STATE) == tmp_path / BEST
    assert checkpoints.read_best(tmp_path, [{"val/acc": 0.6}]) is None or not damaged


def test_a_run_interrupted_before_its_best_was_copied_has_it(tmp_path: Path):
    checkpoint(tmp_path / BEST, 0.6)
    checkpoint(tmp_path / LAST, 0.6, 0.8)
    best = checkpoints.read_best(tmp_path, [{"val/acc": 0.6}, {"val/acc": 0.8}])
    assert best is not None
    assert best["epoch"] == 1
    assert checkpoints.read_best(tmp_path, []) is None


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(5, "Input/output error"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory_is_no_damage(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any, **__: Any) -> None:
        raise error

    write_checkpoint(CONTENT, tmp_path / LAST)
    monkeypatch.setattr("torch.load", fail)
    with pytest.raises(type(error)):
        read_checkpoint(tmp_path / LAST)


def test_only_what_is_damaged_is_called_so(tmp_path: Path):
    write_checkpoint(CONTENT, tmp_path / BEST)  # of a run on stored features: no training goes on from it
    checkpoint(tmp_path / LAST, 0.8)
    flip(tmp_path / LAST)
    with pytest.raises(SeedsweepError, match=r"no whole checkpoint to go on from \(last\.ckpt is damaged\)"):
        checkpoint_to_resume(tmp_path, STATE)


def test_a_moved_run_keeps_its_best_epoch(reference: Path, in_tmp: Path):
    folder = stopped(reference, in_tmp / "moved")
    train(config_of(*SMALL), folder, resume=True, pictures=False)
    assert outcome(folder) == outcome(reference / "reference")


def test_nothing_whole_is_one_sentence(reference: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    folder = in_tmp / "run"
    assert main([*SMALL, "trainer.max_epochs=1", f"hydra.run.dir={folder}", "report.write=false"]) == 0
    (folder / "metrics.json").unlink()
    for path in (folder / "checkpoints").glob("*.ckpt"):
        flip(path)
    capsys.readouterr()
    assert main([f"resume={folder}"]) == 2
    said = capsys.readouterr().err
    assert "no whole checkpoint to go on from" in said
    assert "delete this folder" in said
    assert len(said.strip().splitlines()) == 1


def test_a_checkpoint_of_another_net_is_no_defect(reference: Path, in_tmp: Path):
    folder = stopped(reference, in_tmp / "run")
    with pytest.raises(SeedsweepError, match="another net"):
        train(config_of(*SMALL, "head.width=9"), folder, resume=True, pictures=False)


def test_weights_that_are_not_finite_are_refused(
    reference: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
):
    path = stopped(reference, in_tmp / "run") / "checkpoints" / LAST
    content = read_checkpoint(path)
    content["state_dict"]["classifier.head.3.bias"][0] = torch.nan
    write_checkpoint(content, path)
    with pytest.raises(SeedsweepError, match="not finite"):
        checkpoint_to_resume(path.parent, content["state_dict"])
    (in_tmp / "photos").mkdir()
    shutil.copy(next(Path(os.environ["SEEDSWEEP_CACHE"]).rglob("*.jpg")), in_tmp / "photos")
    assert main(["task=predict", f"checkpoint={path}", "data.root=photos"]) == 2
    assert "not finite (head.3.bias" in capsys.readouterr().err
    assert main(["task=export", f"checkpoint={path}"]) == 2


def test_wrong_sizes_in_the_archive_are_no_crash(tmp_path: Path):
    """A stored tensor that is shorter than its record says would be read beyond its end."""
    path = tmp_path / "a.ckpt"
    write_checkpoint(CONTENT, path)
    with zipfile.ZipFile(path) as archive:
        records = {info: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for info, data in records.items():
            archive.writestr(info.filename, data[:2] if "/data/" in info.filename else data)
    with pytest.raises(DamagedError):
        read_checkpoint(path)
