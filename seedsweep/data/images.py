"""Reads one image file, of any usual kind, as RGB bytes at the size of the net.

Pillow decodes, every kind; PyTorch resizes, with the same bytes within 1 in less time. What other JPEG decoders
would gain, and what reduced-size decode costs, stands in ``benchmarks/decoding.md``.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor
from torch.nn import functional

REDUCE_ABOVE = 2  # a JPEG is decoded at 1/2, 1/4 or 1/8 where this many times the target is left on each side


class BadImageError(ValueError):
    """A file that can't be read as an image; the message says why."""


def read_image(path: Path, size: tuple[int, int] | None = None) -> Tensor:
    """Reads a JPEG, PNG, BMP, TIFF or WebP file, whatever its mode, and turns it as EXIF says.

    16-bit grey is scaled from its full range; transparency is laid over white.

    Args:
        path: the file.
        size: (height, width) to resize to, bilinear with antialiasing; None keeps the image's own.

    Returns:
        RGB, uint8 [3, H, W].

    Raises:
        BadImageError: truncated, unreadable, or no image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                if size is not None:
                    _reduce(file, size)
                file.load()  # decodes everything: truncated files fail here
                ImageOps.exif_transpose(file, in_place=True)
                pixels = torch.from_numpy(np.array(_to_rgb(file))).permute(2, 0, 1)
    except FileNotFoundError as error:
        raise BadImageError("no such file") from error
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ...
        reason = "not an image" if "cannot identify" in str(error) else str(error) or type(error).__name__
        raise BadImageError(reason) from error
    if size is not None and pixels.shape[1:] != size:
        pixels = functional.interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]
    return pixels.contiguous()


def _reduce(file: Image.Image, size: tuple[int, int]) -> None:
    """Lets libjpeg leave out the finest detail of a much larger JPEG; other files know no such thing.

    Down to the target itself the features of a net move as much as with another filter (10 to 14 % measured), down
    to twice the target no more than after saving the JPEG anew.
    """
    height, width = size
    if file.getexif().get(ExifTags.Base.Orientation, 1) >= 5:  # lies on its side: turned after decoding
        height, width = width, height
    file.draft(None, (width * REDUCE_ABOVE, height * REDUCE_ABOVE))


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
