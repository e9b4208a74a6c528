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
    columns: list[slice] = []
    pieces: list[list[tuple[int, int, int]]] = []  # of each block: head, number of the part, units
    for head, place in enumerate(places):
        if place.linear:
            continue
        at = place.columns.start
        for number, part in enumerate(parts_of(weight[place.columns], wanted)):
            units = len(part)
            together = units + (columns[-1].stop - columns[-1].start if columns else 0)
            if columns and together * weight.shape[1] <= wanted:
                columns[-1] = slice(columns[-1].start, at + units)
                pieces[-1].append((head, number, units))
            else:
                columns.append(slice(at, at + units))
                pieces.append([(head, number, units)])
            at += units
    most = max(c.stop - c.start for c in columns)
    shared = torch.empty(most, weight.shape[1], device=weight.device)
    rounded = None if dtype == torch.float32 else torch.empty_like(shared, dtype=dtype)
    blocks = []
    for span, held in zip(columns, pieces, strict=True):
        units = span.stop - span.start
        block = Block(span, weight[span], shared[:units], None if rounded is None else rounded[:units])
        start = 0
        for head, number, own in held:
            gradient = block.gradient[start : start + own]
            if number == 0:  # what is small goes with the first
                block.parts.append(Part(head, slice(0, 4), [*places[head].gradients, gradient]))
            else:
                block.parts.append(Part(head, slice(3 + number, 4 + number), [gradient]))
            start += own
        blocks.append(block)
    return blocks
