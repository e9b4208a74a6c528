"""Random policies of torchvision, and mixed images: seeded, so that a resumed run draws the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torchvision.transforms import v2

POLICIES = {  # names in torchvision
    "trivial": "TrivialAugmentWide",  # Mueller and Hutter 2021
    "randaugment": "RandAugment",  # Cubuk and others 2020
}
MIXES = {
    "mixup": "MixUp",  # Zhang and others 2018
    "cutmix": "CutMix",  # Yun and others 2019
}
ALPHA = {"mixup": 0.2, "cutmix": 1.0}  # of the papers, for ImageNet
_ONE_AT_A_TIME = threading.Lock()  # these transforms draw from the one generator of the process


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds the process's generator, and gives it its state back."""
    with _ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


class RandomPolicy:
    """A policy for each image by itself, then a random rectangle that is filled with the image's mean colour.

    Args:
        policy: a key of POLICIES, or ``none``.
        erasing: share of the images that get a rectangle (Zhong and others 2020).
    """

    def __init__(self, policy: str, erasing: float) -> None:
        self._change = None if policy == "none" else getattr(v2, POLICIES[policy])()
        self._erase = v2.RandomErasing(p=erasing) if erasing else None  # type: ignore[attr-defined]

    def __call__(self, images: Tensor, seeds: list[int]) -> Tensor:
        """Returns float32 images [B, 3, H, W], 0..255, of such images; ``seeds`` [B] are those of each one."""
        return torch.stack([self._one(image, seed) for image, seed in zip(images, seeds, strict=True)])

    def _one(self, image: Tensor, seed: int) -> Tensor:
        with _seeded(seed):
            if self._change is not None:
                image = self._change(image.round().to(torch.uint8)).float()
            if self._erase is not None:
                mean = image.mean((1, 2), keepdim=True)
                image = self._erase(image - mean) + mean
        return image


def mix(kind: str, classes: int, images: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Mixes images [B, 3, H, W], floats, and labels [B] of a batch with each other; ``kind`` is a key of MIXES.

    Returns:
        Images of the same shape, and the shares of the classes in each: [B, N].
    """
    with _seeded(seed):
        mixed, shares = getattr(v2, MIXES[kind])(alpha=ALPHA[kind], num_classes=classes)(images, labels)
    return mixed, shares
