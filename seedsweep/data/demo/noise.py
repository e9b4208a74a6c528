"""Banks of smooth random fields, drawn once a process and cropped for each photograph."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
SIDE = 512  # pixels of a bank's field; photographs are smaller


@cache
def _bank(scale: float) -> Field:
    """Returns [4, SIDE, SIDE] fields with structure of about ``scale`` pixels, mean 0, deviation 1."""
    rng = np.random.default_rng(20170 + int(scale * 10))
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    shape = np.exp(-((frequency * scale * 2) ** 2)).astype(np.float32)
    spectrum = np.fft.rfft2(rng.standard_normal((4, SIDE, SIDE))) * shape
    fields = np.fft.irfft2(spectrum, s=(SIDE, SIDE)).astype(np.float32)
    deviation: Field = fields.std(axis=(1, 2), keepdims=True)
    return fields / deviation


def noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Field:
    """Returns a field [H, W] of mean 0 and deviation about 1, with structure of about ``scale`` pixels."""
    bank = _bank(scale)
    top = int(rng.integers(0, SIDE - shape[0]))
    left = int(rng.integers(0, SIDE - shape[1]))
    return bank[int(rng.integers(4)), top : top + shape[0], left : left + shape[1]]


def smoothstep(low: float, high: float, x: NDArray[np.floating[Any]]) -> Field:
    """Returns 0 below ``low``, 1 above ``high``, smooth between; ``low`` may exceed ``high``."""
    t = np.clip((x - low) / (high - low), 0, 1).astype(np.float32)
    step: Field = t * t * (3 - 2 * t)
    return step
