"""The engine of a GPU: its rules everywhere, its numbers where there is one."""

import gc
import logging
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from test_engines import NETS, net, photos, shallow, worst
from torch import Tensor, nn

from seedsweep.errors import SeedsweepError
from seedsweep.features import engine_choice as select
from seedsweep.features import graphs, torch_engine
from seedsweep.features.graphs import Lanes
from seedsweep.features.options import FeaturesConfig
from seedsweep.features.torch_engine import CudaEngine

CPU, SIZE = torch.device("cpu"), (3, 8, 8)
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Double(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.float().mean((2, 3)) * 2


class Done:
    """What is asked of a GPU is there once it was waited for."""

    def __init__(self, there: Tensor, answer: Tensor) -> None:
        self.there, self.answer = there, answer

    def synchronize(self) -> None:
        self.there.copy_(self.answer)


class FakeLane:
    """A lane that computes here; what it can't hold is up to the test."""

    room: Callable[[int, int], bool] = staticmethod(lambda images, lanes: True)
    recorded = True
    made = 0

    def __init__(self, net: graphs.Net, size: object, images: int, device: object) -> None:
        if not FakeLane.room(images, FakeLane.made):
            raise torch.OutOfMemoryError("full")
        FakeLane.made += 1
        self.net, self.images, self.inside = net, images, threading.Lock()

    def enqueue(self, images: Tensor) -> tuple[Tensor, Done]:
        assert len(images) <= self.images
        assert self.inside.acquire(blocking=False), "by one thread at a time"
        answer = self.net(images)
        self.inside.release()
        there = torch.full_like(answer, float("nan"))
        return there, Done(there, answer)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeLane]:
    monkeypatch.setattr(graphs, "Lane", FakeLane)
    monkeypatch.setattr(FakeLane, "made", 0)
    monkeypatch.setattr(FakeLane, "room", staticmethod(lambda images, lanes: True))
    return FakeLane


@pytest.mark.usefixtures("fake")
def test_any_number_of_images_from_several_threads():
    engine = CudaEngine(Double(), SIZE, "float32", CPU)
    images = photos(101, SIZE)
    truth = Double()(images)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(engine, torch.split(images, 40)))
    assert torch.allclose(torch.cat(found), truth)
    assert torch.allclose(engine(images[:1]), truth[:1])


@pytest.mark.parametrize(
    ("room", "images", "lanes"),
    [
        (lambda images, lanes: lanes < 2, 32, 2),
        (lambda images, lanes: images <= 5, 4, 4),
        (lambda images, lanes: images == 1 and lanes < 1, 1, 1),
    ],
)
def test_a_small_gpu_gets_fewer_lanes_or_smaller_pieces(
    room: Callable[[int, int], bool],
    images: int,
    lanes: int,
    fake: type[FakeLane],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(fake, "room", staticmethod(room))
    made = Lanes(SIZE, CPU)
    made.record(Double())
    assert (made.images, fake.made) == (images, lanes)
    pixels = photos(40, SIZE)
    assert torch.allclose(made(pixels), Double()(pixels))


def test_a_gpu_too_small_for_one_image_says_so(fake: type[FakeLane], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fake, "room", staticmethod(lambda images, lanes: False))
    with pytest.raises(torch.OutOfMemoryError):
        Lanes(SIZE, CPU).record(Double())


def test_what_has_no_room_leaves_the_net_before_it(fake: type[FakeLane], monkeypatch: pytest.MonkeyPatch):
    """Other threads wait for a lane meanwhile, with pieces of the size that it was."""
    made, images = Lanes(SIZE, CPU), photos(64, SIZE)
    made.record(Double())
    monkeypatch.setattr(fake, "room", staticmethod(lambda images, lanes: images < 32))
    with pytest.raises(torch.OutOfMemoryError):
        made.record(lambda pixels: Double()(pixels) * 0)
    assert torch.allclose(made(images), Double()(images))
    monkeypatch.setattr(fake, "room", staticmethod(lambda images, lanes: lanes < graphs.LANES + 1))
    made.record(lambda pixels: Double()(pixels) * 2)
    assert torch.allclose(made(images), Double()(images) * 2), "one lane is enough"


def test_an_engine_that_is_dropped_is_gone(fake: type[FakeLane]):
    gc.disable()
    try:
        engine = CudaEngine(Double(), SIZE, "float32", CPU)
        alive = weakref.ref(engine)
        del engine
        assert alive() is None, "a cycle would keep the GPU's memory until the next collection"
    finally:
        gc.enable()


def test_a_full_gpu_is_told_in_a_sentence(fake: type[FakeLane], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fake, "room", staticmethod(lambda images, lanes: False))
    build = lambda net, size, precision, device: CudaEngine(net, size, precision, CPU)  # noqa: E731
    monkeypatch.setattr(torch_engine, "build", build)
    with pytest.raises(SeedsweepError, match=r"no room for one image's pass.* trainer.accelerator=cpu"):
        select.build_engine(Double(), SIZE, FeaturesConfig(engine="torch"), CPU)


def test_what_can_not_be_recorded_runs_in_one_lane(fake: type[FakeLane], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fake, "recorded", False)
    Lanes(SIZE, CPU).record(Double())
    assert fake.made == 1


class Compiled:
    """``torch.compile`` that only counts."""

    def __init__(self, error: Exception | None = None) -> None:
        self.times, self.error = 0, error

    def __call__(self, net: nn.Module, dynamic: bool) -> nn.Module:
        self.times += 1
        if self.error is not None:
            raise self.error
        return net


@pytest.mark.usefixtures("fake")
def test_who_has_many_images_compiles_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    compiled = Compiled()
    monkeypatch.setattr(torch_engine.torch, "compile", compiled)
    caplog.set_level(logging.INFO)
    engine, images = CudaEngine(Double(), SIZE, "float32", CPU), photos(3, SIZE)
    for _ in range(3):
        engine(images)
    assert compiled.times == 0, "few images never wait for it"
    monkeypatch.setattr(CudaEngine, "compile_after", 0.0)
    for _ in range(3):
        assert torch.allclose(engine(images), Double()(images))
    assert compiled.times == 1
    assert "the net is compiled" in caplog.text


@pytest.mark.usefixtures("fake")
def test_without_a_compiler_it_goes_on(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    compiled = Compiled(RuntimeError("no C compiler\nat all"))
    monkeypatch.setattr(torch_engine.torch, "compile", compiled)
    caplog.set_level(logging.INFO)
    engine, images = CudaEngine(Double(), SIZE, "float32", CPU), photos(3, SIZE)
    engine.compile()
    engine.compile()
    assert compiled.times == 1
    assert torch.allclose(engine(images), Double()(images))
    assert "can't be used here (no C compiler); going on without" in caplog.text


@on_a_gpu
@pytest.mark.parametrize("name", sorted(NETS))
def test_a_gpu_agrees_with_plain_pytorch(name: str):
    plain, size = net(name)
    images = photos(37, size)
    with torch.no_grad():
        truth = plain(images)
    made = select.build_engine(plain, size, FeaturesConfig(), torch.device("cuda"))
    assert worst(made(images).cpu(), truth) < 1e-4
    assert worst(made(images[:3].float().cuda()).cpu(), truth[:3]) < 1e-4, "a last batch, warped, on the GPU"
    half = select.build_engine(plain, size, FeaturesConfig(precision="bfloat16"), torch.device("cuda"))
    # EfficientNet-Lite0 on small photographs: .105 on a CPU, .117 on an H200
    assert 1e-4 < worst(half(images).cpu(), truth) < 0.2


@on_a_gpu
def test_a_gpu_answers_threads_and_compiled_as_before():
    plain, size = shallow()
    images = photos(300, size)
    with torch.no_grad():
        truth = plain(images)
    made = CudaEngine(plain, size, "float32", torch.device("cuda"))
    assert made._lanes._count == graphs.LANES
    for _ in range(2):
        with ThreadPoolExecutor(made.at_once) as pool:
            found = list(pool.map(lambda part: made(part).cpu(), torch.split(images, 32)))
        assert worst(torch.cat(found), truth) < 1e-4
        made.compile()


class Asks(nn.Module):
    """Needs a value on its way: no CUDA graph can hold that."""

    def forward(self, pixels: Tensor) -> Tensor:
        mean = pixels.mean((2, 3))
        return mean * 2 if mean.sum().item() > -1 else mean


@on_a_gpu
def test_a_gpu_runs_what_it_can_not_record():
    made, images = CudaEngine(Asks(), SIZE, "float32", torch.device("cuda")), photos(70, SIZE)
    assert made._lanes._count == 1
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert torch.allclose(made(images).cpu(), images.float().mean((2, 3)) * 2, rtol=1e-5)
