"""What heads are trained on, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from seedsweep.features.store import FeatureRows


@dataclass
class HeadData:
    """Features and labels.

    ``train(epoch)`` gives features [n, C] of the training images, ``train_labels`` is int64 [n]; ``val`` and
    ``probe`` are features of the validation images and of the fixed training images of the bn_gap probe.
    """

    train: Callable[[int], FeatureRows]
    train_labels: Tensor
    val: Tensor
    val_labels: Tensor
    probe: Tensor
    probe_labels: Tensor
    classes: list[str]


@dataclass
class HeadSchedule:
    """How long and in what steps.

    ``bfloat16`` takes the large matrix products of a step in it; see ``heads/precision.py``.
    """

    max_epochs: int
    patience: int
    batch_size: int
    seed: int
    bfloat16: bool = False
