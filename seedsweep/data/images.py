"""Reads one image file, of any usual kind, as RGB bytes."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})

Pixels8 = NDArray[np.uint8]


class BadImageError(ValueError):
    """A file that can't be read as an image; the message says why."""


def read_image(path: Path, size: tuple[int, int] | None = None) -> Pixels8:
    """Reads a JPEG, PNG, BMP, TIFF or WebP file, whatever its mode, and turns it as EXIF says.

    16-bit grey is scaled from its full range; transparency is laid over white.

    Args:
        path: the file.
        size: (height, width) to resize to, bilinear with antialiasing; None keeps the image's own.

    Returns:
        RGB, uint8 [H, W, 3].

    Raises:
        BadImageError: truncated, unreadable, or no image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                file.load()  # decodes everything: truncated files fail here
                image = ImageOps.exif_transpose(file)
                image = _to_rgb(image)
    except FileNotFoundError as error:
        raise BadImageError("no such file") from error
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ...
        reason = "not an image" if "cannot identify" in str(error) else str(error) or type(error).__name__
        raise BadImageError(reason) from error
    if size is not None and image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        top = 65535.0 if image.mode != "F" else (1.0 if values.max(initial=0) <= 1 else 255.0)
        if image.mode == "I" and values.max(initial=0) <= 255:
            top = 255.0
        return Image.fromarray((values / top * 255).clip(0, 255).round().astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
