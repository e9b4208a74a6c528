import hashlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from seedsweep.data.datamodule import ImageDataModule
from seedsweep.data.epoch import (
    ANGLE,
    DOWN,
    FLIP_H,
    FLIP_V,
    LIGHT,
    RIGHT,
    SHEAR,
    ZOOM_H,
    ZOOM_W,
    build_augment,
    keras_matrices,
    warp,
)
from seedsweep.data.options import AugmentConfig
from seedsweep.data.random_policy import mix

STORY: dict[str, Any] = {
    "rotation": 30,
    "shift": [0.2, 0.2],
    "shear": 0.2,
    "zoom": 0.2,
    "horizontal_flip": True,
}


def files(n: int) -> list[str]:
    return [hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)]


def photos(n: int, height: int = 21, width: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (n, 3, height, width), generator=generator, dtype=torch.uint8)


def row(**values: float) -> Tensor:
    table = torch.zeros(1, 9, dtype=torch.float64)
    table[:, [ZOOM_H, ZOOM_W, LIGHT]] = 1
    for name, value in values.items():
        table[:, COLUMNS[name]] = value
    return table


COLUMNS = {
    "angle": ANGLE,
    "down": DOWN,
    "right": RIGHT,
    "shear": SHEAR,
    "zoom_h": ZOOM_H,
    "zoom_w": ZOOM_W,
    "flip_h": FLIP_H,
    "flip_v": FLIP_V,
}


def keras(image: np.ndarray, p: dict[str, float], swap: bool = False) -> np.ndarray:
    """One image [3, H, W] through Keras' apply_affine_transform and flip_axis, written from its formulas."""
    _, height, width = image.shape
    matrix = np.eye(3)
    theta, shear = np.deg2rad(p.get("angle", 0)), np.deg2rad(p.get("shear", 0))
    c, s = np.cos(theta), np.sin(theta)
    matrix = matrix @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    matrix = matrix @ np.array(
        [[1, 0, p.get("down", 0) * height], [0, 1, p.get("right", 0) * width], [0, 0, 1]]
    )
    matrix = matrix @ np.array([[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]])
    matrix = matrix @ np.diag([p.get("zoom_h", 1), p.get("zoom_w", 1), 1])
    o_x, o_y = height / 2 - 0.5, width / 2 - 0.5
    matrix = (
        np.array([[1, 0, o_x], [0, 1, o_y], [0, 0, 1]])
        @ matrix
        @ np.array([[1, 0, -o_x], [0, 1, -o_y], [0, 0, 1]])
    )
    if swap:
        matrix = matrix[[1, 0, 2]][:, [1, 0, 2]]
    warped = np.stack(
        [ndimage.affine_transform(x, matrix[:2, :2], matrix[:2, 2], order=1, mode="nearest") for x in image]
    )
    if p.get("flip_h"):
        warped = warped[:, :, ::-1]
    return warped[:, ::-1] if p.get("flip_v") else warped


@pytest.mark.parametrize(
    "p",
    [
        {"angle": 27.0},
        {"down": 0.2, "right": -0.13},
        {"shear": 0.2},
        {"shear": 40.0},
        {"zoom_h": 1.2, "zoom_w": 0.8},
        {"flip_h": 1.0},
        {"angle": -12.0, "flip_v": 1.0},
        {
            "angle": -30.0,
            "down": -0.1,
            "right": 0.2,
            "shear": 11.0,
            "zoom_h": 0.7,
            "zoom_w": 1.3,
            "flip_h": 1.0,
        },
        {
            "angle": 170.0,
            "down": 0.5,
            "shear": -60.0,
            "zoom_h": 1.9,
            "zoom_w": 0.3,
            "flip_h": 1.0,
            "flip_v": 1.0,
        },
    ],
)
@pytest.mark.parametrize("size", [(21, 32), (32, 20), (17, 17)])
def test_equals_keras(p: dict[str, float], size: tuple[int, int]) -> None:
    image = photos(1, *size).float()
    got = warp(image, row(**p))[0].numpy()
    np.testing.assert_allclose(got, keras(image[0].double().numpy(), p), atol=0.02)  # of 255; float32 grid


def test_newer_keras_is_the_transposed_warp() -> None:
    """Keras since 2.8 uses P M P on rows and columns: our warp of the transposed image, transposed."""
    image, p = (
        photos(1, 19, 19).float(),
        {"angle": 20.0, "down": 0.2, "right": -0.1, "shear": 9.0, "zoom_h": 0.8},
    )
    turned = warp(image.mT, row(**p)).mT[0].numpy()
    swapped = keras(image[0].double().numpy(), p, swap=True)
    np.testing.assert_allclose(turned, swapped, atol=0.02)


def test_each_row_gets_its_own_warp() -> None:
    images = photos(3).float()
    cases = [{"angle": 10.0}, {"right": 0.25}, {"zoom_h": 0.6, "flip_h": 1.0}]
    got = warp(images, torch.cat([row(**p) for p in cases])).numpy()
    for image, p, result in zip(images.double().numpy(), cases, got, strict=True):
        np.testing.assert_allclose(result, keras(image, p), atol=0.02)


def test_no_change_gives_the_image_back() -> None:
    images = photos(2).float()
    torch.testing.assert_close(warp(images, row().repeat(2, 1)), images, atol=5e-3, rtol=0)


def test_the_storys_shear_is_nearly_nothing() -> None:
    shear = keras_matrices(row(shear=0.2)) - keras_matrices(row())
    assert shear.abs().max() < 0.004  # 0.2 degrees; the author likely meant 0.2 radians


def test_half_precision_training_warps_alike() -> None:
    images = photos(2, 64, 64).float()
    expected = warp(images, row(angle=20.0, right=0.1).repeat(2, 1))
    with torch.autocast("cpu", torch.bfloat16):
        got = warp(images, row(angle=20.0, right=0.1).repeat(2, 1))
    assert got.dtype == torch.float32
    assert torch.equal(got, expected)


def test_nothing_on_builds_nothing() -> None:
    assert build_augment(AugmentConfig("none"), 1, files(10)) is None


@pytest.mark.parametrize(
    "on",
    [
        {"rotation": 1},
        {"shift": [0, 0.1]},
        {"shear": 1},
        {"zoom": 0.1},
        {"vertical_flip": True},
        {"horizontal_flip": True},
        {"brightness": 0.1},
        {"policy": "trivial"},
        {"policy": "randaugment"},
        {"erasing": 1.0},
    ],
)
def test_anything_on_builds_and_acts(on: dict[str, Any]) -> None:
    augment = build_augment(AugmentConfig("x", **on), 1, files(8))
    assert augment is not None
    images = photos(8)
    got = augment(images, torch.arange(8), 0)
    assert got.dtype == torch.float32
    assert got.shape == images.shape
    assert got.min() >= 0
    assert got.max() <= 255.001
    assert not torch.allclose(got, images.float(), atol=0.5)


def test_brightness_alone_is_exact() -> None:
    augment = build_augment(AugmentConfig("x", brightness=0.5), 4, files(6))
    assert augment is not None
    rows = torch.tensor([5, 0, 3])
    images = photos(3)
    light = augment.parameters(2)[rows, LIGHT].float().view(-1, 1, 1, 1)
    assert torch.equal(augment(images, rows, 2), (images.float() * light).clamp(0, 255))


def test_a_rows_warp_depends_on_seed_epoch_and_row_alone() -> None:
    config = AugmentConfig("x", **STORY, brightness=0.2, policy="trivial", erasing=0.5)
    images = photos(12)
    whole = build_augment(config, 7, files(12))
    other = build_augment(config, 7, files(12))
    assert whole is not None
    assert other is not None
    for epoch in (0, 1):
        whole(images, torch.arange(12), epoch)
    expected = whole(images, torch.arange(12), 5)
    torch.manual_seed(99)  # the global stream plays no part; `other` starts at epoch 5, as after a resume
    shuffled = torch.tensor([9, 2, 11, 0])
    got = torch.cat([other(images[part], part, 5) for part in shuffled.split(2)])
    assert torch.equal(got, expected[shuffled])
    assert torch.equal(whole(images, torch.arange(12), 5), expected)
    assert not torch.equal(whole(images, torch.arange(12), 6), expected)
    reseeded = build_augment(config, 8, files(12))
    assert reseeded is not None
    assert not torch.equal(reseeded(images, torch.arange(12), 5), expected)


def test_calling_leaves_the_global_stream_alone() -> None:
    augment = build_augment(AugmentConfig("x", **STORY, policy="randaugment", erasing=1.0), 7, files(4))
    assert augment is not None
    before = torch.get_rng_state()
    augment(photos(4), torch.arange(4), 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_parameters_fill_their_ranges() -> None:
    augment = build_augment(AugmentConfig("x", **STORY, brightness=0.1), 1, files(4000))
    assert augment is not None
    table = augment.parameters(3)
    for column, middle, spread in (
        (ANGLE, 0, 30),
        (DOWN, 0, 0.2),
        (RIGHT, 0, 0.2),
        (SHEAR, 0, 0.2),
        (ZOOM_H, 1, 0.2),
        (ZOOM_W, 1, 0.2),
        (LIGHT, 1, 0.1),
    ):
        values = (table[:, column] - middle) / spread
        assert values.abs().max() <= 1
        assert values.abs().max() > 0.99
        assert abs(values.mean()) < 0.05
        assert abs(values.std() - 3**-0.5) < 0.02
    assert 0.45 < table[:, FLIP_H].mean() < 0.55
    assert table[:, FLIP_V].sum() == 0
    assert abs(np.corrcoef(table[:, ZOOM_H], table[:, ZOOM_W])[0, 1]) < 0.1  # drawn apart


def test_erasing_fills_a_rectangle_of_its_share_with_the_mean_colour() -> None:
    augment = build_augment(AugmentConfig("x", erasing=0.4), 1, files(300))
    assert augment is not None
    images = photos(300, 16, 16).float()
    changed = augment(images, torch.arange(300), 0) != images
    erased = changed.flatten(1).any(1)
    assert 0.3 < float(erased.double().mean()) < 0.5
    for image, got, where in zip(
        images[erased], augment(images, torch.arange(300), 0)[erased], changed[erased], strict=True
    ):
        filled = got[:, where.all(0)]
        assert torch.allclose(filled, image.mean((1, 2))[:, None].expand_as(filled), atol=1e-3)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_images_have_the_shares_of_both_classes(kind: str) -> None:
    colours = torch.tensor([0.0, 100.0, 200.0, 255.0])
    images = colours.view(4, 1, 1, 1).expand(4, 3, 20, 20)
    labels = torch.arange(4)
    before = torch.get_rng_state()
    mixed, shares = mix(kind, 5, images, labels, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert shares.shape == (4, 5)
    assert torch.allclose(shares.sum(1), torch.ones(4))
    assert shares[:, 4].max() == 0
    assert 0 < shares[0, 0] < 1
    assert torch.allclose(mixed.mean((1, 2, 3)), shares[:, :4] @ colours, atol=0.5)
    assert not torch.equal(mix(kind, 5, images, labels, seed=4)[1], shares)


def test_training_batches_are_mixed_and_others_are_not() -> None:
    table = SimpleNamespace(classes=["a", "b"])
    prepared: Any = SimpleNamespace(table=table, pixels=SimpleNamespace(keep=True))
    module = ImageDataModule(prepared, 4, 1, 0, None, "mixup")
    module.trainer = SimpleNamespace(training=True, current_epoch=2)  # type: ignore[assignment]
    batch = {"image": photos(4), "label": torch.tensor([0, 1, 0, 1]), "index": torch.arange(4)}
    mixed = module.on_after_batch_transfer(batch, 0)
    assert mixed["target"].shape == (4, 2)
    assert torch.equal(module.on_after_batch_transfer(batch, 0)["image"], mixed["image"])
    module.trainer = SimpleNamespace(training=False, current_epoch=2)  # type: ignore[assignment]
    assert module.on_after_batch_transfer(batch, 0) is batch
