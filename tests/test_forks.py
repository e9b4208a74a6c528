"""Batches made in processes: as in threads, only elsewhere."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from seedsweep import cores
from seedsweep.data import ahead as of_ahead
from seedsweep.data import forks
from seedsweep.data.ahead import ahead, answered
from seedsweep.data.forks import in_forks, pay
from seedsweep.data.pixels import Pixels
from seedsweep.errors import SeedsweepError

pytestmark = pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs Linux")


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_ahead, "pay", lambda n: True)


def photographs(folder: Path, n: int) -> list[Path]:
    paths = [folder / f"{i}.png" for i in range(n)]
    for i, path in enumerate(paths):
        Image.fromarray(np.full((20, 30, 3), 10 * i, dtype=np.uint8)).save(path)
    return paths


@pytest.mark.usefixtures("always")
def test_batches_come_in_order_from_other_processes():
    offset = 10  # forks see what this process has

    def work(some: Sequence[int]) -> tuple[int, Tensor]:
        return os.getpid(), torch.tensor(some) + offset

    before = torch.get_rng_state()
    found = list(ahead(list(range(11)), work, 4, forked=True))
    assert [some for some, _ in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert [made.tolist() for _, (_, made) in found] == [[10, 11, 12, 13], [14, 15, 16, 17], [18, 19, 20]]
    assert os.getpid() not in {process for _, (process, _) in found}
    assert torch.equal(torch.get_rng_state(), before), "a run's random numbers are its own"


@pytest.mark.usefixtures("always")
def test_threads_stay_threads():
    found = list(ahead(list(range(5)), lambda some: os.getpid(), 2))
    assert {process for _, process in found} == {os.getpid()}


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (SeedsweepError("a.jpg was removed"), SeedsweepError, "^a.jpg was removed$"),
        (OSError("disk"), OSError, "^disk$"),
        (KeyError("x"), RuntimeError, "^KeyError: 'x'$"),
    ],
)
def test_an_error_comes_after_the_results_before_it(error: Exception, kind: type[Exception], said: str):
    def work(some: Sequence[int]) -> int:
        if some[0] == 2:
            raise error
        return some[0]

    results = in_forks([[0], [1], [2], [3]], work)
    assert [next(results), next(results)] == [([0], 0), ([1], 1)]
    with pytest.raises(kind, match=said):
        next(results)


def test_a_killed_process_is_told_in_a_sentence():
    def work(some: Sequence[int]) -> int:
        if some[0] == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return some[0]

    with pytest.raises(SeedsweepError, match=r"a process that reads images was ended .* start it again"):
        list(in_forks([[0], [1], [2]], work))


def test_whoever_stops_early_leaves_no_process():
    results = in_forks([[i] for i in range(50)], lambda some: os.getpid())
    _, process = next(results)
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


@pytest.mark.parametrize(
    ("n", "n_cores", "free", "wanted"),
    [(5000, 16, 2**40, True), (100, 16, 2**40, False), (5000, 2, 2**40, False), (5000, 16, 2**26, False)],
)
def test_when_they_pay(n: int, n_cores: int, free: int, wanted: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cores, "count", lambda: n_cores)
    monkeypatch.setattr(forks.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free}))
    monkeypatch.setattr(forks.sys, "platform", "linux")
    assert pay(n) is wanted


class Sum:
    """An engine that says it computes on a GPU."""

    name, at_once, device = "sum", 2, torch.device("cuda")

    def __call__(self, images: Tensor) -> Tensor:
        return images.double().mean((1, 2, 3)).float()[:, None]


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("keep", [True, False])
def test_a_gpu_is_fed_by_processes_with_the_same_pixels(keep: bool, tmp_path: Path):
    paths, engine = photographs(tmp_path, 9), Sum()
    pixels = Pixels(paths, (16, 24), keep)
    processes = set()

    def load(some: Sequence[int]) -> tuple[int, Tensor]:
        return os.getpid(), pixels.batch(np.asarray(some), as_decoded=True)

    def answer(loaded: tuple[int, Tensor]) -> list[float]:
        processes.add(loaded[0])
        return engine(loaded[1])[:, 0].tolist()

    found = [value for _, _, values in answered(range(9), load, 4, answer, engine) for value in values]
    assert found == [10.0 * i for i in range(9)]
    assert os.getpid() not in processes
    held = pixels._have.all()
    assert held == keep, "what forks decoded is kept here, where anything is"
    if keep:
        for path in paths:
            path.unlink()
        assert pixels.batch([3])[0, 0, 0, 0] == 30


def test_the_order_of_values_changes_no_pixel(tmp_path: Path):
    pixels = Pixels(photographs(tmp_path, 3), (16, 24), keep=False)
    plain, decoded = pixels.batch([0, 2]), pixels.batch([0, 2], as_decoded=True)
    assert torch.equal(plain, decoded)
    assert plain.is_contiguous()
    assert decoded.is_contiguous(memory_format=torch.channels_last)


def test_a_selection_holds_what_was_decoded(tmp_path: Path):
    paths = photographs(tmp_path, 4)
    pixels = Pixels(paths, (16, 24), keep=True)
    pixels.batch([1, 3])
    part = pixels.select([0, 3])
    assert part._have.tolist() == [False, True]
    paths[3].unlink()
    assert part.batch([0, 1])[:, 0, 0, 0].tolist() == [0, 30]
