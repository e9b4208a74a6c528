"""The engine of a GPU: its rules everywhere, its numbers where there is one."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from test_engines import NETS, net, photos, shallow, worst
from torch import Tensor, nn

from seedsweep.errors import SeedsweepError
from seedsweep.features import engines
from seedsweep.features.options import FeaturesConfig
from seedsweep.features.torch_engine import TorchEngine

CPU, SIZE = torch.device("cpu"), (3, 8, 8)
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Double(nn.Module):
    """A net in a memory with room for some images."""

    def __init__(self, room: int = 1000) -> None:
        super().__init__()
        self.room = room

    def forward(self, pixels: Tensor) -> Tensor:
        if len(pixels) > self.room:
            raise torch.OutOfMemoryError("full")
        return pixels.float().mean((2, 3)) * 2


def test_any_number_of_images_from_several_threads():
    engine = TorchEngine(Double(), "float32", CPU)
    images = photos(101, SIZE)
    truth = Double()(images)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(engine, torch.split(images, 40)))
    assert torch.allclose(torch.cat(found), truth)
    assert torch.allclose(engine(images[:1]), truth[:1])


@pytest.mark.parametrize(("room", "largest"), [(1000, None), (20, 20), (5, 5), (1, 1)])
def test_a_small_gpu_gets_smaller_pieces(room: int, largest: int | None):
    engine, images = TorchEngine(Double(room), "float32", CPU), photos(40, SIZE)
    for _ in range(2):
        assert torch.allclose(engine(images), Double()(images))
    assert engine._largest == largest
    assert torch.allclose(engine(images[:3]), Double()(images[:3]))


def test_a_gpu_too_small_for_one_image_says_so():
    with pytest.raises(torch.OutOfMemoryError):
        TorchEngine(Double(0), "float32", CPU)(photos(4, SIZE))


def test_a_full_gpu_is_told_in_a_sentence():
    with pytest.raises(SeedsweepError, match=r"no room for one image's pass.* trainer.accelerator=cpu"):
        engines.build_engine(Double(0), SIZE, FeaturesConfig(engine="torch"), CPU)


@on_a_gpu
@pytest.mark.parametrize("name", sorted(NETS))
def test_a_gpu_agrees_with_plain_pytorch(name: str):
    plain, size = net(name)
    images = photos(37, size)
    with torch.no_grad():
        truth = plain(images)
    made = engines.build_engine(plain, size, FeaturesConfig(), torch.device("cuda"))
    assert worst(made(images).cpu(), truth) < 1e-4
    assert worst(made(images[:3].float().cuda()).cpu(), truth[:3]) < 1e-4, "a last batch, warped, on the GPU"
    half = engines.build_engine(plain, size, FeaturesConfig(precision="bfloat16"), torch.device("cuda"))
    # EfficientNet-Lite0 on small photographs: .105 on a CPU, .117 on an H200
    assert 1e-4 < worst(half(images).cpu(), truth) < 0.2


@on_a_gpu
def test_a_gpu_answers_threads():
    plain, size = shallow()
    images = photos(300, size)
    with torch.no_grad():
        truth = plain(images)
    made = TorchEngine(plain, "float32", torch.device("cuda"))
    with ThreadPoolExecutor(made.at_once) as pool:
        found = list(pool.map(lambda part: made(part).cpu(), torch.split(images, 32)))
    assert worst(torch.cat(found), truth) < 1e-4
