"""Full and read-only disks: one sentence with the path, exit 2, and nothing is lost."""

# ruff: noqa: F811
import errno
import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from study_stub import Arm, arm, run  # noqa: F401
from test_grid import Trainer, trainer  # noqa: F401

from seedsweep import disk
from seedsweep.cli.main import main
from seedsweep.data.demo import ensure_demo
from seedsweep.study.options import StorageConfig
from seedsweep.study.storage import open_storage
from seedsweep.whole import replacing

MIB = 2**20


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no file system can be mounted here")


@pytest.fixture
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 1 MiB."""
    folder = tmp_path_factory.mktemp("small")
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can mount")
    _mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def make_read_only(folder: Path) -> None:
    _mount("-o", "remount,ro", str(folder))


def fill(folder: Path) -> None:
    (folder / "full").write_bytes(b"")
    with (folder / "full").open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(2**12))


def one_sentence(capsys: pytest.CaptureFixture[str], *parts: str, out: str = "") -> None:
    printed, error = capsys.readouterr()
    assert out in printed
    assert error.count("\n") == 1, error
    assert error.startswith("seedsweep: ")
    for part in parts:
        assert part in error


def writes_much(config: Any) -> None:
    for folder in Path(config.paths.outputs).glob("**/checkpoints"):
        (folder / "best.ckpt").write_bytes(bytes(2 * MIB))


LINES = {
    "run": ["+experiment=scratch", "paths.outputs=there"],
    "grid": ["-m", "+experiment=scratch,frozen_bn", "paths.outputs=there", "paths.multirun=there"],
}


@pytest.mark.parametrize("kind", LINES)
def test_full_before_and_while_it_runs(
    kind: str,
    small: Path,
    trainer: Trainer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("there").symlink_to(small)
    trainer.act = writes_much
    assert main(LINES[kind]) == 2
    one_sentence(
        capsys, "there/", "No space left on device", "make room there, or give another", out="resume="
    )
    assert len(trainer.calls) == 1, "a grid goes on to no other job"
    fill(small)
    trainer.calls.clear()
    assert main([*LINES[kind], "hydra.sweep.dir=there/b", "hydra.run.dir=there/b"]) == 2
    one_sentence(capsys, "there/", "No space left on device", "make room there, or give another")
    assert not trainer.calls


@pytest.mark.parametrize("kind", LINES)
def test_read_only(
    kind: str,
    small: Path,
    trainer: Trainer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("there").symlink_to(small)
    make_read_only(small)
    assert main(LINES[kind]) == 2
    one_sentence(capsys, "there/", "Read-only file system", "make it writable")


def test_a_study_on_a_full_disk_goes_on_when_there_is_room(
    small: Path,
    arm: Arm,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("outputs").symlink_to(small)

    def fills(config: Any) -> None:
        if len(arm.calls) == 3:
            fill(small)

    arm.act = fills
    assert run() == 2
    one_sentence(capsys, "outputs/studies/s", "No space left on device")
    assert run() == 2, "still"
    capsys.readouterr()
    arm.act = lambda config: None
    (small / "full").unlink()
    assert run() == 0
    storage = open_storage(StorageConfig("journal"), Path("outputs/studies/s"))
    trials = optuna.load_study(study_name="s", storage=storage).trials
    assert [t.user_attrs["slot"] for t in trials] == list(range(8))
    assert {t.state.name for t in trials} <= {"COMPLETE", "PRUNED"}, "no trial is to blame for the disk"


def test_a_full_disk_tears_no_line_of_the_journal(small: Path) -> None:
    study = optuna.create_study(storage=open_storage(StorageConfig("journal"), small), study_name="s")
    fill(small)
    journal = small / "study.journal"
    with pytest.raises(OSError, match="No space") as caught:
        study.set_user_attr("much", "x" * MIB)
    assert caught.value.filename == str(journal)
    assert journal.read_bytes().endswith(b"\n")
    (small / "full").unlink()
    study.set_user_attr("little", 1)
    again = optuna.load_study(study_name="s", storage=open_storage(StorageConfig("journal"), small))
    assert again.user_attrs == {"little": 1}


def test_the_path_is_named_by_who_writes(small: Path) -> None:
    path = small / "a.json"
    with pytest.raises(OSError, match="No space") as caught, replacing(path) as part:
        part.write_bytes(bytes(2 * MIB))
    assert disk.sentence(caught.value, {}) == (
        f"{path} can't be written (No space left on device): make room there."
    )
    assert os.listdir(small) == []


def test_an_error_without_a_path_is_looked_into(small: Path, tmp_path: Path) -> None:
    places = {"paths.outputs": tmp_path, "paths.cache": small / "cache"}
    bare = OSError(errno.ENOSPC, "No space left on device")
    said = disk.sentence(bare, places)
    assert said
    assert said.startswith("No space left on device: the least room, 1.0 MiB, is in"), "nothing refuses now"
    fill(small)
    torch = RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 968576 vs 968472")
    for error in (bare, torch, OSError("999 requested and 12 written")):
        assert disk.sentence(error, places) == (
            f"{small / 'cache'} can't be written (No space left on device): make room there, or give another "
            "paths.cache."
        )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no"), None),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), None),
        (FileNotFoundError(errno.ENOENT, "No such file", "/o/x"), None),
        (
            FileNotFoundError(errno.ENOENT, "No such file", "/o"),
            "/o can't be made (No such file or directory): give another paths.outputs.",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/root/x"),
            "/root/x can't be used (Permission denied)",
        ),
        (OSError(errno.EFBIG, "File too large", "/o/x"), "a file may not become so large here (ulimit -f)."),
        (OSError(errno.EROFS, "Read-only", "/o/x"), "make it writable, or give another paths.outputs."),
        (RuntimeError("unable to write to file </torch_12>"), "take data.workers=0"),
    ],
)
def test_sentences(error: Exception, said: str | None) -> None:
    found = disk.sentence(error, {"paths.outputs": Path("/o")})
    assert (said is None and found is None) or (said and found and said in found)
    wrapped = RuntimeError("outer")
    wrapped.__cause__ = error
    assert disk.sentence(wrapped, {"paths.outputs": Path("/o")}) == found


def test_a_log_that_cannot_be_written_is_no_matter_for_the_terminal(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)  # as ``streams.protect`` does
    handler = logging.FileHandler(small / "run.log")
    fill(small)
    handler.emit(logging.makeLogRecord({"msg": "x" * MIB}))
    assert capsys.readouterr().err == ""


def test_a_readable_cache_on_a_read_only_disk_is_used(
    small: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ensure_demo(Path(os.environ["SEEDSWEEP_CACHE"]), 70, 1)
    line = [
        "+experiment=frozen_bn", "backbone=efficientnet_lite0", "data.image_size=[32,32]", "data=folder",
        f"data.root={root}", "trainer.max_epochs=1", "report.write=false", f"paths.cache={small}",
    ]  # fmt: skip
    assert main([*line, "hydra.run.dir=first"]) == 0
    make_read_only(small)
    capsys.readouterr()
    assert main([*line, "hydra.run.dir=second"]) == 0
    out = capsys.readouterr().out
    assert f"features: all 70 images are in {small}" in out
    assert "online" not in out
    assert Path("second/predictions.csv").read_text() == Path("first/predictions.csv").read_text()
