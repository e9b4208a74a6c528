"""Reads one image file, of any usual kind, as RGB bytes at the size of the net.

simplejpeg decodes the usual JPEG, and Pillow all else; both by libjpeg-turbo, so the bytes are the same. PyTorch
resizes, with Pillow's bytes within 1 in less time. What each decoder costs, and what reduced-size decode does to
features, stands in ``benchmarks/decoding.md``.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from torch import Tensor
from torch.nn import functional

from seedsweep.data.shared import room

JPEG = b"\xff\xd8"
TURNS = b"Exif\0\0", b"tiff:Orientation"  # EXIF and XMP: they may say how the photograph lies
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
        RGB, uint8 [3, H, W]; the three values of a pixel may lie side by side in memory.

    Raises:
        BadImageError: truncated, unreadable, or no image.
    """
    try:
        rgb = _jpeg(path, size)
        if rgb is None:
            rgb = _any(path, size)
    except FileNotFoundError as error:
        raise BadImageError("no such file") from error
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ...
        reason = "not an image" if "cannot identify" in str(error) else str(error) or type(error).__name__
        raise BadImageError(reason) from error
    # with the batch's axis made first, PyTorch knows it for channels_last, and resizes it in half the time
    pixels = torch.from_numpy(rgb)[None].permute(0, 3, 1, 2)
    if size is not None and pixels.shape[2:] != size:
        pixels = functional.interpolate(pixels, size, mode="bilinear", antialias=True)
    return pixels[0]


def unfilled(n: int, size: tuple[int, int], as_decoded: bool = True, final: bool = True) -> Tensor:
    """Returns uint8 [n, 3, H, W] of any content, a batch to be.

    Args:
        n: images.
        size: (height, width).
        as_decoded: its values lie in memory as :func:`read_image` returns them, else in PyTorch's order.
        final: it is what a fork hands over, which does so without copying it.
    """
    shape = (n, *size, 3) if as_decoded else (n, 3, *size)
    batch = room(*shape) if final else torch.empty(shape, dtype=torch.uint8)
    return batch.permute(0, 3, 1, 2) if as_decoded else batch


def _jpeg(path: Path, size: tuple[int, int] | None) -> NDArray[np.uint8] | None:
    """Returns the pixels [H, W, 3] of a JPEG that needs neither turning nor reducing; None for any other file."""
    with path.open("rb") as file:
        content = file.read(len(JPEG))
        if content != JPEG:
            return None
        content += file.read()
    if any(mark in content for mark in TURNS):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        if colours not in ("YCbCr", "RGB", "Gray") or height * width > (Image.MAX_IMAGE_PIXELS or 0):
            return None
        if size is not None and min(height / size[0], width / size[1]) >= 2 * REDUCE_ABOVE:
            return None
        decoded: NDArray[np.uint8] = simplejpeg.decode_jpeg(content)
    except (ValueError, KeyError):  # Pillow reads some of those, and says what is wrong with the others
        return None
    return decoded


def _any(path: Path, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Returns the pixels [H, W, 3] of any file that Pillow reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as file:
            if size is not None:
                _reduce(file, size)
            file.load()  # decodes everything: truncated files fail here
            ImageOps.exif_transpose(file, in_place=True)
            return np.array(_to_rgb(file))


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
