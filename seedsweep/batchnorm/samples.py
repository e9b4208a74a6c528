"""What a loader gives: inputs, labels, identities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seedsweep.errors import SeedsweepError


def inputs_of(batch: Any) -> Tensor:
    """Returns the inputs of a loader's batch: itself, or the first part of a tuple or list.

    Raises:
        SeedsweepError: that is no tensor.
    """
    first = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
    if not isinstance(first, Tensor):
        raise SeedsweepError(
            f"The loader gives batches of type {type(batch).__name__}, whose inputs can't be found: let it give "
            "tensors, or tuples that begin with one."
        )
    return first


def labels_of(batch: Any) -> Tensor:
    """Returns the class numbers, int64 [B], of a loader's batch ``(inputs, labels, ...)``.

    Raises:
        SeedsweepError: there are none, or not one an input.
    """
    labels = batch[1] if isinstance(batch, (tuple, list)) and len(batch) > 1 else None
    if (
        not isinstance(labels, Tensor)
        or labels.shape != inputs_of(batch).shape[:1]
        or labels.is_floating_point()
    ):
        raise SeedsweepError(
            "The loader must give tuples (inputs, labels, ...) with a class number for each input, integers [B]."
        )
    return labels.long()


def device_of_net(net: nn.Module) -> torch.device:
    """Returns where a net's parameters are; the CPU for one without any."""
    first = next(net.parameters(), None)
    return torch.device("cpu") if first is None else first.device
