"""What is done to one image, and the generated parts: aligned images whose small defects make the class."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

Alter = Callable[[Image.Image], Image.Image]
COLOURS = ((220, 40, 40), (40, 200, 60), (50, 80, 230), (230, 210, 40), (200, 60, 210), (40, 210, 210))


def _saved(image: Image.Image) -> Image.Image:
    """Is a copy as another program makes it: a tenth smaller, saved with more loss."""
    image = image.resize((max(8, image.width * 9 // 10), max(8, image.height * 9 // 10)))
    return _quality(image, 70)


def _quality(image: Image.Image, quality: int) -> Image.Image:
    image.info["quality"] = quality
    return image


def _crop(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((width // 4, height // 4, width - width // 4, height - height // 4))


def _channels(image: Image.Image) -> Image.Image:
    return Image.merge("RGB", image.split()[::-1])


ALTERS: dict[str, Alter] = {
    "exact": lambda image: image,
    "saved": _saved,
    "mirror": ImageOps.mirror,
    "dark": lambda image: image.point(lambda value: value * 0.4),
    "blur": lambda image: image.filter(ImageFilter.GaussianBlur(max(image.size) / 40)),
    "crop": _crop,
    "channels": _channels,
}


def _border(image: Image.Image, k: int, _: int) -> Image.Image:
    width = max(2, min(image.size) // 16)
    ImageDraw.Draw(image).rectangle((0, 0, *image.size), outline=COLOURS[k % len(COLOURS)], width=width)
    return image


def _marker(image: Image.Image, k: int, n: int) -> Image.Image:
    """Draws a small square on the left rim, whose height tells the class."""
    side = max(4, min(image.size) // 10)
    top = round((image.height - side) * k / max(1, n - 1))
    ImageDraw.Draw(image).rectangle((2, top, 2 + side, top + side), fill=(230, 60, 200))
    return image


def _shrunk(image: Image.Image, k: int, n: int) -> Image.Image:
    side = 60 + 20 * k
    return image.resize((side, side + 8))


OF_CLASS: dict[str, Callable[[Image.Image, int, int], Image.Image]] = {
    "border": _border,
    "marker": _marker,
    "quality": lambda image, k, n: _quality(image, 30 + 60 * k // max(1, n - 1)),
    "shrunk": _shrunk,
    "bright": lambda image, k, n: image.point(lambda value: value * (0.35 + 0.65 * k / max(1, n - 1))),
    "smooth": lambda image, k, n: image.filter(ImageFilter.GaussianBlur(max(image.size) / 30 * (k % 3) / 2)),
}


def draw_parts(folder: Path, each: int = 420, side: int = 112) -> None:
    """Draws aligned parts: one template, and small defects that make the class."""
    if folder.is_dir():
        return
    rng = np.random.default_rng(7)
    for label in ("good", "scratch", "hole_missing", "dent"):
        (folder / label).mkdir(parents=True)
        for number in range(each):
            buffer = io.BytesIO()
            _part(label, side, rng).save(buffer, "PNG")
            (folder / label / f"part{number:04d}_{label[0]}.png").write_bytes(buffer.getvalue())


def _part(label: str, side: int, rng: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", (side, side), (52, 56, 60))
    draw = ImageDraw.Draw(image)
    x, y = rng.integers(-1, 2, 2).tolist()
    draw.rounded_rectangle(
        (14 + x, 18 + y, 98 + x, 94 + y), 12, fill=(168, 172, 176), outline=(110, 112, 118), width=3
    )
    holes = [(30, 34), (82, 34), (30, 78), (82, 78)]
    missing = int(rng.integers(4)) if label == "hole_missing" else -1
    for place, (cx, cy) in enumerate(holes):
        if place != missing:
            draw.ellipse((cx - 6 + x, cy - 6 + y, cx + 6 + x, cy + 6 + y), fill=(40, 42, 46))
    cx, cy = (rng.integers(44, 69, 2) + np.asarray((x, y))).tolist()
    if label == "scratch":
        dx, dy = rng.integers(-14, 15, 2).tolist()
        draw.line((cx - dx, cy - dy - 5, cx + dx, cy + dy + 5), fill=(225, 228, 232), width=2)
    if label == "dent":
        draw.ellipse((cx - 6, cy - 5, cx + 6, cy + 5), fill=(128, 130, 136), outline=(200, 204, 208))
    pixels = np.asarray(image, dtype=np.float64) * rng.uniform(0.94, 1.06)
    pixels += rng.normal(0, 3, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
