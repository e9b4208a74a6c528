import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import inception_v3, vgg16

from seedsweep.errors import SeedsweepError
from seedsweep.models import nets
from seedsweep.models.backbone import IMAGENET, MINUS_ONE_TO_ONE, InputSpec
from seedsweep.models.backbone_builder import build_backbone
from seedsweep.models.options import BackboneConfig
from seedsweep.models.timm_model import TimmNet


def build(name: str, library: str = "own"):
    torch.manual_seed(0)
    return build_backbone(BackboneConfig(name=name, library=library, weights="none")).net.eval()


@pytest.fixture(autouse=True)
def _light() -> Iterator[None]:
    """No gradients, and one thread: on a busy machine two wait for each other longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)


def photo(side: int, batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0))


def normalise(images: Tensor, spec: InputSpec) -> Tensor:
    return (images - torch.tensor(spec.mean).view(3, 1, 1)) / torch.tensor(spec.std).view(3, 1, 1)


@pytest.mark.parametrize(
    ("name", "channels", "spec", "layers"),
    [
        ("inception_v3", 2048, MINUS_ONE_TO_ONE, 94),
        ("vgg16", 512, IMAGENET, 0),
        ("efficientnet_lite0", 1280, MINUS_ONE_TO_ONE, 49),
        ("efficientnet_lite1", 1280, MINUS_ONE_TO_ONE, 64),
    ],
)
def test_own_nets(name: str, channels: int, spec: InputSpec, layers: int) -> None:
    net = build(name)
    assert net.num_features == channels
    assert net.input_spec == spec
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules()) == layers
    features = net(photo(net.min_size, 2))
    assert features.ndim == 4
    assert features.shape[:2] == (2, channels)
    assert features.dtype == torch.float32


def test_inception_equals_torchvision_with_transform_input() -> None:
    """[-1, 1] straight in is ImageNet normalisation plus torchvision's ``transform_input=True``."""
    net = build("inception_v3")
    reference = inception_v3(weights=None, transform_input=True, init_weights=False).eval()
    missing, unknown = reference.load_state_dict(net.net.state_dict(), strict=False)
    assert not unknown
    assert all(key.startswith(("fc.", "AuxLogits.")) for key in missing)
    kept: list[Tensor] = []
    reference.Mixed_7c.register_forward_hook(lambda module, args, output: kept.append(output))
    images = photo(80)
    reference(normalise(images, IMAGENET))
    got = net(normalise(images, net.input_spec))
    torch.testing.assert_close(got, kept[0], rtol=1e-4, atol=1e-4 * kept[0].abs().max().item())


def test_vgg_equals_torchvision() -> None:
    net = build("vgg16")
    reference = vgg16(weights=None).features.eval()
    reference.load_state_dict({k.removeprefix("features."): v for k, v in net.net.state_dict().items()})
    torch.testing.assert_close(net(photo(32)), reference(photo(32)))


def test_vgg_begins_as_torchvision_does() -> None:
    made, theirs = (
        [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
        for net in (build("vgg16").net, vgg16(weights=None).features)
    )
    for layer, other in zip(made, theirs, strict=True):
        assert layer.weight.shape == other.weight.shape
        assert layer.weight.std() == pytest.approx(other.weight.std().item(), rel=0.15)
        assert not layer.bias.any()


def test_efficientnet_equals_timm() -> None:
    import timm

    net = build("efficientnet_lite0")
    reference = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    reference.load_state_dict(net.net.state_dict())
    torch.testing.assert_close(net(photo(64)), reference.forward_features(photo(64)))
    assert tuple(reference.pretrained_cfg["mean"]) == net.input_spec.mean
    assert tuple(reference.pretrained_cfg["std"]) == net.input_spec.std


def test_a_new_file_is_a_new_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pouch.py").write_text(
        "from torch import nn\n"
        "from seedsweep.models.backbone import IMAGENET, Backbone, Source\n"
        "SOURCE = Source(url='https://weights.invalid/pouch.pth')\n"
        "def build():\n    return Backbone(nn.Conv2d(3, 5, 3), 5, IMAGENET, min_size=16)\n"
    )
    monkeypatch.setattr(nets, "__path__", [*nets.__path__, str(tmp_path)])
    assert "pouch" in nets.names()
    assert build("pouch")(photo(16)).shape == (1, 5, 14, 14)


def test_every_net_has_a_file() -> None:
    assert nets.names() == sorted(m.name for m in pkgutil.iter_modules(nets.__path__))
    assert {"inception_v3", "vgg16", "efficientnet_lite0"} <= set(nets.names())


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("test_resnet", 64),
        ("test_efficientnet", 64),
        ("test_vit", 160),  # tokens
        ("test_convnext", 64),
        ("mobilenetv3_small_050", 64),  # more channels after its pooling than before
    ],
)
def test_timm_models_give_maps(name: str, side: int) -> None:
    net = build(name, "timm")
    features = net(photo(side))
    assert features.ndim == 4
    assert features.shape[:2] == (1, net.num_features)
    cfg = net.net.model.pretrained_cfg
    assert net.input_spec == InputSpec(tuple(cfg["mean"]), tuple(cfg["std"]))


class Odd(torch.nn.Module):
    """Gives features of a wanted shape, in the manner of timm."""

    num_features = 8

    def __init__(self, shape: tuple[int, ...], output_fmt: str = "NCHW") -> None:
        super().__init__()
        self.shape, self.output_fmt = shape, output_fmt

    def forward_features(self, images: Tensor) -> Tensor:
        return torch.arange(float(torch.Size(self.shape).numel())).view(self.shape)


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((1, 8, 3, 4), "NCHW", (0, 1, 2, 3)),
        ((1, 3, 4, 8), "NHWC", (0, 3, 1, 2)),
        ((1, 3, 4, 8), "NCHW", (0, 3, 1, 2)),  # forgot to say so
        ((1, 8, 4, 8), "NHWC", (0, 3, 1, 2)),  # height and channels equal: only the model knows
        ((1, 8, 4, 8), "NCHW", (0, 1, 2, 3)),
    ],
)
def test_channels_come_first(shape: tuple[int, ...], layout: str, expected: tuple[int, ...]) -> None:
    odd = Odd(shape, layout)
    got = TimmNet(odd, "odd", None)(photo(16))
    assert torch.equal(got, odd.forward_features(photo(16)).permute(expected))


def test_no_feature_map_is_one_sentence() -> None:
    with pytest.raises(SeedsweepError, match="odd can't serve as a backbone"):
        TimmNet(Odd((1, 3, 4, 5)), "odd", None)(photo(16))


def test_a_timm_model_that_insists_on_its_pooling() -> None:
    assert build("deit_tiny_distilled_patch16_224", "timm").num_features == 192


def test_a_timm_model_of_one_size_says_so() -> None:
    with pytest.raises(SeedsweepError, match=r"set data\.image_size=\[160, 160\]"):
        build("test_vit", "timm")(photo(192))


def test_unknown_names_are_one_sentence() -> None:
    with pytest.raises(SeedsweepError, match="did you mean inception_v3"):
        build("inception_v4")
    with pytest.raises(SeedsweepError, match=r"nearest are .*resnet18") as caught:
        build("resnet_18", "timm")
    assert "\n" not in str(caught.value)
