"""What an epoch does to the training images: their order, and Keras' ImageDataGenerator as one affine warp of a batch.

Its apply_affine_transform composes rotation, shift, shear and zoom, in that order, about the centre pixel
``side / 2 - 0.5``, interpolates linearly and fills with the nearest pixel; flips, then brightness, come after.
``shear`` is in degrees there: 0.2, as in the original question, is a fifth of a degree.

The matrix acts on (row, column), as in keras_preprocessing 1.x, so the height shift moves rows. Keras since 2.8
transposes the centred matrix (keras-preprocessing pull request 318), by which the height shift moves columns and
an image that isn't square turns about a wrong point; that is not copied. On square images with equal ranges for
both axes, as in the original question, both draw from the same distribution (but for the axis of that tiny shear).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from seedsweep.data.options import AugmentConfig


def epoch_order(n: int, batch_size: int, seed: int, epoch: int) -> Tensor:
    """Returns positions 0..n-1 in random order, int64: a pure function of its arguments.

    The last one is left out where it would be a batch by itself: BatchNorm can't take batch statistics of one.
    """
    generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
    return torch.randperm(n, generator=generator)[: length(n, batch_size)]


def length(n: int, batch_size: int) -> int:
    """Returns how many images an epoch has."""
    return n - 1 if batch_size > 1 and n > 1 and n % batch_size == 1 else n


def epoch_seed(seed: int, epoch: int) -> int:
    """Returns the seed of an epoch's random numbers."""
    return (seed * 1_000_003 + epoch) % 2**63


GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64's
# columns of the parameter table
ANGLE, DOWN, RIGHT, SHEAR, ZOOM_H, ZOOM_W, FLIP_H, FLIP_V, LIGHT = range(9)


def build_augment(config: AugmentConfig, seed: int, digests: Sequence[str]) -> Augment | None:
    """Returns what changes each training image by itself, seeded by its SHA-256, or None if nothing is switched on."""
    on = _moves(config) or config.brightness or _has_policy(config)
    return Augment(config, seed, digests) if on else None


def _moves(c: AugmentConfig) -> bool:
    return any((c.rotation, *c.shift, c.shear, c.zoom, c.horizontal_flip, c.vertical_flip))


def _has_policy(c: AugmentConfig) -> bool:
    return c.policy != "none" or c.erasing > 0


class Augment:
    """Random warp and policy whose parameters are a pure function of (seed, epoch, the file's bytes).

    Neither the make-up of a batch, nor worker processes, nor a resume, nor images that were added or taken away
    change what an image looks like in an epoch.
    """

    def __init__(self, config: AugmentConfig, seed: int, digests: Sequence[str]) -> None:
        self.config = config
        self.seed = seed
        self._keys = np.asarray([int(digest[:16], 16) for digest in digests], dtype=np.uint64)
        self._drawn = -1, torch.zeros(0)
        self._policy: Callable[[Tensor, list[int]], Tensor] | None = None
        if _has_policy(config):  # imported here: it takes a second, and few runs need it
            from seedsweep.data.random_policy import RandomPolicy

            self._policy = RandomPolicy(config.policy, config.erasing)

    def parameters(self, epoch: int) -> Tensor:
        """Returns the parameters [rows, 9] of an epoch."""
        drawn_for, drawn = self._drawn
        if epoch == drawn_for:
            return drawn
        c = self.config
        uniform = torch.from_numpy(_uniform(self._keys, self.seed, epoch, 9))
        centre = torch.tensor([0, 0, 0, 0, 1, 1, 0, 0, 1], dtype=uniform.dtype)
        spread = [c.rotation, *c.shift, c.shear, c.zoom, c.zoom, 0, 0, c.brightness]
        table = centre + (2 * uniform - 1) * torch.tensor(spread, dtype=uniform.dtype)
        table[:, FLIP_H] = (uniform[:, FLIP_H] < 0.5) & torch.tensor(c.horizontal_flip)
        table[:, FLIP_V] = (uniform[:, FLIP_V] < 0.5) & torch.tensor(c.vertical_flip)
        self._drawn = epoch, table  # at once: features are extracted in threads
        return table

    def __call__(self, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Returns float32 images [B, 3, H, W], 0..255, of images [B, 3, H, W] that are rows ``indices`` [B]."""
        parameters = self.parameters(epoch)[indices.cpu()]
        light = parameters[:, LIGHT].float().view(-1, 1, 1, 1).to(images.device)
        warped = warp(images.float(), parameters) if _moves(self.config) else images.float()
        if self.config.brightness:
            warped = (warped * light).clamp(0, 255)
        return warped if self._policy is None else self._policy(warped, self.seeds(indices, epoch))

    def seeds(self, indices: Tensor, epoch: int) -> list[int]:
        """Returns a seed for each of the rows ``indices`` [B] in an epoch."""
        seeds: list[int] = _seeds(self._keys[indices.cpu().numpy()], self.seed, epoch).tolist()
        return seeds


def _seeds(keys: NDArray[np.uint64], seed: int, epoch: int) -> NDArray[np.uint64]:
    """Returns 64-bit numbers [rows] that depend on all three: where SplitMix64 begins."""
    return _mixed(keys ^ _mixed(np.asarray([seed], dtype=np.uint64) * GOLDEN + np.uint64(epoch)))


def _uniform(keys: NDArray[np.uint64], seed: int, epoch: int, columns: int) -> NDArray[np.float64]:
    """Returns numbers in [0, 1) [rows, columns]: SplitMix64 (Steele, Lea and Flood 2014) in counter mode."""
    counter = _seeds(keys, seed, epoch)[:, None] + GOLDEN * np.arange(1, columns + 1, dtype=np.uint64)
    return (_mixed(counter) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Applies the last step of SplitMix64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def keras_matrices(parameters: Tensor) -> Tensor:
    """Returns Keras' matrices [B, 3, 3], output (row, column, 1), from the centre, to input; shifts [B, 9] are in
    pixels."""
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
    ones = torch.ones(len(pixels), dtype=pixels.dtype)
    flip = torch.stack([1 - 2 * pixels[:, FLIP_V], 1 - 2 * pixels[:, FLIP_H], ones], 1)
    matrices = matrices * flip[:, None]
    # (row, column) in pixels from the centre -> (x, y) in affine_grid's units, half a side each
    half = torch.tensor([max(width - 1, 1) / 2, max(height - 1, 1) / 2, 1.0], dtype=pixels.dtype)
    theta = matrices[:, [1, 0]][:, :, [1, 0, 2]] * half / half[:2, None]
    # mixed precision would round the grid to bf16, which is several pixels at 224
    with torch.autocast(images.device.type, enabled=False):
        grid = functional.affine_grid(
            theta.to(images.device, images.dtype), list(images.shape), align_corners=True
        )
        return functional.grid_sample(
            images, grid, mode="bilinear", padding_mode="border", align_corners=True
        )
