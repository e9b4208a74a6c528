"""Batches made in processes: as in threads, only elsewhere."""

import gc
import io
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from torch import Tensor

from seedsweep import cores
from seedsweep.data import ahead as of_ahead
from seedsweep.data import shared
from seedsweep.data.ahead import answered
from seedsweep.data.forks import Forks, pay
from seedsweep.data.pixels import Pixels
from seedsweep.data.shared import Slots
from seedsweep.errors import SeedsweepError

pytestmark = pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs Linux")


def in_forks(batches: list[list[int]], work: Callable[[Sequence[int]], Any], held: int) -> Iterator[Any]:
    with closing(Forks(batches, work, held)) as forks:
        yield from forks.results()


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_ahead, "pay", lambda n: True)


class Litter:
    """Garbage that only its own process may collect, as a GPU's memory."""

    def __init__(self) -> None:
        self.me, self.process = self, os.getpid()

    def __del__(self) -> None:
        if os.getpid() != self.process:
            os._exit(3)


def test_forks_leave_the_garbage_of_others_alone():
    def work(some: Sequence[int]) -> int:
        gc.collect()
        return some[0]

    Litter()
    assert [item for _, item in in_forks([[0], [1], [2]], work, 0)] == [0, 1, 2]
    assert gc.isenabled()


@pytest.mark.slow
def test_they_end_with_whoever_began_them(tmp_path: Path):
    """A process that is killed can't say goodbye."""
    code = (
        "import os, time\n"
        "from seedsweep import cores\n"
        "from seedsweep.data.forks import Forks\n"
        "cores.count = lambda: 3\n"
        "def work(some):\n"
        "    time.sleep(.2)\n"
        "    return os.getpid()\n"
        "results = Forks([[i] for i in range(999)], work, 0).results()\n"
        "print(*(next(results)[1] for _ in range(9)), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    said = tmp_path / "said"
    with said.open("w") as file:  # a pipe would stay open as long as they live
        subprocess.run([sys.executable, "-c", code], stdout=file, timeout=60, check=False)
    processes = [int(word) for word in said.read_text().split()]
    assert len(set(processes)) == 3
    deadline = time.monotonic() + 20
    while any(map(psutil.pid_exists, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(psutil.pid_exists, processes))


def photographs(folder: Path, n: int) -> list[Path]:
    paths = [folder / f"{i}.png" for i in range(n)]
    for i, path in enumerate(paths):
        Image.fromarray(np.full((20, 30, 3), 10 * i, dtype=np.uint8)).save(path)
    return paths


def test_batches_come_in_order_from_other_processes():
    offset = 10  # forks see what this process has

    def work(some: Sequence[int]) -> tuple[int, Tensor]:
        return os.getpid(), torch.tensor(some) + offset

    before = torch.get_rng_state()
    batches = [list(range(at, at + 4)) for at in range(0, 80, 4)]
    found = [(some, process, made.tolist()) for some, (process, made) in in_forks(batches, work, 0)]
    assert [some for some, _, _ in found] == batches
    assert [made for _, _, made in found] == [[item + offset for item in some] for some in batches]
    assert os.getpid() not in {process for _, process, _ in found}
    assert torch.equal(torch.get_rng_state(), before), "a run's random numbers are its own"


@pytest.mark.parametrize("held", [0, 3])
def test_results_in_use_stay_as_they_are(held: int):
    taken: list[tuple[int, Tensor]] = []
    for (item,), made in in_forks([[i] for i in range(60)], lambda some: torch.full((5,), some[0]), held):
        assert all((tensor == number).all() for number, tensor in taken[-held:] if held)
        assert (made == item).all()
        taken.append((item, made))
    assert any((tensor != number).any() for number, tensor in taken), "memory is used again"


@pytest.mark.parametrize(
    "message",
    [
        {"a": torch.arange(6).view(2, 3), "b": [torch.rand(3, 1).double(), torch.zeros(0)], "c": 5},
        torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        (None, torch.tensor(3.0), torch.rand(4, 6)[:, ::2], torch.rand(3).bfloat16(), torch.tensor([True])),
    ],
)
def test_messages_keep_their_tensors(message: object):
    slots = Slots(2)
    content = slots.packed(1, lambda: message)
    assert len(content) < 600, "tensors go another way"
    torch.testing.assert_close(slots.unpacked(1, content), message, check_stride=False)
    if isinstance(message, Tensor):
        assert slots.unpacked(1, content).stride() == message.stride()


def test_what_has_no_room_comes_all_the_same(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared, "SLOT_BYTES", 4096)
    message = [torch.rand(1000), torch.rand(1000), torch.arange(4)]
    slots = Slots(1)
    torch.testing.assert_close(slots.unpacked(0, slots.packed(0, lambda: message)), message)


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

    results = in_forks([[0], [1], [2], [3]], work, 1)
    assert [next(results), next(results)] == [([0], 0), ([1], 1)]
    with pytest.raises(kind, match=said):
        next(results)


@pytest.mark.parametrize("n", [3, 300])  # all of them asked for when it happens, or not
def test_a_killed_process_is_told_in_a_sentence(n: int):
    def work(some: Sequence[int]) -> int:
        if some[0] == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return some[0]

    with pytest.raises(SeedsweepError, match="a process that reads images was ended from outside"):
        list(in_forks([[i] for i in range(n)], work, 1))


def children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def lives(process: psutil.Process) -> bool:
    """Whether it still does anything."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_whoever_stops_early_leaves_no_process():
    work = lambda some: time.sleep(60 if some[0] else 0)  # noqa: E731
    before, started = children(), time.monotonic()
    results = in_forks([[i] for i in range(50)], work, 1)
    next(results)
    left = children() - before
    results.close()
    while any(map(lives, left)) and time.monotonic() < started + 20:
        time.sleep(0.01)
    assert left
    assert not any(map(lives, left))


@pytest.mark.parametrize(
    ("n", "n_cores", "wanted"),
    [(5000, 16, True), (100, 16, False), (5000, 2, False)],
)
def test_when_they_pay(n: int, n_cores: int, wanted: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cores, "count", lambda: n_cores)
    assert pay(n) is wanted


def test_what_can_not_be_sent_is_an_error_of_its_batch():
    with pytest.raises(RuntimeError, match="lambda"):
        list(in_forks([[0]], lambda some: lambda: None, 0))


def test_a_warning_does_not_wait_for_the_lock_of_a_progress_bar(monkeypatch: pytest.MonkeyPatch):
    class Locked(io.StringIO):
        def write(self, text: str) -> int:
            time.sleep(60)
            return 0

    def work(some: Sequence[int]) -> int:
        print("corrupt EXIF data", file=sys.stderr)
        return some[0]

    monkeypatch.setattr(sys, "stderr", Locked())
    started = time.monotonic()
    assert [item for _, item in in_forks([[0], [1]], work, 0)] == [0, 1]
    assert time.monotonic() - started < 30


def test_ctrl_c_is_for_whoever_began_them():
    def work(some: Sequence[int]) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return some[0]

    before = signal.getsignal(signal.SIGINT)  # ignored, where the tests run in a shell's background
    assert [item for _, item in in_forks([[0], [1]], work, 0)] == [0, 1]
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


class Gpu:
    """A registry in the place of the driver's: what is pinned, by address."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pinned: dict[int, int] = {}
        self.events: list[str] = []
        monkeypatch.setattr(shared, "_gpu_in_use", lambda: True)
        monkeypatch.setattr(shared, "_registered", self.register)
        monkeypatch.setattr(shared.torch.cuda, "cudart", lambda: self)

    def register(self, there: Tensor, n: int) -> bool:
        assert there.data_ptr() not in self.pinned, "twice is an error"
        self.pinned[there.data_ptr()] = n
        return True

    def cudaHostUnregister(self, address: int) -> None:  # noqa: N802
        del self.pinned[address]
        self.events.append("released")


def test_a_message_is_pinned_to_its_end(monkeypatch: pytest.MonkeyPatch):
    """A copy that begins in pinned memory and ends elsewhere is an error of the driver."""
    gpu, slots = Gpu(monkeypatch), Slots(2)
    for n in (10, 5000, 100):
        found = slots.unpacked(1, slots.packed(1, lambda n=n: (torch.ones(3), torch.arange(n))))
        end = found[1].data_ptr() + found[1].numel() * 8
        ((start, size),) = gpu.pinned.items()
        assert end <= start + size
    slots.unpin()
    assert gpu.pinned == {}


@pytest.mark.usefixtures("always")
def test_memory_is_kept_until_the_last_answer(monkeypatch: pytest.MonkeyPatch):
    gpu, engine = Gpu(monkeypatch), Sum()

    def answer(images: Tensor) -> float:
        first = images.clone()
        time.sleep(0.005)
        assert torch.equal(images, first), "it was written again while it was read"
        assert any(images.data_ptr() - start in range(size) for start, size in gpu.pinned.items())
        gpu.events.append("answered")
        return float(first[0, 0, 0, 0])

    def load(some: Sequence[int]) -> Tensor:
        return shared.room(1, 3, 8, 8).fill_(some[0])

    assert [value for _, _, value in answered(range(60), load, 1, answer, engine)] == list(range(60))
    assert gpu.events[:60] == ["answered"] * 60
    assert gpu.pinned == {}


def refuse() -> NoReturn:
    raise BlockingIOError("Resource temporarily unavailable")


@pytest.mark.usefixtures("always")
def test_threads_where_processes_can_not_be_had(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(os, "fork", refuse)
    caplog.set_level(logging.INFO)
    load = lambda some: torch.full((1, 3, 2, 2), float(some[0]))  # noqa: E731
    found = [value for _, _, value in answered(range(5), load, 1, lambda x: x.mean().item(), Sum())]
    assert found == [0, 1, 2, 3, 4]
    assert "threads read the images" in caplog.text


def test_nobody_waits_for_a_slow_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The first batch ends after all that are asked for with it, and so two processes have made those."""
    monkeypatch.setattr(cores, "count", lambda: 3)

    def work(some: Sequence[int]) -> int:
        number, deadline = some[0], time.monotonic() + 20
        while number == 0 and len(list(tmp_path.iterdir())) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        (tmp_path / str(number)).touch()
        return len(list(tmp_path.iterdir())) if number == 0 else number

    with closing(Forks([[i] for i in range(9)], work, 0)) as made:
        assert [result for _, result in made.results()] == [6, *range(1, 9)]


def test_nobody_is_begun_for_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cores, "count", lambda: 6)
    before = children()
    with closing(Forks([[0], [1]], lambda some: time.sleep(0.5), 0)) as made:
        results = made.results()
        next(results)
        assert len(children() - before) <= 2
        list(results)


def test_it_goes_on_with_those_it_got(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """The first process is had, and of the others that it and its like would fork every second one is refused."""
    fork, asked, me = os.fork, [0], os.getpid()

    def some_refused() -> int:
        asked[0] += 1
        return fork() if os.getpid() == me or asked[0] % 2 else refuse()

    monkeypatch.setattr(os, "fork", some_refused)
    monkeypatch.setattr(cores, "count", lambda: 8)
    caplog.set_level(logging.DEBUG)
    work = lambda some: (time.sleep(0.01), os.getpid())[1]  # noqa: E731
    found = list(in_forks([[i] for i in range(90)], work, 0))
    assert [item for (item,), _ in found] == list(range(90))
    assert 1 < len({process for _, process in found}) < 8
    assert "one process less reads the images" in caplog.text


def test_what_is_made_in_place_is_not_copied():
    def work(some: Sequence[int]) -> tuple[int, Tensor, Tensor]:
        batch = shared.room(4, 6, 3).fill_(some[0])
        return batch.data_ptr(), batch.permute(2, 0, 1), batch[1:, ::2, 1]

    for (item,), (address, batch, part) in in_forks([[i] for i in range(9)], work, 0):
        assert batch.data_ptr() == address, "memory is at the same place in all forks"
        assert (batch.shape, part.shape) == ((3, 4, 6), (3, 3))
        assert set(batch.unique().tolist() + part.unique().tolist()) == {item}
    assert shared.room(2, 2).shape == (2, 2), "as anywhere else"


def test_what_is_made_in_place_keeps_apart_from_what_is_copied(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared, "SLOT_BYTES", 4096)
    slots = Slots(1)

    def make() -> list[Tensor]:
        there = shared.room(700).fill_(1), torch.full((100,), 2.0), shared.room(900).fill_(3)
        return [*there, shared.room(4000).fill_(4)]

    for _ in range(2):
        found = slots.unpacked(0, slots.packed(0, make))
        assert [int(tensor.unique().item()) for tensor in found] == [1, 2, 3, 4]


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


@pytest.mark.parametrize("keep", [True, False])
def test_what_is_not_handed_over_takes_no_room(keep: bool, tmp_path: Path):
    """A batch that will be augmented leaves the slot to what comes of it."""
    pixels, slots = Pixels(photographs(tmp_path, 3), (16, 24), keep), Slots(1)
    for final, start in ((False, 0), (True, 2 * 3 * 16 * 24)):
        make = lambda final=final: pixels.batch([0, 2], as_decoded=True, final=final).float()  # noqa: E731
        made = slots.unpacked(0, slots.packed(0, make))
        assert made.data_ptr() - slots._bytes.data_ptr() == start
        assert made[:, 0, 0, 0].tolist() == [0, 20]


def test_a_selection_holds_what_was_decoded(tmp_path: Path):
    paths = photographs(tmp_path, 4)
    pixels = Pixels(paths, (16, 24), keep=True)
    pixels.batch([1, 3])
    part = pixels.select([0, 3])
    assert part.held([0, 1]).tolist() == [False, True]
    paths[3].unlink()
    assert part.batch([0, 1])[:, 0, 0, 0].tolist() == [0, 30]
