"""Only the upper blocks trained: the net is cut rightly, and stored activations change no result."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from test_features import history, with_photographs
from test_training import small
from tiny_net import tiny_net
from torch import Tensor

from seedsweep.batchnorm.policy import depends_on_batch, follows_stored, norm_layers
from seedsweep.cli.config.schema import Config
from seedsweep.data.prepare import PreparedImages, prepare_images
from seedsweep.errors import SeedsweepError
from seedsweep.features.image_features import ActivationDataModule
from seedsweep.models.backbone import Backbone
from seedsweep.models.backbone_builder import build_backbone
from seedsweep.models.cut import find_cut
from seedsweep.models.options import BackboneConfig
from seedsweep.training.assemble import backbone_as_set, backbone_of, build_module
from seedsweep.training.module import ArmModule
from seedsweep.training.route import open_features
from seedsweep.training.run import train

NETS = {
    "efficientnet_lite0": 32,
    "inception_v3": 75,
    "vgg16": 32,
    "resnet18": 32,
    "deit_tiny_patch16_224": 224,
}

LITE0 = ["backbone=efficientnet_lite0", "backbone.train_from=blocks.5"]
N_NORM = 15  # of the tiny net


@cache
def net(name: str) -> Backbone:
    library = "own" if name in ("efficientnet_lite0", "inception_v3", "vgg16") else "timm"
    return build_backbone(BackboneConfig(name=name, library=library, weights="none")).net


def upper(folder: Path, *overrides: str) -> Config:
    """A tiny net, its last two stages trained, unless another is named."""
    store = folder / "cache"
    if not store.exists():
        with_photographs(folder)
    named = any(override.startswith("backbone=") for override in overrides)
    return small(
        *([] if named else [*tiny_net(), "backbone.train_from=layer3"]),
        "backbone.freeze=false",
        "optim.lr=1e-4",
        "augment=none",
        "features=required",
        "features.engine=torch",
        f"paths.cache={store}",
        *overrides,
    )


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("efficientnet_lite0", "blocks.5"),
        pytest.param("efficientnet_lite0", "0.7", marks=pytest.mark.slow),
        ("inception_v3", "Mixed_7a"),
        ("vgg16", "features.24"),
        pytest.param("resnet18", "layer4", marks=pytest.mark.slow),
        ("deit_tiny_patch16_224", "blocks.6"),
    ],
)
def test_the_two_parts_are_the_net(name: str, where: str) -> None:
    whole = net(name)
    cut = find_cut(whole, name, where)
    images = torch.randn(2, 3, NETS[name], NETS[name])
    for training in (False, True):  # a train-mode answer holds the batch's statistics as well
        whole.train(training)
        with torch.no_grad():
            expected = whole(images)
            assert torch.equal(cut.finish(cut.prefix(images).clone()), expected)
    parameters = dict(whole.named_parameters())
    lower = {id(parameter) for parameter in cut.prefix.parameters()}
    assert all((id(p) in lower) != cut.holds(path) for path, p in parameters.items())
    assert 0 < sum(cut.holds(path) for path in parameters) < len(parameters)


def test_a_share_counts_blocks_in_the_order_of_execution() -> None:
    lite0 = net("efficientnet_lite0")  # conv_stem, bn1, 16 blocks, conv_head, bn2
    names = [find_cut(lite0, "lite0", share).name for share in ("0.01", "0.1", "0.7", "0.85", "0.99")]
    assert names == ["bn1", "blocks.0.0", "blocks.5.1", "blocks.6.0", "bn2"]


@pytest.mark.parametrize(
    ("name", "where", "sentence"),
    [
        ("inception_v3", "Mixed_8a", "no module of inception_v3; the nearest are Mixed_7a, "),
        ("inception_v3", "Mixed_7a.branch7x7x3_1", "exactly one tensor.*Mixed_6e, Mixed_7a, Mixed_7b"),
        (
            "efficientnet_lite0",
            "blocks.5.1.conv_dw",
            "exactly one tensor.*blocks.5.0, blocks.5.1, blocks.5.2",
        ),
        ("vgg16", "features.0", "nothing of vgg16 stands before it; leave backbone.train_from out"),
        ("vgg16", "1.5", "neither a module of vgg16 nor a share between 0 and 1"),
    ],
)
def test_a_cut_that_cannot_be_is_one_sentence(name: str, where: str, sentence: str) -> None:
    with pytest.raises(SeedsweepError, match=sentence) as caught:
        find_cut(net(name), name, where)
    assert "\n" not in str(caught.value)


class Shares(torch.nn.Module):
    """Runs one layer on both sides of any cut after it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 3, 1), torch.nn.Conv2d(3, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.first(self.second(self.first(images)))
        return out


class Depends(Shares):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) if images.sum() > 0 else images


class Switches(Shares):
    def forward(self, images: Tensor) -> Tensor:
        return torch.nn.functional.dropout(self.second(self.first(images)), 0.5, self.training)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Shares, "no cut of this net works"),
        (Depends, "can't be followed"),
        (Switches, "differs between training and evaluation"),
    ],
)
def test_a_net_that_cannot_be_cut_is_one_sentence(kind: type[Shares], sentence: str) -> None:
    backbone = Backbone(kind(), 3, net("vgg16").input_spec, 16)
    with pytest.raises(SeedsweepError, match=sentence):
        find_cut(backbone, "odd", "second")


def test_a_frozen_backbone_trains_from_nowhere(tmp_path: Path) -> None:
    with pytest.raises(
        SeedsweepError, match=r"add backbone\.freeze=false, or leave backbone\.train_from out"
    ):
        upper(tmp_path, "backbone.freeze=true")


@pytest.mark.parametrize("policy", ["inference", "recalibrate", "train", "batch_stats", "update_stats"])
def test_below_the_cut_nothing_is_trained_or_moves(policy: str, tmp_path: Path) -> None:
    built = backbone_as_set(upper(tmp_path, f"batchnorm={policy}"))
    cut, backbone = built.cut, built.net
    assert cut is not None
    assert len(norm_layers(backbone)) == N_NORM
    whole_net = policy in ("batch_stats", "update_stats")  # their fault is not mended by the cut
    assert depends_on_batch(built.lower) == whole_net
    before = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    backbone.train()
    backbone(torch.randn(4, 3, 64, 64)).square().sum().backward()
    norms = {name for name, _ in norm_layers(backbone)}
    for name, parameter in backbone.named_parameters():
        of_norm = name.rpartition(".")[0] in norms
        trained = cut.holds(name) and (policy == "train" or not of_norm)
        assert parameter.requires_grad == (parameter.grad is not None) == trained, name
    moved = {name for name, buffer in backbone.named_buffers() if not torch.equal(buffer, before[name])}
    if policy == "train":
        assert moved == {name for name in before if cut.holds(name)}
        assert all(follows_stored(layer) != cut.holds(name) for name, layer in norm_layers(backbone))
    else:
        assert moved == (set(before) if policy == "update_stats" else set())


@pytest.mark.parametrize(
    "overrides",
    [
        ["batchnorm=inference"],
        pytest.param(
            [
                *LITE0,
                "batchnorm=train",
                "augment=light",
                "optim=sgd",
                "optim.lr=1e-3",
                "data.image_size=[64,64]",
            ],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["inference", "train, augmented"],
)
def test_stored_equals_online(overrides: list[str], tmp_path: Path) -> None:
    where, n_norm = ("blocks.5", 49) if LITE0[0] in overrides else ("layer3", N_NORM)
    runs = tmp_path / "online", tmp_path / "stored"
    for run, mode in zip(runs, ("off", "required"), strict=True):
        train(
            upper(tmp_path, f"features={mode}", *overrides),
            run,
            pictures=mode == "required" and "augment=light" not in overrides,
        )
    first, second = history(runs[0]), history(runs[1])
    assert len(first) == len(second) == 2
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        assert b == pytest.approx(a, rel=2e-3, abs=2e-4)
    metrics = [json.loads((run / "metrics.json").read_text()) for run in runs]
    assert [m["features"]["stored"] for m in metrics] == [False, True]
    for m in metrics:
        assert (m["train_from"], m["frozen"]) == (where, False)
        assert m["norm_layers"] == n_norm
    for split in ("train", "val", "test"):
        assert metrics[1][split]["acc"] == metrics[0][split]["acc"]
        assert metrics[1][split]["loss"] == pytest.approx(metrics[0][split]["loss"], rel=2e-3)
    states = [torch.load(run / "checkpoints/best.ckpt", weights_only=False)["state_dict"] for run in runs]
    assert list(states[0]) == list(states[1])
    for key in states[0]:
        torch.testing.assert_close(states[1][key], states[0][key], rtol=1e-2, atol=1e-4)


def test_an_interrupted_run_goes_on_as_if_nothing_had_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = upper(tmp_path, "batchnorm=recalibrate", "augment=light", "features.views=1")
    train(config, tmp_path / "whole", pictures=False)
    step = ArmModule.training_step

    def interrupted(self: ArmModule, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        if self.current_epoch == 1 and batch_idx == 2:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(ArmModule, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "resumed", pictures=False)
    train(config, tmp_path / "resumed", resume=True, pictures=False)
    assert history(tmp_path / "resumed") == history(tmp_path / "whole")
    scores = [json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("whole", "resumed")]
    assert scores[0]["test"] == scores[1]["test"]


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["features.budget_gib=1e-4"], r"activations of 48x4x4 .* more than features.budget_gib"),
        (["batchnorm=update_stats"], "batchnorm=update_stats normalises with each batch's statistics"),
    ],
)
def test_why_online(overrides: list[str], reason: str, tmp_path: Path) -> None:
    config = upper(tmp_path, "features=auto", "trainer.max_epochs=1", *overrides)
    metrics = train(config, tmp_path / "run", pictures=False)
    assert not metrics["features"]["stored"]
    log = (tmp_path / "run" / "run.log").read_text()
    assert metrics["features"]["reason"] in log
    assert metrics["train_from"] == "layer3"
    with pytest.raises(SeedsweepError, match=f"features=required, but {reason}"):
        train(upper(tmp_path, *overrides), tmp_path / "other")


def extracted(config: Config, change: str = "") -> tuple[int, PreparedImages, ActivationDataModule]:
    """Opens the activations, with one weight changed."""
    prepared = prepare_images(config.data, Path(config.paths.cache))
    backbone = backbone_of(config, prepared)
    assert backbone.cut is not None
    if change:
        with torch.no_grad():
            backbone.net.get_parameter(change).add_(0.1)
    features = open_features(config, prepared, backbone)
    images = ActivationDataModule(
        features, backbone.cut, config.data.batch_size, config.seed, config.trainer.channels_last
    )
    module, _ = build_module(config, prepared, backbone)
    module.eval()
    rows = torch.tensor([5, 0, 69, 5])
    with torch.no_grad():
        answer = images.logits(module.classifier, rows, module.device)
        torch.testing.assert_close(answer, module(prepared.pixels.batch(rows.numpy())), rtol=1e-4, atol=1e-4)
    return features.extracted, prepared, images


def test_only_what_stands_before_the_cut_matters(tmp_path: Path) -> None:
    config = upper(tmp_path)
    assert extracted(config)[0] == 70
    assert extracted(config, "net.model.layer3.0.conv1.weight")[0] == 0
    assert extracted(upper(tmp_path, "seed=9", "head.width=8", "batchnorm=train"))[0] == 0
    assert extracted(upper(tmp_path, "backbone.train_from=layer4"))[0] == 70
    assert extracted(config, "net.model.layer2.0.conv1.weight")[0] == 70


def test_activations_that_do_not_fit_stay_on_disk(tmp_path: Path) -> None:
    overrides = ["augment=light", "features.views=2", "trainer.max_epochs=9"]
    held = extracted(upper(tmp_path, *overrides))[2].features
    mapped = extracted(upper(tmp_path, *overrides, "data.cache_gib=0"))[2].features
    assert isinstance(held.plain, Tensor)
    assert not isinstance(mapped.plain, Tensor)
    rows = torch.tensor([3, 37, 0, 3])
    for epoch in (1, 2):
        drawn = mapped.training_features(epoch)
        assert not isinstance(drawn, Tensor)
        assert torch.equal(drawn[rows], held.training_features(epoch)[rows])
