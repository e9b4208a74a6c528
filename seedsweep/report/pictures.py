"""Photographs and drawn pictures as data URIs, small enough for one page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seedsweep.data.image_formats import BadImageError
from seedsweep.data.images import DEFAULT, Reading, thumbnail

SIDE = 260  # pixels of the longer side of a photograph
WIDEST = 1500  # pixels of a drawn picture
DARK = 0.22  # share of the light that is left where nothing speaks for the class


def photograph(path: Path, side: int = SIDE, how: Reading = DEFAULT) -> Image.Image | None:
    """Reads a photograph, at most ``side`` pixels long; None if it can't be read any more."""
    try:
        pixels = thumbnail(path, side, how)
    except BadImageError:
        return None
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def lit(image: Image.Image, heat: NDArray[np.float64]) -> Image.Image:
    """Leaves light and colour where a heat map [h, w] is hottest, and darkens where it is coldest.

    The map is stretched to the photograph, as the photograph was to the net. No colours are laid over it: they would
    hide what is to be seen.
    """
    low, high = float(heat.min()), float(heat.max())
    scaled = Image.fromarray(((heat - low) / (high - low) if high > low else heat * 0 + 1).astype(np.float32))
    strength = np.asarray(scaled.resize(image.size, Image.Resampling.BICUBIC)).clip(0, 1)[..., None]
    colour, grey = np.asarray(image, dtype=float), np.asarray(image.convert("L").convert("RGB"), dtype=float)
    mixed = grey * DARK * (1 - strength) + colour * strength
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def jpeg_uri(image: Image.Image, quality: int = 82) -> str:
    """Returns an image as a JPEG data URI."""
    return _uri(image.convert("RGB"), "jpeg", quality=quality, optimize=True)


def png_uri(path: Path) -> str:
    """Returns a drawn picture as a data URI, at most WIDEST pixels wide; empty if it can't be read.

    It is drawn anew with a palette of 128 colours: a third of the size, and nothing to be seen of it.
    """
    try:
        with Image.open(path, formats=("PNG",)) as file:
            file.load()
            image = file.convert("RGBA")
    except (OSError, SyntaxError, ValueError):
        return ""
    flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if flat.width > WIDEST:
        flat = flat.resize((WIDEST, round(flat.height * WIDEST / flat.width)), Image.Resampling.LANCZOS)
    if len(flat.getcolors(maxcolors=50_000) or ()) == 0:  # photographs in it
        return jpeg_uri(flat, 85)
    return _uri(flat.quantize(128, dither=Image.Dither.NONE), "png", optimize=True)


def _uri(image: Image.Image, kind: str, **options: int | bool) -> str:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"
