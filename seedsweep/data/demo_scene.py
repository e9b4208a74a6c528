"""One photograph: a lit seed on a background. Everything but the defect is drawn alike for all classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
SIDE = 512  # pixels of a bank's field; photographs are smaller

# RGB 0..1; the light, the grain and the gain vary around them
SKINS = (
    (0.72, 0.56, 0.36),
    (0.55, 0.38, 0.22),
    (0.62, 0.58, 0.42),
    (0.80, 0.68, 0.48),
    (0.46, 0.32, 0.22),
    (0.60, 0.50, 0.36),
    (0.70, 0.50, 0.30),
    (0.56, 0.52, 0.34),
)
GROUNDS = (
    (0.86, 0.85, 0.82),
    (0.30, 0.34, 0.40),
    (0.52, 0.50, 0.47),
    (0.40, 0.28, 0.20),
    (0.22, 0.22, 0.22),
    (0.35, 0.45, 0.55),
    (0.66, 0.60, 0.50),
    (0.30, 0.42, 0.34),
)


@dataclass
class Seed:
    """A seed before it is lit. Fields are float32 [H, W]; ``u`` runs along it, ``v`` across, -1..1 inside."""

    u: Field
    v: Field
    rho: Field  # 0 at the centre, 1 on the outline
    pixel: float  # one pixel in units of v
    mask: Field  # 1 where there is seed
    albedo: NDArray[np.float32]  # [H, W, 3]
    relief: Field  # added to the height, in units of the half width
    gloss: Field  # factor of the highlight


def coordinates(rng: np.random.Generator, slim: float) -> Seed:
    """Draws size, pose, outline and skin of a sound seed; ``slim`` narrows it (1: not at all)."""
    height, width = (int(n) for n in rng.integers(96, 176, 2))
    side = min(height, width)
    half_length = side * rng.uniform(0.36, 0.43)
    half_width = half_length * rng.uniform(0.58, 0.82) * slim
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y -= height / 2 + rng.uniform(-0.04, 0.04) * height
    x -= width / 2 + rng.uniform(-0.04, 0.04) * width
    u = (x * np.cos(angle) + y * np.sin(angle)) / half_length
    v = (-x * np.sin(angle) + y * np.cos(angle)) / half_width
    theta = np.arctan2(v, u)
    outline = np.ones_like(u)
    for k in (1, 2, 3, 5):
        outline += rng.normal(0, 0.035 / k**0.5) * np.cos(k * theta + rng.uniform(0, 2 * np.pi))
    rho = np.hypot(u, v) / outline
    pixel = 1 / half_width
    skin = np.asarray(SKINS[rng.integers(len(SKINS))], np.float32) * rng.uniform(0.85, 1.12)
    skin = skin + rng.normal(0, 0.02, 3)
    grain = 0.05 * noise(rng, u.shape, 1.5) + 0.05 * noise(rng, u.shape, 6) + 0.05 * noise(rng, u.shape, 24)
    albedo = skin.astype(np.float32) * (1 + grain)[..., None]
    relief = np.zeros_like(u)
    if rng.random() < 0.5:  # a furrow along the seed, as grains and beans have
        furrow = np.exp(-(((v - 0.1 * np.sin(2 * u)) / 0.10) ** 2)) * smoothstep(0.95, 0.6, np.abs(u))
        relief -= 0.10 * furrow
        albedo *= (1 - 0.18 * furrow)[..., None]
    mask = smoothstep(1 + pixel, 1 - pixel, rho)
    return Seed(u, v, rho, pixel, mask, albedo, relief, np.ones_like(u))


def photograph(rng: np.random.Generator, seed: Seed) -> NDArray[np.uint8]:
    """Lights the seed, lays it on a background and adds the camera's noise; returns uint8 [H, W, 3]."""
    shape = seed.u.shape
    direction = rng.uniform(0, 2 * np.pi)
    elevation = rng.uniform(0.7, 1.1)
    light = np.array([np.cos(direction), np.sin(direction)]) * np.cos(elevation)
    up = np.sin(elevation)

    dome = np.sqrt(np.clip(1 - seed.rho**2, 0.02, None)) * 0.75 + seed.relief
    dy, dx = np.gradient(dome)
    slope = 1.0 / seed.pixel
    nx, ny = -dx * slope, -dy * slope
    norm = 1 / np.sqrt(nx**2 + ny**2 + 1)
    lambert = np.clip((nx * light[0] + ny * light[1] + up) * norm, 0, None)
    half = np.clip((nx * light[0] + ny * light[1] + up + 1) * norm / np.sqrt(2 + 2 * up), 0, 1)
    shine = seed.gloss * rng.uniform(0.05, 0.28) * half ** rng.uniform(20, 50)
    lit = seed.albedo * (0.32 + 0.75 * lambert)[..., None] + shine[..., None]

    ground = _ground(rng, shape)
    reach = rng.uniform(4, 10)
    shadow = np.roll(
        smoothstep(1.25, 0.75, seed.rho) * (seed.mask.max() if seed.mask.size else 1),
        (round(-light[1] * reach), round(-light[0] * reach)),
        (0, 1),
    )
    ground *= (1 - rng.uniform(0.3, 0.55) * shadow)[..., None]

    alpha = seed.mask[..., None]
    image = ground * (1 - alpha) + lit * alpha
    fall = 1 + rng.uniform(0, 0.15) * (seed.u * light[0] + seed.v * light[1]).clip(-2, 2)
    image *= (fall * rng.uniform(0.82, 1.12))[..., None] * (1 + rng.normal(0, 0.03, 3))
    image += 0.012 * rng.standard_normal(image.shape, dtype=np.float32)
    pixels: NDArray[np.uint8] = (np.clip(image, 0, 1) * 255).astype(np.uint8)
    return pixels


def _ground(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    colour = np.asarray(GROUNDS[rng.integers(len(GROUNDS))], np.float32) * rng.uniform(0.8, 1.12)
    kind = rng.integers(3)
    if kind == 0:  # paper
        texture = 0.02 * noise(rng, shape, 1.5) + 0.04 * noise(rng, shape, 48)
    elif kind == 1:  # cloth: crossed threads
        y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
        turn, pitch = rng.uniform(0, np.pi), rng.uniform(1.2, 2.0)
        a, b = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        texture = 0.05 * np.sin(a * pitch) * np.sin(b * pitch) + 0.04 * noise(rng, shape, 6)
    else:  # a worn tray
        texture = 0.05 * noise(rng, shape, 6) + 0.06 * noise(rng, shape, 24)
    return colour * (1 + texture.astype(np.float32))[..., None]


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
