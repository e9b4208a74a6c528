"""A dense layer's product, in the shapes that a CPU's library multiplies fastest."""

from __future__ import annotations

import torch
from torch import Tensor

# One thread takes a product of more than WIDE units in parts of about UNITS. Measured on AVX2 with MKL, batches of
# 256, 2,048 features, two processes of one thread: heads of 1,356 to 1,933 units train in 0.92 to 0.94 of the time;
# narrower ones gain nothing or lose. Several threads were not measured.
WIDE, UNITS = 1200, 512


def product(bias: Tensor, x: Tensor, weight: Tensor, out: Tensor) -> Tensor:
    """Writes ``x weight^T + bias`` into ``out``.

    Args:
        bias: [units].
        x: [n, C].
        weight: [units, C].
        out: [n, units]; may be columns of a larger matrix.

    Returns:
        ``out``.
    """
    units = len(weight)
    if units <= WIDE or weight.device.type != "cpu" or torch.get_num_threads() > 1:
        return torch.addmm(bias, x, weight.t(), out=out)
    calls = round(units / UNITS)
    for part in zip(*(t.tensor_split(calls, d) for t, d in ((bias, 0), (weight, 0), (out, 1))), strict=True):
        torch.addmm(part[0], x, part[1].t(), out=part[2])
    return out
