"""Batches of one image under batch statistics: refused where PyTorch would raise, and only there."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from composed import config_of
from torch import nn

from seedsweep.batchnorm.batches import check_single_images, layer_of_one_value
from seedsweep.batchnorm.options import BatchNormConfig
from seedsweep.batchnorm.policy import set_batchnorm
from seedsweep.data.prepare import PreparedImages, prepare_images
from seedsweep.diagnosis.stored_features import Material, part_of
from seedsweep.errors import SeedsweepError
from seedsweep.training.assemble import backbone_of
from seedsweep.training.run import Given, train

NET = ["backbone=timm", "backbone.name=test_resnet", "backbone.weights=none", "head.width=0", "features=off"]
POLICIES = {
    "batch_stats": BatchNormConfig("", "batch", update_statistics=False),
    "train": BatchNormConfig("", "batch", update_statistics=True, train_affine=True),
    "inference": BatchNormConfig("", "stored"),
}
# data.image_size of the settings, and then a side at which the last map of the net is larger than 1 x 1
SMALL, LARGE = 32, 64


def config(*overrides: str, side: int = SMALL) -> Any:
    small = [f"data.image_size=[{side},{side}]", "data.demo.n_images=70", "trainer.max_epochs=1"]
    quick = ["trainer.progress_bar=false", "trainer.accelerator=cpu", "trainer.probe_images=8"]
    return config_of(*NET, *small, *quick, *overrides)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> PreparedImages:
    return prepare_images(config().data, tmp_path_factory.mktemp("cache"))


def net(policy: str) -> nn.Module:
    made = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=16, padding=1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(2), nn.Conv2d(4, 4, 2),
        nn.Flatten(), nn.BatchNorm1d(4),
    )  # fmt: skip
    set_batchnorm(made, POLICIES[policy])
    return made.train()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("side", [16, 48])
def test_it_is_foretold_where_pytorch_raises(policy: str, side: int) -> None:
    layer = layer_of_one_value(net(policy), side, side)
    assert layer == ("" if policy == "inference" else "1" if side == 16 else "5")
    image = torch.rand(1, 3, side, side)
    if not layer:
        net(policy)(image)
        return
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        net(policy)(image)
    net(policy)(torch.rand(2, 3, side, side))  # as is advised


def test_looking_changes_nothing() -> None:
    looked = net("train")
    before = [tensor.clone() for tensor in looked.state_dict().values()]
    layer_of_one_value(looked, 16, 16)
    assert all(torch.equal(a, b) for a, b in zip(looked.state_dict().values(), before, strict=True))
    assert all(module.training for module in looked.modules())
    assert not any(module._forward_pre_hooks for module in looked.modules())


def test_the_pass_takes_the_net_s_type_and_is_spared_where_no_layer_asks_for_it() -> None:
    assert layer_of_one_value(net("train").double(), 16, 16) == "1"
    calls: list[object] = []
    stored = net("inference")
    stored.register_forward_pre_hook(lambda *call: calls.append(call))
    assert layer_of_one_value(stored, 16, 16) == ""
    assert not calls


@pytest.mark.parametrize(
    ("batch_size", "n_train", "probe", "way"),
    [
        (1, 30, 0, "Use data.batch_size=2 or more, or batchnorm=inference"),
        (8, 1, 0, "Use two or more training images, or"),
        (8, 30, 1, r"Use trainer\.probe_images=2 or more \(0: all\), or"),
        (1, 30, 1, r"Use data\.batch_size=2 or more and trainer\.probe_images=2 or more"),
        (8, 33, 0, None),  # the last one is left out of its epoch
        (2, 30, 3, None),
    ],
)
def test_each_way_to_a_batch_of_one(batch_size: int, n_train: int, probe: int, way: str | None) -> None:
    if way is None:
        check_single_images(net("train"), [16, 16], batch_size, n_train, probe)
        return
    with pytest.raises(SeedsweepError, match=way) as caught:
        check_single_images(net("train"), [16, 16], batch_size, n_train, probe)
    assert "at data.image_size=[16, 16] the BatchNorm layer 1 gets" in str(caught.value)
    check_single_images(net("inference"), [16, 16], batch_size, n_train, probe)


def test_a_run_is_refused_before_it_trains_and_what_it_advises_works(
    images: PreparedImages, tmp_path: Path
) -> None:
    refused = ["batchnorm=batch_stats", "data.batch_size=1"]
    with pytest.raises(SeedsweepError, match=r"layer net\.model\.\S+ gets a single value a channel"):
        train(config(*refused), tmp_path / "refused", given=Given(images), pictures=False)
    assert not (tmp_path / "refused" / "history.csv").exists()
    for place, ways in enumerate((["data.batch_size=2"], ["batchnorm=inference"])):
        metrics = train(config(*refused, *ways), tmp_path / str(place), given=Given(images), pictures=False)
        assert metrics["status"] == "finished"


def test_a_batch_of_one_is_fine_on_larger_maps(tmp_path: Path) -> None:
    settings = config("batchnorm=train", "data.batch_size=1", side=LARGE)
    assert train(settings, tmp_path, pictures=False)["status"] == "finished"


def test_a_diagnosis_and_a_recalibration_refuse_it_too(images: PreparedImages) -> None:
    with pytest.raises(SeedsweepError, match=r"data\.batch_size=2 or more"):
        Material(images, 20, 0).features(config("batchnorm=batch_stats", "data.batch_size=1"))
    table = images.table
    rows = np.sort(np.concatenate([table.indices("train")[:1], table.indices("val")]))
    with pytest.raises(SeedsweepError, match="two or more training images"):
        backbone_of(config("batchnorm=recalibrate"), part_of(images, rows))
