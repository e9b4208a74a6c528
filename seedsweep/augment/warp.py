"""Keras' ImageDataGenerator as one affine warp a batch.

Its apply_affine_transform composes rotation, shift, shear and zoom, in that order, about the centre pixel
``side / 2 - 0.5``, interpolates linearly and fills with the nearest pixel; flips, then brightness, come after.
``shear`` is in degrees there: the story's 0.2 is a fifth of a degree.

The matrix acts on (row, column), as in keras_preprocessing 1.x, so the height shift moves rows. Keras since 2.8
transposes the centred matrix (keras-preprocessing pull request 318), by which the height shift moves columns and
an image that isn't square turns about a wrong point; that is not copied. On square images with equal ranges for
both axes, the story's case, both draw from the same distribution (but for the axis of that tiny shear).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from seedsweep.config.schema import AugmentConfig

# columns of the parameter table
ANGLE, DOWN, RIGHT, SHEAR, ZOOM_H, ZOOM_W, FLIP_H, FLIP_V, LIGHT = range(9)


def build_augment(config: AugmentConfig, seed: int, n_rows: int) -> Augment | None:
    """Returns the warp, or None if nothing of it is switched on.

    Args:
        config: the ranges.
        seed: the run's seed.
        n_rows: rows of the image table.
    """
    active = (
        config.rotation,
        *config.shift,
        config.shear,
        config.zoom,
        config.horizontal_flip,
        config.vertical_flip,
        config.brightness,
    )
    return Augment(config, seed, n_rows) if any(active) else None


class Augment:
    """Random warp whose parameters are a pure function of (seed, epoch, row).

    Neither the make-up of a batch, nor worker processes, nor a resume changes what an image looks like in an
    epoch.
    """

    def __init__(self, config: AugmentConfig, seed: int, n_rows: int) -> None:
        self.config = config
        self.seed = seed
        self.n_rows = n_rows
        c = config
        self._moves = any((c.rotation, *c.shift, c.shear, c.zoom, c.horizontal_flip, c.vertical_flip))
        self._epoch = -1
        self._table = torch.zeros(0)

    def parameters(self, epoch: int) -> Tensor:
        """Returns the parameters [n_rows, 9] of an epoch."""
        if epoch == self._epoch:
            return self._table
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch * 7919 + 17) % 2**63)
        uniform = torch.rand(self.n_rows, 9, generator=generator, dtype=torch.float64)
        c, spread = self.config, 2 * uniform - 1
        table = torch.zeros_like(uniform)
        table[:, ANGLE] = spread[:, ANGLE] * c.rotation
        table[:, DOWN] = spread[:, DOWN] * c.shift[0]
        table[:, RIGHT] = spread[:, RIGHT] * c.shift[1]
        table[:, SHEAR] = spread[:, SHEAR] * c.shear
        table[:, ZOOM_H] = 1 + spread[:, ZOOM_H] * c.zoom
        table[:, ZOOM_W] = 1 + spread[:, ZOOM_W] * c.zoom
        table[:, FLIP_H] = (uniform[:, FLIP_H] < 0.5) & torch.tensor(c.horizontal_flip)
        table[:, FLIP_V] = (uniform[:, FLIP_V] < 0.5) & torch.tensor(c.vertical_flip)
        table[:, LIGHT] = 1 + spread[:, LIGHT] * c.brightness
        self._epoch, self._table = epoch, table
        return table

    def __call__(self, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Returns float32 images [B, 3, H, W], 0..255, of images [B, 3, H, W] that are rows ``indices`` [B]."""
        parameters = self.parameters(epoch)[indices.cpu()]
        light = parameters[:, LIGHT].float().view(-1, 1, 1, 1).to(images.device)
        warped = warp(images.float(), parameters) if self._moves else images.float()
        return warped if self.config.brightness == 0 else (warped * light).clamp(0, 255)


def keras_matrices(parameters: Tensor) -> Tensor:
    """Returns Keras' matrices [B, 3, 3]: output (row, column, 1), from the centre, to input.

    Args:
        parameters: [B, 9]; shifts already in pixels.
    """
    angle, shear = torch.deg2rad(parameters[:, ANGLE]), torch.deg2rad(parameters[:, SHEAR])
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)

    def matrix(*rows: Tensor) -> Tensor:
        return torch.stack(rows, 1).view(-1, 3, 3)

    cos, sin = torch.cos, torch.sin
    rotation = matrix(cos(angle), -sin(angle), zero, sin(angle), cos(angle), zero, zero, zero, one)
    shift = matrix(one, zero, parameters[:, DOWN], zero, one, parameters[:, RIGHT], zero, zero, one)
    shearing = matrix(one, -sin(shear), zero, zero, cos(shear), zero, zero, zero, one)
    zoom = matrix(parameters[:, ZOOM_H], zero, zero, zero, parameters[:, ZOOM_W], zero, zero, zero, one)
    return rotation @ shift @ shearing @ zoom


def warp(images: Tensor, parameters: Tensor) -> Tensor:
    """Warps float images [B, C, H, W] by parameters [B, 9] (shifts as fractions of height and width)."""
    _, _, height, width = images.shape
    pixels = parameters.clone()
    pixels[:, DOWN] *= height
    pixels[:, RIGHT] *= width
    matrices = keras_matrices(pixels)
    # the flip is done on the warped image, so it acts first on output coordinates
    flip = torch.diag_embed(
        torch.stack(
            [
                1 - 2 * pixels[:, FLIP_V],
                1 - 2 * pixels[:, FLIP_H],
                torch.ones(len(pixels), dtype=pixels.dtype),
            ],
            1,
        )
    )
    matrices = matrices @ flip
    # (row, column) in pixels from the centre -> (x, y) in affine_grid's units, half a side each
    half_h, half_w = max(height - 1, 1) / 2, max(width - 1, 1) / 2
    a = matrices
    theta = torch.stack(
        [
            torch.stack([a[:, 1, 1], a[:, 1, 0] * half_h / half_w, a[:, 1, 2] / half_w], 1),
            torch.stack([a[:, 0, 1] * half_w / half_h, a[:, 0, 0], a[:, 0, 2] / half_h], 1),
        ],
        1,
    )
    # mixed precision would round the grid to bf16, which is several pixels at 224
    with torch.autocast(images.device.type, enabled=False):
        grid = functional.affine_grid(
            theta.to(images.device, images.dtype), list(images.shape), align_corners=True
        )
        return functional.grid_sample(
            images, grid, mode="bilinear", padding_mode="border", align_corners=True
        )
