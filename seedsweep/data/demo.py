"""Draws photographs of seeds in 7 defect classes: the embedded default data set.

Pose, size, light, skin and background are drawn alike for all classes, so that a class shows in its defect
and not in a shortcut. An image depends on (seed, class, number) alone. A new defect is a new function here, which draws
itself into a sound seed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seedsweep.data.demo_scene import Field, Seed, coordinates, noise, photograph, smoothstep
from seedsweep.data.threads import image_bar

GENERATOR_VERSION = 1  # raise it when the pictures change: cached ones are then drawn anew
Defect = Callable[[np.random.Generator, Seed], None]


def intact(rng: np.random.Generator, seed: Seed) -> None:
    """A sound seed, with the small specks and the scratch that sound seeds have too."""
    specks = smoothstep(2.0, 2.4, noise(rng, seed.u.shape, 3)) * rng.uniform(0, 0.5)
    _, across = _turned(rng, seed, rng.uniform(0, np.pi))
    scratch = smoothstep(1.2 * seed.pixel, 0.4 * seed.pixel, np.abs(across - rng.uniform(-0.5, 0.5)))
    seed.albedo *= (1 - specks - rng.uniform(0, 0.12) * scratch)[..., None]


def cracked(rng: np.random.Generator, seed: Seed) -> None:
    """One or two jagged dark cracks with a branch, and a pale lip."""
    for _ in range(1 + int(rng.random() < 0.25)):
        along, across = _turned(rng, seed, rng.normal(0, 0.5))
        path = _jagged(rng, along, 0.13) + rng.uniform(-0.3, 0.3)
        start = rng.uniform(-0.3, 0.3)
        branch = path + np.sign(rng.normal()) * 0.8 * np.clip(along - start, 0, None)
        distance = np.minimum(np.abs(across - path), np.abs(across - branch) + 9 * (along < start))
        thick = rng.uniform(0.6, 1.4) * seed.pixel
        depth = rng.uniform(0.4, 0.9)
        ends = smoothstep(0.95, 0.8, np.abs(along))
        crack = smoothstep(thick * 1.7, thick * 0.7, distance) * ends
        lip = smoothstep(thick * 4, thick * 1.5, distance) * ends
        seed.albedo *= (1 + 0.35 * (lip - crack))[..., None]
        seed.albedo *= (1 - depth * crack)[..., None]
        seed.relief -= 0.12 * crack
        seed.gloss *= 1 - crack


def broken(rng: np.random.Generator, seed: Seed) -> None:
    """A third of the seed is missing; the broken face is pale and rough."""
    along, across = _turned(rng, seed, rng.uniform(0, 2 * np.pi))
    edge = rng.uniform(0.1, 0.62) + _jagged(rng, across, 0.16)
    gone = smoothstep(-1.5 * seed.pixel, 1.5 * seed.pixel, along - edge)
    width = rng.uniform(0.22, 0.34) + 0.06 * noise(rng, along.shape, 6)
    face = smoothstep(0.04, -0.04, np.abs(along - edge + width / 2) - width / 2)
    pale = np.asarray((0.93, 0.88, 0.74), np.float32) * rng.uniform(0.85, 1.05)
    rough = (1 + 0.10 * noise(rng, along.shape, 1.5) + 0.06 * noise(rng, along.shape, 6))[..., None]
    seed.albedo += face[..., None] * (pale * rough - seed.albedo)
    seed.relief -= 0.35 * face * (along - edge + width) / width
    seed.gloss *= 1 - face
    seed.mask *= 1 - gone
    seed.rho = np.maximum(seed.rho, np.where(along > edge, 1.3, 0).astype(np.float32))


def mouldy(rng: np.random.Generator, seed: Seed) -> None:
    """Furry grey, white or green patches that reach over the outline."""
    fur = np.zeros_like(seed.u)
    for _ in range(int(rng.integers(1, 4))):
        cu, cv = rng.uniform(-0.7, 0.7, 2)
        radius = rng.uniform(0.2, 0.42)
        fur = np.maximum(fur, 1.3 - np.hypot(seed.u - cu, seed.v - cv) / radius)
    fuzz = fur + 0.22 * noise(rng, fur.shape, 6) + 0.12 * noise(rng, fur.shape, 1.5)
    cover = smoothstep(0.25, 0.95, fuzz.astype(np.float32))
    tint = np.asarray(
        ((0.88, 0.90, 0.86), (0.55, 0.66, 0.58), (0.72, 0.76, 0.78))[rng.integers(3)], np.float32
    )
    speckle = (1 + 0.16 * noise(rng, fur.shape, 1.5))[..., None]
    seed.albedo += rng.uniform(0.45, 0.9) * cover[..., None] * (tint * speckle - seed.albedo)
    seed.relief += 0.05 * cover * noise(rng, fur.shape, 3)
    seed.gloss *= 1 - cover
    seed.mask = np.maximum(seed.mask, 0.75 * cover * smoothstep(1.22, 1.0, seed.rho))


def insect_damaged(rng: np.random.Generator, seed: Seed) -> None:
    """One to three round bore holes with a raised rim, and dust around them."""
    dust = np.zeros_like(seed.u)
    for _ in range(int(rng.integers(1, 3))):
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.55)
        stretch = rng.uniform(0.9, 1.3)
        distance = np.hypot((seed.u - far * np.cos(angle)) * 1.35, (seed.v - far * np.sin(angle)) * stretch)
        radius = rng.uniform(0.08, 0.18)
        hole = smoothstep(radius * 1.12, radius * 0.88, distance)
        rim = smoothstep(radius * 1.6, radius * 1.15, distance) - hole
        seed.albedo *= (1 + 0.3 * rim - 0.85 * hole)[..., None]
        seed.relief += 0.05 * rim
        seed.gloss *= 1 - hole
        dust = np.maximum(dust, smoothstep(radius * 3, radius, distance) - hole)
    specks = smoothstep(1.3, 1.7, noise(rng, dust.shape, 1.5)) * dust
    seed.albedo += 0.7 * specks[..., None] * (0.9 - seed.albedo)


def immature(rng: np.random.Generator, seed: Seed) -> None:
    """Shrivelled: long deep wrinkles, sunken flanks, dull, with a breath of green."""
    waves = rng.uniform(5, 8)
    bend = 0.25 * noise(rng, seed.u.shape, 24) + 0.06 * noise(rng, seed.u.shape, 6)
    wrinkles = np.sin((seed.v + bend) * waves * 1.6 + rng.uniform(0, 6)) * smoothstep(1.0, 0.7, seed.rho)
    seed.relief += rng.uniform(0.025, 0.09) * wrinkles - 0.30 * np.exp(
        -((seed.rho / 0.5) ** 2)
    ) * rng.uniform(0.5, 1)
    green = np.asarray((0.86, 1.04, 0.80), np.float32)
    seed.albedo *= 1 + rng.uniform(0.3, 1.0) * (green - 1)
    seed.albedo *= (1 - 0.10 * smoothstep(0.2, -0.6, wrinkles))[..., None]
    seed.gloss *= 0.25


def discoloured(rng: np.random.Generator, seed: Seed) -> None:
    """Large soft stains, brown, black or reddish, on a smooth skin."""
    field = noise(rng, seed.u.shape, 24) + 0.25 * noise(rng, seed.u.shape, 6)
    inside = field[seed.mask > 0.5]
    level = float(np.quantile(inside, 1 - rng.uniform(0.15, 0.5)))
    stain = smoothstep(level - 0.25, level + 0.4, field.astype(np.float32))
    tint = np.asarray(
        ((0.40, 0.28, 0.22), (0.30, 0.26, 0.26), (0.66, 0.26, 0.20))[rng.integers(3)], np.float32
    )
    seed.albedo *= 1 - stain[..., None] * (1 - tint) * rng.uniform(0.4, 0.9)


DEFECTS: dict[str, tuple[Defect, float, float]] = {
    # class: (defect, share of the images, slimness of the seed)
    "intact": (intact, 0.26, 1.0),
    "cracked": (cracked, 0.17, 1.0),
    "broken": (broken, 0.15, 1.0),
    "mouldy": (mouldy, 0.13, 1.0),
    "insect_damaged": (insect_damaged, 0.12, 1.0),
    "immature": (immature, 0.09, 0.86),
    "discoloured": (discoloured, 0.08, 1.0),
}


def _turned(rng: np.random.Generator, seed: Seed, angle: float) -> tuple[Field, Field]:
    """Returns the seed's coordinates turned by an angle in radians."""
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return seed.u * c + seed.v * s, seed.v * c - seed.u * s


def _jagged(rng: np.random.Generator, along: Field, amplitude: float) -> Field:
    """Returns a random broken line as a function of ``along``."""
    knots = np.linspace(-1.6, 1.6, 15)
    heights = np.cumsum(rng.normal(0, amplitude, 15))
    heights -= heights.mean()
    return np.interp(along, knots, heights * 0.6).astype(np.float32)


CLASSES = tuple(DEFECTS)


def render_seed(class_name: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draws one photograph of a class; ``rng`` decides everything else.

    Returns:
        RGB, uint8 [H, W, 3], 96 to 175 px a side.
    """
    defect, _, slim = DEFECTS[class_name]
    seed = coordinates(rng, slim)
    defect(rng, seed)
    return photograph(rng, seed)


def demo_counts(n_images: int) -> dict[str, int]:
    """Returns the number of images a class; unequal, and ``n_images`` in all."""
    counts = {name: round(n_images * share) for name, (_, share, _) in DEFECTS.items()}
    counts[CLASSES[0]] += n_images - sum(counts.values())
    return counts


def ensure_demo(cache_dir: Path, n_images: int, seed: int) -> Path:
    """Returns the folder of the demo photographs, drawing them first if they are not there.

    They are drawn into a folder of another name and renamed when whole: neither a killed process nor two at
    once leave a half set.
    """
    folder = cache_dir / "demo" / f"v{GENERATOR_VERSION}_n{n_images}_s{seed}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with image_bar("drawing seeds") as progress:
            task = progress.add_task("", total=n_images)
            for label, (name, count) in enumerate(demo_counts(n_images).items()):
                (part / name).mkdir()
                for number in range(count):
                    rng = np.random.default_rng(np.random.SeedSequence([seed, label, number]))
                    image = Image.fromarray(render_seed(name, rng))
                    image.save(part / name / f"{name}_{number:05d}.jpg", quality=92)
                    progress.advance(task)
        try:
            os.rename(part, folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was first, with the same pictures
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder
