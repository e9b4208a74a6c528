"""What people's weight files look like, and which of their tensors are taken."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from composed import config_of
from torch import Tensor, nn

from seedsweep.errors import SeedsweepError
from seedsweep.models.backbone import Source
from seedsweep.models.backbone_builder import build_backbone
from seedsweep.models.build import add_head
from seedsweep.models.checkpoint import CARD, write_checkpoint
from seedsweep.models.fitting import (
    FurtherBlocksError,
    WeightsMisfitError,
    fit_by_name,
)
from seedsweep.models.options import BackboneConfig
from seedsweep.models.timm_model import converted
from seedsweep.models.weight_file import read_tensors
from seedsweep.models.weights import WeightsOrigin, load_pretrained
from seedsweep.training.assemble import backbone_as_set
from seedsweep.training.effective import card_of

State = dict[str, Tensor]


def tiny(seed: int = 0, depth: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    blocks = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)) for _ in range(depth)))
    net = nn.Sequential()
    net.add_module("stem", nn.Conv2d(3, 3, 3))
    net.add_module("blocks", blocks)
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor))
    return net


def same(net: nn.Module, other: nn.Module) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True)
    )


def load(content: Any, path: Path) -> tuple[nn.Module, WeightsOrigin]:
    torch.save(content, path)
    net = tiny()
    return net, load_pretrained(net, "tiny", str(path), Source())


def behind(prefix: str, seed: int = 1) -> State:
    return {prefix + key: value for key, value in tiny(seed).state_dict().items()}


EXTRA = {
    "fc.weight": torch.zeros(2, 2),
    "criterion.weight": torch.ones(2),
    "head.mlp.0.weight": torch.zeros(2, 2),
}

FILES: dict[str, Callable[[], Any]] = {
    "bare": lambda: behind("") | EXTRA,
    "encoder": lambda: behind("encoder.") | EXTRA,
    "resnet in module": lambda: {"state_dict": behind("module.resnet.") | EXTRA},
    "lightning": lambda: {"state_dict": behind("model.net.") | EXTRA, "hyper_parameters": {"lr": 0.1}, "epoch": 3},
    "params": lambda: {"params": behind("")},
    "net": lambda: {"net": behind(""), "acc": 91.2, "epoch": 3},
    "ema alone": lambda: {"model_ema": {"module": behind("")}},
    "student alone": lambda: {"student": behind("module.backbone.") | {"module.head.last.weight": torch.zeros(9)}},
    "compiled": lambda: {"model": behind("_orig_mod.")},
    "compiled within": lambda: {key.replace("blocks.", "blocks._orig_mod."): v for key, v in behind("").items()},
    "with an optimiser": lambda: {
        "backbone": behind(""),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(3)}}, "groups": [{"lr": 1}]},
    },
    "with settings and numbers": lambda: {
        "model": behind(""),
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(0.5),
    },
    "before 2018": lambda: {key: value for key, value in behind("").items() if "num_batches" not in key},
    "counted by a profiler": lambda: behind("") | {"blocks.total_ops": torch.zeros(())},
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_what_people_have_is_understood(kind: str, tmp_path: Path) -> None:
    net, origin = load(FILES[kind](), tmp_path / "w.pth")
    wanted = tiny(1)
    if kind == "before 2018":
        wanted.state_dict()["blocks.0.1.num_batches_tracked"].zero_()
    assert same(net, wanted)
    assert origin.note == "weights from w.pth"


SEVERAL: dict[str, tuple[Callable[[], Any], str]] = {
    "ema": (lambda: {"model": behind("", 2), "model_ema": behind("")}, "took model_ema of model, model_ema"),
    "timm": (
        lambda: {"state_dict": behind("", 2), "state_dict_ema": behind("module.")},
        "took state_dict_ema.module of state_dict, state_dict_ema.module",
    ),
    "dino": (
        lambda: {"student": behind("module.backbone.", 2), "teacher": behind("backbone.")},
        "took teacher.backbone of student.module.backbone, teacher.backbone",
    ),
    "moco": (
        lambda: {"state_dict": behind("module.encoder_k.", 2) | behind("module.encoder_q.")},
        "took state_dict.module.encoder_q of state_dict.module.encoder_k, state_dict.module.encoder_q",
    ),
    "byol": (
        lambda: behind("target_encoder.", 2) | behind("online_encoder."),
        "took online_encoder of target_encoder, online_encoder",
    ),
    "the outermost": (
        lambda: behind("deep.er.", 2) | behind(""),
        "took the outermost names of deep.er, the outermost",
    ),
}


@pytest.mark.parametrize("kind", SEVERAL)
def test_which_of_several_was_taken_is_said(kind: str, tmp_path: Path) -> None:
    make, said = SEVERAL[kind]
    net, origin = load(make(), tmp_path / "w.pth")
    assert same(net, tiny(1))
    assert said in origin.note


def test_averaged_weights_that_lack_statistics_are_not_taken(tmp_path: Path) -> None:
    averaged = {key: value for key, value in behind("", 2).items() if "running" not in key}
    net, origin = load({"model_ema": averaged, "model": behind("")}, tmp_path / "w.pth")
    assert same(net, tiny(1))
    assert origin.note == "weights from w.pth"


def test_a_deeper_net_is_refused(tmp_path: Path) -> None:
    """Each tensor of the net would be filled, with layers that were trained to stand elsewhere."""
    before = tiny()
    with pytest.raises(
        FurtherBlocksError, match=r"6 tensors behind the prefix model\. .*no place for \(blocks.1.0.weight"
    ):
        load({"model": tiny(1, depth=2).state_dict()}, tmp_path / "w.pth")
    assert same(tiny(), before)


def test_tables_and_masks_are_no_further_blocks(tmp_path: Path) -> None:
    """Today's net computes them itself; files of before hold them."""
    old = tiny(1).state_dict() | {
        "blocks.0.relative_position_index": torch.arange(9),
        "blocks.0.attn_mask": torch.zeros(2, 2),
        "blocks.0.0.weight_mask": torch.ones(3, 3, 3, 3),
    }
    torch.save({"model": old}, tmp_path / "w.pth")
    net = tiny()
    block = net.get_submodule("blocks.0")
    block.register_buffer("attn_mask", torch.ones(2, 2), persistent=False)
    load_pretrained(net, "tiny", str(tmp_path / "w.pth"), Source())
    assert same(net, tiny(1))
    assert torch.equal(block.get_buffer("attn_mask"), torch.ones(2, 2))
    del block._buffers["attn_mask"]
    with pytest.raises(FurtherBlocksError, match=r"no place for \(blocks.0.attn_mask\)"):
        load_pretrained(net, "tiny", str(tmp_path / "w.pth"), Source())


def test_what_is_not_finite_is_refused(tmp_path: Path) -> None:
    state = tiny(1).state_dict()
    state["blocks.0.1.running_var"][1] = torch.inf
    with pytest.raises(SeedsweepError, match=r"not all values of blocks\.0\.1\.running_var are finite"):
        load(state, tmp_path / "w.pth")


def test_a_pickled_net_says_how_to_save_its_tensors(tmp_path: Path) -> None:
    torch.save(tiny(), tmp_path / "w.pth")
    with pytest.raises(
        SeedsweepError, match=r"Python objects \(torch.nn.*torch\.save\(model\.state_dict\(\)"
    ) as caught:
        read_tensors(tmp_path / "w.pth")
    assert "\n" not in str(caught.value)
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(SeedsweepError, match="it holds a list, and not tensors by name"):
        read_tensors(tmp_path / "w.pth")


def timm_net(name: str, weights: Path | str) -> Any:
    torch.manual_seed(0)
    return build_backbone(BackboneConfig(name=name, library="timm", weights=str(weights)))


def test_a_file_that_fills_nothing_is_refused_for_timm_too(tmp_path: Path) -> None:
    torch.save({"hello": torch.ones(3)}, tmp_path / "x.pth")
    with pytest.raises(
        WeightsMisfitError, match=r"x\.pth doesn't fit resnet18: it lacks all 100 tensors .* holds hello"
    ):
        timm_net("resnet18", tmp_path / "x.pth")


def test_timm_by_names_of_torchvision_and_by_its_own_converter(tmp_path: Path) -> None:
    import timm
    from torchvision.models import resnet18

    torch.manual_seed(1)
    theirs = resnet18(weights=None)
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in theirs.state_dict().items()}}, tmp_path / "tv.pth"
    )
    built = timm_net("resnet18", tmp_path / "tv.pth")
    images = torch.rand(1, 3, 64, 64)
    theirs.eval().fc = nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(built.net.eval()(images).mean((2, 3)), theirs(images))

    model = timm.create_model("test_vit", num_classes=0, global_pool="")
    facebooks = {"patch_embed.proj.weight": "module.embedding.projection"}  # no name of timm's
    given = {facebooks.get(key, key): value for key, value in model.state_dict().items()}
    with pytest.raises(WeightsMisfitError, match=r"it lacks patch_embed\.proj\.weight"):
        converted("test_vit", given, "test_vit", tmp_path / "x.pth")
    with pytest.raises(WeightsMisfitError, match="lacks 1 of the net"):
        fit_by_name(model, given, "test_vit", tmp_path / "x.pth")


def test_timms_old_names_are_converted(tmp_path: Path) -> None:
    """ConvNeXt's authors call a stage's blocks otherwise than timm."""
    import timm
    from safetensors.torch import save_file

    full = timm.create_model("test_convnext", pretrained=False)
    old = {
        key.replace("stem.", "downsample_layers.0.").replace("head.norm.", "norm."): value
        for key, value in full.state_dict().items()
    }
    for stage in range(4):
        old = {
            key.replace(f"stages.{stage}.downsample.", f"downsample_layers.{stage}.")
            .replace(f"stages.{stage}.blocks.", f"stages.{stage}.")
            .replace("conv_dw.", "dwconv.")
            .replace("mlp.fc", "pwconv")
            .replace("head.fc.", "head."): value
            for key, value in old.items()
        }
    save_file({key: value.contiguous() for key, value in old.items()}, tmp_path / "w.safetensors")
    built = timm_net("test_convnext", tmp_path / "w.safetensors")
    loaded, wanted = built.net.net.model.state_dict(), full.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in loaded.items())


def ours(folder: Path, *overrides: str, whole: bool = True) -> Path:
    """Writes the checkpoint of a run that was not trained."""
    config = config_of("head.width=0", "backbone.weights=none", *overrides)
    built = add_head(backbone_as_set(config), 2, config.head, config.seed)
    with torch.no_grad():
        for tensor in built.classifier.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.01)
    state = {f"classifier.{key}": value for key, value in built.classifier.state_dict().items()}
    if not whole:
        state = {key: value for key, value in state.items() if ".head." in key}
    path = folder / "best.ckpt"
    write_checkpoint(
        {
            "state_dict": state,
            "whole": whole,
            CARD: card_of(config, built, ["a", "b"], {}),
        },
        path,
    )
    return path


OWN = ("backbone=efficientnet_lite0", "batchnorm=train")
OF_TIMM = ("backbone=timm", "backbone.name=test_resnet", "batchnorm=inference")


@pytest.mark.parametrize(("overrides", "auto"), [(OWN, True), (OF_TIMM, False)])
def test_our_own_checkpoint_is_a_start(
    overrides: tuple[str, ...], auto: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = ours(tmp_path, *overrides)
    config = config_of(*overrides, f"backbone.weights={path}").backbone
    built = build_backbone(config)
    assert "in it began random and was never trained" in caplog.text
    saved = torch.load(path, weights_only=True)["state_dict"]
    loaded = built.net.state_dict()
    assert all(torch.equal(value, saved[f"classifier.backbone.{key}"]) for key, value in loaded.items())
    moved = "moved by that run's training" if "batchnorm=train" in overrides else "as that run found them"
    for part in (
        f"a checkpoint of seedsweep, {config.name} of a run of custom, which began with random",
        moved,
    ):
        assert part in built.weights.note
    named = config_of("backbone=auto", f"backbone.weights={path}").backbone
    if auto:
        assert build_backbone(named).name == config.name
    else:
        with pytest.raises(SeedsweepError, match=r"take backbone=timm backbone\.name=test_resnet"):
            build_backbone(named)


def test_a_start_from_a_start_names_the_last_alone(tmp_path: Path) -> None:
    path = ours(tmp_path, *OF_TIMM)
    config = config_of(*OF_TIMM, f"backbone.weights={path}")
    built = build_backbone(config.backbone)
    (tmp_path / "next").mkdir()
    after = ours(tmp_path / "next", *OF_TIMM, f"backbone.weights={path}")
    note = build_backbone(config_of(*OF_TIMM, f"backbone.weights={after}").backbone).weights.note
    assert "which began with random" in built.weights.note
    assert "which began with weights from best.ckpt, a checkpoint of seedsweep too; " in note
    assert note.count("began with") == 1


def test_our_own_checkpoint_of_another_backbone(tmp_path: Path) -> None:
    path = ours(tmp_path, *OWN)
    for wanted in (("backbone=vgg16",), ("backbone=timm", "backbone.name=resnet18")):
        config = config_of(*wanted, f"backbone.weights={path}").backbone
        with pytest.raises(
            SeedsweepError, match="backbone efficientnet_lite0: take backbone=efficientnet_lite0"
        ):
            build_backbone(config)


def test_a_trials_checkpoint_is_refused(tmp_path: Path) -> None:
    path = ours(tmp_path, *OF_TIMM, whole=False)
    config = config_of(*OF_TIMM, f"backbone.weights={path}").backbone
    with pytest.raises(SeedsweepError, match="holds the head alone, no backbone"):
        build_backbone(config)


def test_our_own_checkpoint_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ours(tmp_path, *OWN)
    loads = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *given, **more: (loads.append(given), load(*given, **more))[1])
    for chosen in ("backbone=auto", OWN[0]):
        loads.clear()
        build_backbone(config_of(chosen, f"backbone.weights={path}").backbone)
        assert len(loads) == 1


def test_checksums_are_compared_before_torch_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.pt"
    torch.save({"weight": torch.arange(4096.0)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(4096.0).numpy().tobytes()[:64]) + 1000] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch has read it"))
    with pytest.raises(SeedsweepError, match=r"w\.pt is damaged"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("a sparse tensor", lambda v: v.to_sparse()),
        ("a meta tensor", lambda v: v.to("meta")),
        ("a quantised tensor", lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8)),
        ("complex", lambda v: v.to(torch.complex64)),
    ],
)
def test_tensors_without_plain_values_are_one_sentence(
    kind: str, made: Callable[[Tensor], Tensor], tmp_path: Path
):
    state = behind("")
    state["stem.weight"] = made(state["stem.weight"])
    with pytest.raises(SeedsweepError, match=kind) as caught:
        load(state, tmp_path / "w.pth")
    assert "stem.weight" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_complex_numbers_fill_no_net_in_order(tmp_path: Path):
    state = {f"other{n}": value.to(torch.complex64) for n, value in enumerate(tiny().state_dict().values())}
    with pytest.raises(SeedsweepError, match="other0 is a tensor of complex numbers"):
        load(state, tmp_path / "w.pth")


def test_impossible_values_are_refused_or_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    state = behind("")
    key = next(key for key in state if key.endswith("running_var"))
    state[key] = -state[key]
    with pytest.raises(SeedsweepError, match="running_var has variances below 0"):
        load(state, tmp_path / "w.pth")
    load({name: torch.zeros_like(value) for name, value in behind("").items()}, tmp_path / "w.pth")
    assert "every weight that it gives tiny is 0" in caplog.text
    assert "every running variance that it gives tiny is 0" in caplog.text
