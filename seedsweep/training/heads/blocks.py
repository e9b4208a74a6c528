"""The first layers of several heads, cut into blocks of units that a CPU's cache can hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seedsweep.models.classifier import Head

WEIGHTS = 400_000  # of a block, a thread; measured at 2,048 features: 260,000 to 520,000 are alike, the whole is slower
BATCH = 32  # that this was measured with


class Place:
    """Where a head's hidden units are, and the gradients of what is small: last layer, first bias."""

    def __init__(self, head: Head, start: int, generator: torch.Generator) -> None:
        self.linear = head.hidden is None
        self.width = head.output.in_features
        self.columns = slice(start, start + self.width)
        self.dropout = head.dropout
        self.generator = generator
        self.second = head.output.weight.detach()  # [N, width]
        self.second_bias = head.output.bias.detach()
        self.gradients = [torch.empty_like(self.second), torch.empty_like(self.second_bias)]


@dataclass
class Part:
    """What a block holds of one head.

    ``parameters`` says which of the head's parameters are updated with the block (see ``HeadStack.parameters``),
    ``gradients`` are theirs.
    """

    head: int
    parameters: slice
    gradients: list[Tensor]


@dataclass
class Block:
    """Consecutive units of the stack.

    ``weight`` [units, C] is a part of the stack's matrix; ``gradient`` [units, C] and, where products are taken
    in bfloat16, ``rounded`` [units, C] are memory that all blocks share.
    """

    columns: slice
    weight: Tensor
    gradient: Tensor
    rounded: Tensor | None
    parts: list[Part] = field(default_factory=list)


def weights_of_a_block(device: torch.device, batch_size: int) -> float:
    """Returns how many weights a block should hold: each thread's share stays in its core's cache.

    The larger the batch, the more arithmetic a weight brings, and the less it matters how often it is fetched.
    """
    if device.type != "cpu":  # a GPU's calls cost more than its memory
        return float("inf")
    return WEIGHTS * torch.get_num_threads() * max(1.0, batch_size / BATCH)


def parts_of(weight: Tensor, wanted: float) -> Sequence[Tensor]:
    """Returns the blocks [units, C] of a head's first layer [width, C], of about ``wanted`` weights."""
    return torch.tensor_split(weight, min(len(weight), max(1, round(weight.numel() / wanted))))


def cut_in_blocks(places: Sequence[Place], weight: Tensor, wanted: float, dtype: torch.dtype) -> list[Block]:
    """Cuts the stack's matrix: a wide head has several blocks, narrow neighbours share one as far as it holds them.

    Args:
        places: of the heads.
        weight: [width, C], of all heads that have a hidden layer.
        wanted: weights of a block.
        dtype: that products are taken in.
    """
    held: list[list[tuple[int, int, int]]] = []  # of each block: head, number of its part, units
    units = 0  # of the last block
    for head, place in enumerate(places):
        if place.linear:
            continue
        for number, part in enumerate(parts_of(weight[place.columns], wanted)):
            if not held or (units + len(part)) * weight.shape[1] > wanted:
                held.append([])
                units = 0
            held[-1].append((head, number, len(part)))
            units += len(part)
    sizes = [sum(own for _, _, own in block) for block in held]
    gradient = torch.empty(max(sizes), weight.shape[1], device=weight.device)
    rounded = None if dtype == torch.float32 else torch.empty_like(gradient, dtype=dtype)
    blocks, start = [], 0
    for pieces, units in zip(held, sizes, strict=True):
        columns = slice(start, start + units)
        block = Block(
            columns, weight[columns], gradient[:units], None if rounded is None else rounded[:units]
        )
        own = torch.split(block.gradient, [each for _, _, each in pieces])
        for (head, number, _), part in zip(pieces, own, strict=True):
            if number == 0:  # what is small goes with the first
                block.parts.append(Part(head, slice(0, 4), [*places[head].gradients, part]))
            else:
                block.parts.append(Part(head, slice(3 + number, 4 + number), [part]))
        blocks.append(block)
        start += units
    return blocks
