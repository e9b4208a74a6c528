"""Two modes of one net on the same images, and each norm layer's input against its stored statistics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from seedsweep.batchnorm.batches import batch_statistics
from seedsweep.batchnorm.policy import norm_layers, statistics_untouched
from seedsweep.diagnosis.probes import paired_error
from seedsweep.diagnosis.stored_features import EVAL_BATCH, Material


@dataclass(frozen=True)
class Modes:
    """A net on the same images, BatchNorm on the batch's and on the stored statistics."""

    acc_batch: float  # accuracy
    acc_stored: float  # accuracy
    loss_batch: float  # mean cross-entropy
    loss_stored: float  # mean cross-entropy
    error: float  # standard error of the difference of the accuracies

    @property
    def gap(self) -> float:
        """Accuracy with the batch's statistics less that with the stored ones."""
        return self.acc_batch - self.acc_stored


@dataclass(frozen=True)
class Shifts:
    """How far images are from a net's stored statistics, a number a norm layer, in the order of execution."""

    names: list[str]  # of the layers
    shift: NDArray[np.float64]  # median over the channels of |mean - stored mean| / stored sd
    spread: NDArray[np.float64]  # median of the sd / stored sd
    # median of the sd of a batch's mean about the mean of all, / stored sd: what batch statistics add
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
    by_batch, by_stored = batch.argmax(1), stored.argmax(1)
    return Modes(
        float((by_batch == labels).double().mean()),
        float((by_stored == labels).double().mean()),
        float(functional.cross_entropy(batch, labels)),
        float(functional.cross_entropy(stored, labels)),
        paired_error(by_batch.numpy(), by_stored.numpy(), labels.numpy()),
    )


@torch.inference_mode()
def layer_shifts(net: nn.Module, inputs: Iterable[Tensor], batch_size: int) -> Shifts:
    """Looks at what reaches each norm layer in eval mode, where no image changes another's values.

    Args:
        inputs: what ``net`` reads, in passes of any size.
        batch_size: of the training; ``inputs`` in their order make batches of it.
    """
    layers = dict(norm_layers(net))
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {}  # of each image, by layer in the order of execution

    def look(name: str, x: Tensor) -> None:
        values = x.float().flatten(2) if x.ndim > 2 else x.float()[:, :, None]
        seen.setdefault(name, []).append((values.mean(2), values.square().mean(2)))

    handles = [
        layer.register_forward_pre_hook(lambda _layer, given, name=name: look(name, given[0]))
        for name, layer in layers.items()
    ]
    try:
        with statistics_untouched(net):
            net.eval()
            for part in inputs:
                net(part)
    finally:
        for handle in handles:
            handle.remove()
    rows = []
    for name, parts in seen.items():
        layer = layers[name]
        assert layer.running_mean is not None
        assert layer.running_var is not None
        means, squares = (torch.cat(each).double() for each in zip(*parts, strict=True))
        mean, var = means.mean(0), (squares.mean(0) - means.mean(0).square()).clamp(min=0)
        sd = (layer.running_var.double() + layer.eps).sqrt()
        of_batches = torch.stack([batch.mean(0) for batch in torch.split(means, batch_size)])
        shift = (mean - layer.running_mean.double()).abs() / sd
        noise = of_batches.std(0, unbiased=False) / sd
        rows.append([float(each.median()) for each in (shift, (var + layer.eps).sqrt() / sd, noise)])
    columns = np.asarray(rows).T if rows else np.zeros((3, 0))
    return Shifts(list(seen), columns[0], columns[1], columns[2])
