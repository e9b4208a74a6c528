"""Two modes of one net on the same images, and each norm layer's input against its stored statistics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from seedsweep.batchnorm.batches import batch_statistics
from seedsweep.batchnorm.policy import norm_layers, statistics_untouched
from seedsweep.diagnosis.rehearse import paired_error
from seedsweep.diagnosis.stored_features import Material

EVAL_BATCH = 64


@dataclass(frozen=True)
class Modes:
    """Answers and cross-entropy on the same images, BatchNorm on the batch's and on the stored statistics.

    Attributes:
        predicted_batch: classes, [n].
        predicted_stored: classes, [n].
        labels: [n].
        loss_batch: mean cross-entropy.
        loss_stored: mean cross-entropy.
    """

    predicted_batch: NDArray[np.int64]
    predicted_stored: NDArray[np.int64]
    labels: NDArray[np.int64]
    loss_batch: float
    loss_stored: float

    @property
    def acc_batch(self) -> float:
        """Accuracy with the batch's statistics."""
        return float((self.predicted_batch == self.labels).mean())

    @property
    def acc_stored(self) -> float:
        """Accuracy with the stored statistics."""
        return float((self.predicted_stored == self.labels).mean())

    @property
    def error(self) -> float:
        """Standard error of :attr:`gap`."""
        return paired_error(self.predicted_batch, self.predicted_stored, self.labels)

    @property
    def gap(self) -> float:
        """By how much the net answers better with the batch's statistics."""
        return self.acc_batch - self.acc_stored


@dataclass(frozen=True)
class Shifts:
    """How far images are from a net's stored statistics, a number a norm layer, in the order of execution.

    Attributes:
        names: of the layers.
        shift: median over the channels of |mean - stored mean| / stored sd.
        spread: median of the sd / stored sd.
        noise: median of the sd of a batch's mean about the mean of all, / stored sd: what batch statistics add.
    """

    names: list[str]
    shift: NDArray[np.float64]
    spread: NDArray[np.float64]
    noise: NDArray[np.float64]


@torch.inference_mode()
def two_modes(net: nn.Module, material: Material, positions: Tensor, batch_size: int) -> Modes:
    """Measures ``net`` on training images by position, shuffled, un-augmented, dropout off; it is left as it was."""
    if len(positions) > 1 and len(positions) % batch_size == 1:
        positions = positions[:-1]  # a batch of one has no batch statistics
    labels = material.train_labels[positions]

    def logits(size: int) -> Tensor:
        return torch.cat([net(material.train_pixels(part)) for part in torch.split(positions, size)]).float()

    with statistics_untouched(net):
        net.eval()
        stored = logits(EVAL_BATCH)
    with batch_statistics(net):
        batch = logits(batch_size)
    return Modes(
        batch.argmax(1).numpy(),
        stored.argmax(1).numpy(),
        labels.numpy(),
        float(functional.cross_entropy(batch, labels)),
        float(functional.cross_entropy(stored, labels)),
    )


@torch.inference_mode()
def layer_shifts(net: nn.Module, batches: list[Tensor]) -> Shifts:
    """Passes ``batches`` of what ``net`` reads in eval mode, and looks at what reaches each norm layer.

    Args:
        net: with norm layers; left as it was.
        batches: of the training's size; small ones pass together, for in eval mode no image knows of another.
    """
    layers = norm_layers(net)
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name, _ in layers}
    order: list[str] = []
    size = 0  # of the batches of the present pass

    def look(name: str, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].float()
        x = x.reshape(-1, size, *x.shape[1:])
        dims = [1, *range(3, x.ndim)]
        if not seen[name]:
            order.append(name)
        seen[name].append((x.mean(dims), x.square().mean(dims)))

    handles = [
        layer.register_forward_pre_hook(lambda _layer, inputs, name=name: look(name, inputs))
        for name, layer in layers
    ]
    try:
        with statistics_untouched(net):
            net.eval()
            for size, together in _passes(batches):  # noqa: B007 - `look` reads the size
                net(together)
    finally:
        for handle in handles:
            handle.remove()
    by_name = dict(layers)
    rows = []
    for name in order:
        layer = by_name[name]
        assert layer.running_mean is not None
        assert layer.running_var is not None
        means, squares = (torch.cat(part).double() for part in zip(*seen[name], strict=True))
        mean, var = means.mean(0), (squares.mean(0) - means.mean(0).square()).clamp(min=0)
        sd = (layer.running_var.double() + layer.eps).sqrt()
        shift = (mean - layer.running_mean.double()).abs() / sd
        noise = means.std(0, unbiased=False) / sd
        rows.append([float(each.median()) for each in (shift, (var + layer.eps).sqrt() / sd, noise)])
    columns = np.asarray(rows).T if rows else np.zeros((3, 0))
    return Shifts(order, columns[0], columns[1], columns[2])


def _passes(batches: list[Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Joins consecutive batches of one size to passes of up to ``EVAL_BATCH`` images; yields their size with each."""
    for size, equal in groupby(batches, len):
        some = list(equal)
        count = max(1, EVAL_BATCH // size)
        for start in range(0, len(some), count):
            yield size, torch.cat(some[start : start + count])
