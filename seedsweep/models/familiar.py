"""What training images look like to a net, kept in its checkpoint: are new images like them?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from seedsweep.stats.interval import group_numbers

MOST = 1000  # images that are kept: 2.5 MB with 1280 features
NEAREST = 5
FAR = 0.99  # share of the images at hand that are nearer


@dataclass(frozen=True)
class Familiar:
    """Training images by the features that the head reads (Sun and others 2022: deep nearest neighbours)."""

    points: Tensor  # of length 1, float16 [n, D]
    # distance from them beyond which an image is unlike. One in 100 training images is farther from those of
    # other groups, or one in 100 validation images from all of them, whichever distance is larger.
    far: float

    @classmethod
    def of(cls, train: Tensor, groups: Sequence[str], val: Tensor) -> Familiar | None:
        """Keeps up to ``MOST`` of the training images.

        Args:
            train: features of the training images, [N, D].
            groups: [N] names of what belongs together.
            val: features of the validation images, [M, D].

        Returns:
            None where too few images, or groups, are there to say what is usual.
        """
        rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:MOST]
        points, numbers = (
            _unit(train[rows]),
            group_numbers([groups[row] for row in rows.tolist()], len(rows))[0],
        )
        others = torch.from_numpy(numbers[:, None] != numbers[None])
        if int(others.sum(1).min()) < NEAREST or not bool(points.isfinite().all()):
            return None
        own = _distance((points @ points.T).masked_fill(~others, -1.0))
        far = max(np.quantile(own, FAR), np.quantile(_distance(_unit(val) @ points.T), FAR))
        return cls(points.half(), float(far))

    def distances(self, features: Tensor) -> NDArray[np.float32]:
        """Returns how far images are from training by their features [B, D]: 0 to 2, to the fifth nearest."""
        return _distance(_unit(features) @ self.points.float().T.to(features.device))


def _unit(features: Tensor) -> Tensor:
    return functional.normalize(features.float(), dim=1)


def _distance(likeness: Tensor) -> NDArray[np.float32]:
    nearest = likeness.topk(NEAREST, dim=1).values[:, -1]
    return (2 - 2 * nearest).clamp(min=0).sqrt().cpu().numpy()


@contextmanager
def features_noted(head: nn.Module) -> Iterator[list[Tensor]]:
    """Notes what ``head`` reads meanwhile: float16 [B, D] a call, each row of length 1."""
    noted: list[Tensor] = []
    hook = head.register_forward_pre_hook(
        lambda _, inputs: noted.append(_unit(inputs[0].detach()).half().cpu())
    )
    try:
        yield noted
    finally:
        hook.remove()
