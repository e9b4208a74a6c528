"""Memory for the steps of a stack of heads, used again by every batch of one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seedsweep.models.dropout import Mask
from seedsweep.training.heads.blocks import Block, Place


@dataclass
class Own:
    """What a batch holds of one head: its columns of the batch's matrices."""

    place: Place
    units: Tensor
    mask: Mask
    signal: Tensor | None
    logits: Tensor


class Batch:
    """Features, hidden units, logits and gradients of a step with ``size`` images.

    ``x`` [size, C] are the features of the present batch, ``waiting`` is room for those of the next.
    ``dense`` [size, width] are the hidden units, ``signal`` the gradient by them; ``denses`` and ``signals`` are
    their parts by block, ``rounded`` memory for such parts in bfloat16.
    """

    def __init__(
        self,
        size: int,
        places: Sequence[Place],
        blocks: Sequence[Block],
        features: int,
        classes: int,
        dtype: torch.dtype,
    ) -> None:
        device = places[0].second.device
        width = sum(place.width for place in places if not place.linear)
        everything = sum(place.width for place in places)
        self.x = torch.empty(size, features, device=device, dtype=dtype)
        self.waiting = torch.empty_like(self.x)
        units = torch.empty(size, everything, device=device)
        self.dense = units[:, :width]
        self.signal = torch.empty(size, width, device=device)
        self.logits = torch.empty(size, len(places), classes, device=device)
        self.denses = [self.dense[:, block.columns] for block in blocks]
        self.signals = [self.signal[:, block.columns] for block in blocks]
        self.rounded = []
        if dtype != torch.float32:
            self.rounded = [torch.empty(part.shape, device=device, dtype=dtype) for part in self.signals]
        self.own = []
        for number, place in enumerate(places):
            own = units[:, place.columns]
            mask = Mask(torch.empty(own.shape, device=device), place.dropout, place.generator)
            signal = None if place.linear else self.signal[:, place.columns]
            self.own.append(Own(place, own, mask, signal, self.logits[:, number]))

    def turn(self) -> None:
        """Makes the waiting features those of the present batch."""
        self.x, self.waiting = self.waiting, self.x
