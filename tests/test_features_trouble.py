"""Stored features when things go wrong: kill -9, company, eviction, a full disk, files that vanish."""

import errno
import json
import multiprocessing
import os
import random
import re
import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch
from test_features import cache, damaged, history, opened, quick, with_photographs
from test_training import processes
from torch import nn

from seedsweep.data.prepare import prepare_images
from seedsweep.errors import SeedsweepError
from seedsweep.features import budget, extract, feature_store
from seedsweep.features.engines import Engine
from seedsweep.features.feature_store import Space, View, locked
from seedsweep.training import route
from seedsweep.training.run import train

__all__ = ["cache"]  # the fixture

TRAIN = 38  # of the 70 photographs


def arm(run: Path, store: Path, epochs: int, tell: Connection | None = None) -> None:
    """One frozen arm in a process of its own; shards of one batch, so that there is much to interrupt."""
    extract.SHARD_IMAGES, extract.SHARD_SECONDS = 8, 0
    build = route.build_engine

    def telling(net: nn.Module, *args: object) -> Engine:
        engine = build(net, *args)  # type: ignore[arg-type]
        if tell is not None:
            tell.send("extracting")
        return engine

    route.build_engine = telling  # type: ignore[assignment]
    more = [
        "features=required",
        "features.batch_size=8",
        "trainer.patience=0",
        f"trainer.max_epochs={epochs}",
    ]
    train(quick(f"paths.cache={store}", *more), run, pictures=False)


def started(run: Path, store: Path, epochs: int) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    ours, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=arm, args=(run, store, epochs, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def finished(process: multiprocessing.process.BaseProcess) -> None:
    process.join(120)
    assert process.exitcode == 0


@pytest.fixture
def stores(tmp_path: Path) -> list[Path]:
    """Two caches with the photographs drawn."""
    return [with_photographs(tmp_path / name) for name in ("one", "other")]


def rows_of(store: Path, views: int) -> dict[str, dict[str, bytes]]:
    """Returns each view's rows; fails unless each image stands there once, and nothing else lies about."""
    spaces = [folder for folder in (store / "features").iterdir() if folder.is_dir()]
    assert len(spaces) == 1
    assert damaged(spaces[0]) == []
    assert {path.name for path in spaces[0].iterdir() if path.is_file()} == {"space.json", ".lock"}
    found: dict[str, dict[str, bytes]] = {}
    for view in (path for path in spaces[0].iterdir() if path.is_dir()):
        names = {path.name for path in view.iterdir()} - {".lock"}
        assert names == {
            f"{stem}{end}" for stem in {n.split(".")[0] for n in names} for end in (".npy", ".json")
        }
        rows = [
            (image, row.tobytes())
            for shard in feature_store.read_shards(view)
            for image, row in zip(shard.images, shard.array, strict=True)
        ]
        found[view.name] = dict(rows)
        assert len(rows) == len(found[view.name]) == (70 if view.name == "plain" else TRAIN)
    assert len(found) == 1 + views
    return found


def scores(run: Path) -> dict[str, object]:
    metrics = json.loads((run / "metrics.json").read_text())
    return {key: metrics[key] for key in ("best_epoch", "train", "val", "test", "status")}


def killed_and_resumed(stores: list[Path], tmp_path: Path, kills: int, epochs: int) -> None:
    undisturbed, begun = started(tmp_path / "a", stores[0], epochs)
    assert begun.recv() == "extracting"
    since = time.perf_counter()
    finished(undisturbed)
    # a life lasts long enough to store something now and then; all together are too short to finish, if the machine
    # keeps its pace
    longest = (time.perf_counter() - since) / kills
    random_moment = random.Random()
    for _ in range(kills):
        process, begun = started(tmp_path / "b", stores[1], epochs)
        assert begun.recv() == "extracting"
        time.sleep(random_moment.uniform(0, longest))
        process.kill()
        process.join()
        assert process.exitcode == -9, "it had finished: there was nothing left to interrupt"
    process, _ = started(tmp_path / "b", stores[1], epochs)
    finished(process)
    assert history(tmp_path / "a") == history(tmp_path / "b")
    assert scores(tmp_path / "a") == scores(tmp_path / "b")
    assert rows_of(stores[0], epochs) == rows_of(stores[1], epochs)


@pytest.mark.slow
def test_killed_while_extracting(stores: list[Path], tmp_path: Path) -> None:
    killed_and_resumed(stores, tmp_path, kills=3, epochs=6)


@pytest.mark.slow
def test_killed_twenty_times_while_extracting(stores: list[Path], tmp_path: Path) -> None:
    killed_and_resumed(stores, tmp_path, kills=20, epochs=60)


def test_two_at_once_extract_each_image_once(tmp_path: Path) -> None:
    """Each with a view, and so a lock, of its own, as two processes have."""
    images, seen = [str(n) for n in range(20)], []
    both = threading.Barrier(2)

    class Counts(Mean):
        def __call__(self, batch: torch.Tensor) -> torch.Tensor:
            seen.append(len(batch))
            time.sleep(0.01)
            return super().__call__(batch)

    def load(some: Sequence[str]) -> torch.Tensor:
        return torch.ones(len(some), 3, 4, 4)

    def one() -> tuple[int, tuple[int, ...]]:
        view = space(tmp_path).view("plain")
        both.wait(20)
        extracted = extract.extract(view, images, load, Counts, 2, "float32")
        return extracted, tuple(view.take(images).shape)

    with ThreadPoolExecutor(2) as pool:
        found = [task.result(60) for task in [pool.submit(one), pool.submit(one)]]
    assert sorted(found) == [(0, (20, 3)), (20, (20, 3))]
    assert sum(seen) == 20


@pytest.mark.slow
def test_two_processes_extract_once(stores: list[Path], tmp_path: Path) -> None:
    both = [started(tmp_path / name, stores[0], 3) for name in ("a", "b")]
    for process, _ in both:
        finished(process)
    assert history(tmp_path / "a") == history(tmp_path / "b")
    rows_of(stores[0], 3)
    logs = "".join((tmp_path / name / "run.log").read_text() for name in ("a", "b"))
    assert sum(int(n) for n in re.findall(r"features: (\d+) images in", logs)) == 70 + 3 * TRAIN


def test_what_is_evicted_meanwhile_stays_readable_and_comes_again(cache: str) -> None:
    images = opened(quick(cache, "augment=light", "trainer.max_epochs=2", "data.cache_gib=0"))
    everything = torch.arange(70)
    before, first = images.plain[everything], images.training_features(0)
    assert not isinstance(first, torch.Tensor)
    drawn = first[torch.arange(TRAIN)]
    assert budget.remove(images.space.folder)
    assert torch.equal(images.plain[everything], before)
    assert torch.equal(first[torch.arange(TRAIN)], drawn)
    extracted = images.extracted
    images.training_features(1)
    assert images.extracted == extracted + TRAIN, "the second epoch's view"
    assert torch.equal(images.training_features(0)[torch.arange(TRAIN)], drawn)
    assert images.extracted == extracted + 2 * TRAIN
    assert [space.about["backbone"] for space in budget.spaces_in(images.space.folder.parent)] == [
        "test_resnet"
    ]


def space(root: Path) -> Space:
    return Space(root, {"net": "x"}, {"backbone": "x"})


def filled(root: Path) -> View:
    view = space(root).view("plain")
    with view.locked():
        view.add(["a", "b"], np.ones((2, 3), np.float32))
        view.load()
    return view


def test_what_is_being_written_is_not_removed(tmp_path: Path) -> None:
    view = filled(tmp_path)
    with view.locked():
        assert not budget.remove(view.space.folder)
        assert damaged(view.space.folder) == []
    assert view.folder.is_dir()
    assert budget.remove(view.space.folder)
    assert list(tmp_path.iterdir()) == []
    with view.locked():  # made again
        assert view.missing(["a"]) == ["a"]


def test_a_lock_outlives_its_folder(tmp_path: Path) -> None:
    """Whoever waits while the folder goes must get the lock of the new folder, not that of the old one."""
    for _ in range(3):
        with locked(tmp_path / "x"):
            assert (tmp_path / "x" / ".lock").exists()
        shutil.rmtree(tmp_path / "x")


def test_leftovers_of_killed_processes_go(tmp_path: Path) -> None:
    view = filled(tmp_path)
    half_removed = tmp_path / "0123-99.removed"
    shutil.copytree(view.space.folder, half_removed)
    good = {path.name for path in view.folder.iterdir()}
    for name in ("1.part", "2.npy", "3.json"):
        (view.folder / name).write_bytes(b"half")
    (view.space.folder / "space.part").write_text("{")
    with view.locked():
        assert {path.name for path in view.folder.iterdir()} == good
        assert view.missing(["a", "b", "c"]) == ["c"]
    assert {path.name for path in view.space.folder.iterdir()} == {"space.json", ".lock", "plain"}
    assert [each.folder for each in budget.spaces_in(tmp_path)] == [view.space.folder]
    assert not half_removed.exists()


@pytest.mark.parametrize("epoch", [None, 1], ids=["images", "a view"])
def test_a_full_disk(
    epoch: int | None,
    cache: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Before the training the run goes online; in its midst it ends with a sentence. No half file stays."""
    save, room = np.save, [1 if epoch is None else 3]

    def full(file: IO[bytes], array: np.ndarray, **options: bool) -> None:
        room[0] -= 1
        if room[0] < 0:
            file.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(file, array, **options)

    monkeypatch.setattr(feature_store.np, "save", full)
    monkeypatch.setattr(extract, "SHARD_IMAGES", 64 if epoch is None else 256)
    monkeypatch.setattr(extract, "SHARD_SECONDS", 0)
    config = quick(cache, "trainer.max_epochs=4")
    if epoch is None:
        metrics = train(config, tmp_path / "run", pictures=False)
        assert "can't be written" in metrics["features"]["reason"]
        assert "No space left" in metrics["features"]["reason"]
    else:
        with pytest.raises(SeedsweepError, match=r"No space left on device.*make room") as raised:
            train(config, tmp_path / "run", pictures=False)
        assert len(str(raised.value).splitlines()) == 1
    files = [path for path in (tmp_path / "cache" / "features").rglob("*") if path.is_file()]
    assert len([path for path in files if path.suffix == ".npy"]) == (1 if epoch is None else 3)
    assert not [path for path in files if path.suffix == ".part"]


def test_a_disk_that_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = space(tmp_path).view("plain")
    monkeypatch.setattr(view, "add", lambda *_: None)
    with pytest.raises(OSError, match="does not keep"):
        extract.extract(
            view, ["a"], lambda some: torch.ones(len(some), 3, 4, 4), lambda: Mean(), 2, "float32"
        )


class Mean:
    name, at_once = "mean", 2
    scale = 1.0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean((2, 3)) * self.scale


@pytest.mark.parametrize("error", [KeyboardInterrupt, SeedsweepError("gone")])
def test_stopped_with_batches_under_way(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes in the main thread, an unreadable file in a decoder's: what was handed over is kept."""
    view, images = space(tmp_path).view("plain"), [str(n) for n in range(20)]

    def load(some: Sequence[str]) -> torch.Tensor:
        if isinstance(error, SeedsweepError) and "10" in some:
            raise error
        return torch.ones(len(some), 3, 4, 4)

    class Bar:
        def advance(self, *_: object) -> None:
            self.calls = getattr(self, "calls", 0) + 1
            if error is KeyboardInterrupt and self.calls == 5:
                raise KeyboardInterrupt

        def add_task(self, *_: object, **__: object) -> int:
            return 0

    monkeypatch.setattr(extract, "image_bar", lambda _: nullcontext(Bar()))
    with pytest.raises((KeyboardInterrupt, SeedsweepError)):
        extract.extract(view, images, load, Mean, 2, "float32")
    view.load()
    assert view.missing(images) == images[10:]


def test_features_too_large_for_float16(tmp_path: Path) -> None:
    view, engine = space(tmp_path).view("plain"), Mean()
    engine.scale = 7e4
    with pytest.raises(SeedsweepError, match="float16 can't hold features up to 7e\\+04"):
        extract.extract(
            view, ["a"], lambda some: torch.ones(len(some), 3, 4, 4), lambda: engine, 2, "float16"
        )


def test_large_rows_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "SHARD_BYTES", 4 * 3 * 4)  # four rows of three numbers
    view = space(tmp_path).view("plain")
    images = [str(n) for n in range(11)]
    assert (
        extract.extract(view, images, lambda some: torch.ones(len(some), 3, 4, 4), Mean, 2, "float32") == 11
    )
    assert [len(shard.images) for shard in feature_store.read_shards(view.folder)] == [4, 4, 3]
    assert view.take(images).shape == (11, 3)


def test_stopped_while_a_shard_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add, calls = View.add, []

    def interrupted(view: View, images: list[str], array: np.ndarray) -> None:
        calls.append(images)
        if len(calls) == 2:
            raise KeyboardInterrupt
        add(view, images, array)

    monkeypatch.setattr(extract, "SHARD_BYTES", 2 * 3 * 4)  # a batch
    monkeypatch.setattr(View, "add", interrupted)
    view, images = space(tmp_path).view("plain"), [str(n) for n in range(8)]
    with pytest.raises(KeyboardInterrupt):
        extract.extract(view, images, lambda some: torch.ones(len(some), 3, 4, 4), Mean, 2, "float32")
    view.load()
    assert view.missing(images) == images[4:], "what was gathered is there"


def test_a_file_that_vanishes_after_it_was_checked(cache: str, tmp_path: Path) -> None:
    config = quick(cache, "data.cache_gib=0")
    prepared = prepare_images(config.data, Path(config.paths.cache))
    path = prepared.pixels.paths[3]
    path.rename(tmp_path / "away.jpg")
    try:
        with pytest.raises(
            SeedsweepError, match=rf"{path.name} was removed or changed while the run went on \(no such"
        ):
            prepared.pixels.batch([2, 3])
    finally:
        (tmp_path / "away.jpg").rename(path)
