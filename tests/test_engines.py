"""Engines: each answers as plain PyTorch does."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from test_training import small
from torch import Tensor, nn
from torch.nn import functional

from seedsweep.batchnorm.policy import norm_layers
from seedsweep.batchnorm.statistics import recalibrate
from seedsweep.errors import SeedsweepError
from seedsweep.features import engines as select
from seedsweep.features.openvino_engine import SideBySide
from seedsweep.features.options import ENGINE_NAMES, FeaturesConfig
from seedsweep.features.torch_engine import folded
from seedsweep.models.classifier import FeatureNet
from seedsweep.training.assemble import backbone_as_set

CPU = torch.device("cpu")
NETS = {
    "efficientnet_lite0": (["backbone.weights=auto"], 64),
    "inception_v3": (["backbone.weights=none"], 96),
    "vgg16": (["backbone.weights=none"], 64),
}
ENGINES = sorted(name for name, module in select.ENGINES.items() if module.available())


def net(name: str, *overrides: str) -> tuple[FeatureNet, tuple[int, int, int]]:
    more, side = NETS[name]
    size = (3, side, side + 11)
    config = small(f"backbone={name}", *more, f"data.image_size=[{size[1]},{size[2]}]", *overrides)
    backbone = backbone_as_set(config)
    generator = torch.Generator().manual_seed(0)
    if name != "efficientnet_lite0":  # fresh statistics are 0 and 1: folding them would prove nothing
        for _, layer in norm_layers(backbone.net):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_(0, 0.1, generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
    return FeatureNet(backbone.preprocess, backbone.net).eval(), size


def photos(n: int, size: tuple[int, int, int]) -> Tensor:
    """Smooth blots: on pixel noise, recalibrated statistics would amplify rounding."""
    coarse = torch.rand(n, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    return (functional.interpolate(coarse, size[1:], mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)


def worst(answer: Tensor, truth: Tensor) -> float:
    return float(((answer - truth).norm(dim=1) / truth.norm(dim=1)).max())


# one whole net: to convert one takes seconds, and each engine runs a few layers below
PAIRS = [
    pytest.param(
        name, engine, marks=[] if (name, engine) == ("efficientnet_lite0", "torch") else pytest.mark.slow
    )
    for name, engine in itertools.product(sorted(NETS), ENGINES)
]


@pytest.mark.parametrize(("name", "engine"), PAIRS)
def test_engines_agree_with_plain_pytorch(name: str, engine: str):
    plain, size = net(name)
    images = photos(3, size)
    with torch.no_grad():
        truth = plain(images)
    made = select.build_engine(plain, size, FeaturesConfig(engine=engine, batch_size=3), CPU)
    assert worst(made(images), truth) < 1e-4
    assert worst(made(images[:1].float()), truth[:1]) < 1e-4, "a last batch, and warped images"
    assert made(images).dtype == torch.float32


def shallow(*overrides: str) -> tuple[FeatureNet, tuple[int, int, int]]:
    """A few layers behind EfficientNet-Lite0's preprocessing: whole nets take seconds to convert."""
    plain, size = net("efficientnet_lite0", *overrides)
    channels = [3, 16, 32, 32]
    layers = [
        layer
        for inward, outward in itertools.pairwise(channels)
        for layer in (nn.Conv2d(inward, outward, 3, bias=False), nn.BatchNorm2d(outward), nn.ReLU())
    ]
    return FeatureNet(plain.preprocess, nn.Sequential(*layers)).eval(), size


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_follow_the_scaling_and_recalibrated_statistics(engine: str):
    plain, size = shallow("preprocess=rescale_twice")
    images = photos(16, size)
    with torch.no_grad():
        before = plain(images)
    recalibrate(nn.Sequential(plain.preprocess, plain.backbone), [images])
    plain.eval()
    with torch.no_grad():
        truth = plain(images)
        once = plain.backbone(shallow()[0].preprocess(images)).mean((2, 3))
    made = select.build_engine(plain, size, FeaturesConfig(engine=engine), CPU)
    assert worst(once, truth) > 0.1
    assert worst(before, truth) > 0.1
    assert worst(made(images), truth) < 1e-4
    assert worst(made(images[:1].float()), truth[:1]) < 1e-4, "a last batch, and warped images"
    assert made(images).dtype == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_bfloat16_is_near(engine: str):
    plain, size = shallow()
    images = photos(2, size)
    options = FeaturesConfig(engine=engine, precision="bfloat16")
    with torch.no_grad():
        truth = plain(images)
    made = select.build_engine(plain, size, options, CPU)
    assert 0 <= worst(made(images), truth) < 0.05


@pytest.mark.parametrize(("name", "layers"), [("efficientnet_lite0", 49), ("inception_v3", 94)])
def test_folding_takes_every_layer_and_leaves_the_net_alone(name: str, layers: int):
    plain, _ = net(name)
    before = {key: value.clone() for key, value in plain.state_dict().items()}
    assert len(norm_layers(folded(plain))) == 0
    assert len(norm_layers(plain)) == layers
    assert all(torch.equal(value, before[key]) for key, value in plain.state_dict().items())


class Shared(nn.Module):
    """Its convolution's output is used twice: folding would change the second use."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.other = nn.Conv2d(4, 4, 1)
        self.twice = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x.float())
        return self.twice(self.other(self.twice(self.other(self.norm(x) + x))))


def test_what_may_not_be_folded_is_left():
    made = Shared()
    for _, layer in norm_layers(made):
        assert layer.running_mean is not None
        layer.running_mean.fill_(0.7)
    made.eval()
    copy = folded(made)
    assert len(norm_layers(copy)) == 2
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(copy(x), made(x))


def test_a_net_that_cannot_be_traced_is_left(monkeypatch: pytest.MonkeyPatch):
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x)) if x.sum() > 0 else x

    assert len(norm_layers(folded(Branches()))) == 1


def test_a_name_is_checked_before_anything_is_loaded():
    assert sorted(ENGINE_NAMES) == sorted(select.ENGINES)


def test_what_cannot_be_had_is_said(monkeypatch: pytest.MonkeyPatch):
    def name(device: torch.device = CPU, **options: str) -> str:
        return select.engine_name(FeaturesConfig(**options), device)

    for unknown in ("nosuch", "mnn"):  # mnn was an engine until November 2026
        with pytest.raises(SeedsweepError, match=rf"features.engine.*{unknown}.*auto.*openvino.*torch"):
            name(engine=unknown)
    monkeypatch.setattr(select.ENGINES["openvino"], "available", lambda: True)
    with pytest.raises(SeedsweepError, match="not on cuda"):
        name(torch.device("cuda"), engine="openvino")
    monkeypatch.setattr(select.ENGINES["openvino"], "PRECISIONS", ("float32",))
    with pytest.raises(SeedsweepError, match="openvino computes in float32, not in bfloat16"):
        name(engine="openvino", precision="bfloat16")
    monkeypatch.setattr(select.ENGINES["openvino"], "available", lambda: False)
    with pytest.raises(SeedsweepError, match=r"pip install 'seedsweep\[openvino\]'"):
        name(engine="openvino")
    assert name() == "torch"


def test_auto_takes_openvino_on_a_cpu_and_torch_on_a_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(select.ENGINES["openvino"], "available", lambda: True)
    for precision in ("float32", "bfloat16"):
        options = FeaturesConfig(precision=precision)
        assert select.engine_name(options, CPU) == "openvino"
        assert select.engine_name(options, torch.device("cuda")) == "torch"


@pytest.mark.parametrize(("here", "advice"), [(True, r"; take features.engine=openvino\."), (False, r"\)\.")])
def test_an_engine_that_cannot_run_the_net_names_another_if_there_is_one(
    here: bool, advice: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(select.ENGINES["openvino"], "available", lambda: here)
    with pytest.raises(SeedsweepError, match=rf"features.engine=torch can't run this net \(.*{advice}$"):
        select.build_engine(nn.Conv2d(4, 8, 3), (3, 16, 16), FeaturesConfig(engine="torch"), CPU)


def mean(pixels: np.ndarray) -> np.ndarray:
    assert pixels.dtype == np.float32
    return pixels.mean((2, 3))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_pieces_side_by_side_keep_their_order(dtype: torch.dtype) -> None:
    sizes: list[int] = []

    def copy(pixels: np.ndarray) -> np.ndarray:
        sizes.append(len(pixels))
        time.sleep(0.001 * float(pixels[0, 0, 0, 0] % 3))
        return mean(pixels)

    images = torch.arange(11 * 3 * 2 * 2).view(11, 3, 2, 2).to(dtype)
    answer = SideBySide([copy, copy], 2)(images)
    assert answer.dtype == torch.float32
    assert torch.equal(answer, images.float().mean((2, 3)))
    assert sorted(sizes) == [1, 2, 2, 2, 2, 2]


def test_a_copy_takes_one_call_at_a_time_and_comes_back_after_an_error() -> None:
    inside, fails = threading.Lock(), [True]

    def copy(pixels: np.ndarray) -> np.ndarray:
        assert inside.acquire(blocking=False), "two calls in one copy"
        try:
            if fails[0]:
                raise RuntimeError("no answer")
            time.sleep(0.001)
            return mean(pixels)
        finally:
            inside.release()

    run, images = SideBySide([copy], 2), torch.rand(8, 3, 2, 2)
    with pytest.raises(RuntimeError, match="no answer"):
        run(images)
    fails[0] = False
    with ThreadPoolExecutor(3) as pool:
        for answer in pool.map(run, [images] * 3):
            assert torch.allclose(answer, images.mean((2, 3)))
