"""Reads one image file, of any usual kind, as RGB bytes at the size of the net.

simplejpeg decodes the usual JPEG, and Pillow all else; both by libjpeg-turbo, so the bytes are the same. PyTorch
resizes, with Pillow's bytes within 1 in less time. What each decoder costs, and what reduced-size decode does to
features, stands in ``benchmarks/decoding.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from seedsweep.data import value_ranges
from seedsweep.data.image_formats import (
    COEFFICIENT,
    COLOURS,
    MANY,
    SCAN,
    BadImageError,
    check_memory,
    check_need,
    check_regular,
    coefficients,
    open_image,
    orientation,
)
from seedsweep.data.value_ranges import FULL, STRIP, Measured, Ranges

SIDEWAYS = 5  # EXIF's orientations from here on swap height and width
JPEG = b"\xff\xd8"
TURNS = b"Exif\0\0", b"tiff:Orientation"  # EXIF and XMP: they may say how the photograph lies
PLAIN = 2**26  # pixels; a larger JPEG is Pillow's, and its memory is counted before
REDUCE_ABOVE = 2  # a JPEG is decoded at 1/2, 1/4 or 1/8 where this many times the target is left on each side
IMAGE_GIB = 1.5  # a photograph of 108 million pixels takes half of it


@dataclass(frozen=True)
class Reading:
    """How the images of a data set are read: the same for all of them."""

    # the values of images of more than 8 bits that become black and white
    ranges: Ranges = field(default_factory=Ranges)
    gib: float = IMAGE_GIB  # GiB that one image may take while it is decoded and resized


DEFAULT = Reading()


def read_image(path: Path, size: tuple[int, int] | None = None, how: Reading = DEFAULT) -> Tensor:
    """Reads a file of any format in ``image_formats``, whatever its mode, and turns it as EXIF says.

    Of several pictures in a file it is the first; transparency is laid over white; colour profiles are not applied.

    Args:
        size: (height, width) to resize to, bilinear with antialiasing; None keeps the image's own.
        how: of the data set; by default, images of more than 8 bits are scaled by the values of this file alone.

    Returns:
        RGB, uint8 [3, H, W]; the three values of a pixel may lie side by side in memory.

    Raises:
        BadImageError: truncated, unreadable, too large, or no image.
    """
    with _one_error(path):
        rgb = _plain_jpeg(path, size, how.gib)
        if rgb is None:
            rgb = _any(path, size, how)
    # with the batch's axis made first, PyTorch knows it for channels_last, and resizes it in half the time
    pixels = torch.from_numpy(rgb)[None].permute(0, 3, 1, 2)
    if size is not None and pixels.shape[2:] != size:
        pixels = functional.interpolate(pixels, size, mode="bilinear", antialias=True)
    return pixels[0]


def thumbnail(path: Path, side: int, how: Reading = DEFAULT) -> Tensor:
    """Reads an image, at most ``side`` pixels long; uint8 [3, H, W].

    Raises:
        BadImageError: as of :func:`read_image`.
    """
    with _one_error(path), open_image(path, how.gib) as file:
        width, height = file.size
        if orientation(file) >= SIDEWAYS:
            width, height = height, width
    if max(width, height) <= side:
        return read_image(path, how=how)
    part = side / max(width, height)
    return read_image(path, (max(1, round(height * part)), max(1, round(width * part))), how)


def measured(path: Path, kind: str, gib: float, size: tuple[int, int] | None = None) -> Measured | None:
    """Returns the range of an image of more than 8 bits; None if it has no values, or is of another kind.

    Args:
        size: (height, width) that it will be resized to, for the memory that this takes.

    Raises:
        BadImageError: truncated, unreadable, or too large.
    """
    with _one_error(path), open_image(path, gib) as file:
        if value_ranges.kind_of(file) != kind:
            return None
        check_memory(file, size, gib, deep=True)
        return value_ranges.measure(file, _deep(file, path))


@contextmanager
def _one_error(path: Path) -> Iterator[None]:
    """Makes one type of the many that Pillow raises."""
    try:
        yield
    except BadImageError:
        raise
    except Exception as error:
        raise BadImageError(why(error, path)) from error


def why(error: Exception, path: Path) -> str:
    """Returns why a file can't be read, for any error that was raised."""
    if isinstance(error, FileNotFoundError):
        return "a link to nothing" if path.is_symlink() else "no such file"
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "not an image" if "cannot identify" in str(error) else str(error) or type(error).__name__


def empty_batch(n: int, size: tuple[int, int], as_decoded: bool = True) -> Tensor:
    """Returns memory for a batch, uint8 [n, 3, H, W], of any content.

    Args:
        as_decoded: its values lie in memory as :func:`read_image` returns them, else in PyTorch's order.
    """
    order = torch.channels_last if as_decoded else torch.contiguous_format
    return torch.empty((n, 3, *size), dtype=torch.uint8, memory_format=order)


def _plain_jpeg(path: Path, size: tuple[int, int] | None, gib: float) -> NDArray[np.uint8] | None:
    """Returns the pixels [H, W, 3] of a JPEG that needs neither turning nor reducing; None for any other file."""
    check_regular(path, gib)
    with path.open("rb") as file:
        content = file.read(len(JPEG))
        if content != JPEG:
            return None
        content += file.read()
    if any(mark in content for mark in TURNS):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        if colours not in ("YCbCr", "RGB", "Gray") or height * width > PLAIN:
            return None
        if size is not None and min(height / size[0], width / size[1]) >= 2 * REDUCE_ABOVE:
            return None
        scans = height * width > MANY and content.count(SCAN) > 1
        check_need(3 * COEFFICIENT * height * width if scans else 0, height, width, size, gib)
        decoded: NDArray[np.uint8] = simplejpeg.decode_jpeg(content)
    except BadImageError:
        raise
    except (ValueError, KeyError):  # Pillow reads some of those, and says what is wrong with the others
        return None
    return decoded


def _any(path: Path, size: tuple[int, int] | None, how: Reading) -> NDArray[np.uint8]:
    """Returns the pixels [H, W, 3] of any file that Pillow reads."""
    with open_image(path, how.gib) as file:
        held = coefficients(file, path)
        kind = value_ranges.kind_of(file)
        if size is not None:
            _reduce(file, size)
        given = how.ranges.get(kind) if kind else None
        upper_only = given == FULL and file.mode in COLOURS
        check_memory(file, size, how.gib, held, deep=kind is not None and not upper_only)
        if kind is None or upper_only:
            file.load()  # decodes everything: truncated files fail here
            ImageOps.exif_transpose(file, in_place=True)
            return _in_strips(file.height, file.width, lambda top, end: _rgb(_rows(file, top, end)))
        deep = _deep(file, path)
        if given is None:
            alone = value_ranges.measure(file, deep)
            given = value_ranges.decide(kind, [alone]) if alone else FULL
        low, high = given

        def strip(top: int, end: int) -> NDArray[np.uint8]:
            part = value_ranges.scaled(deep[top:end], low, high)
            return np.repeat(part[..., None], 3, -1) if part.ndim == 2 else part

        return _in_strips(deep.shape[0], deep.shape[1], strip)


def _deep(file: Image.Image, path: Path) -> NDArray[Any]:
    """Returns the values [H, W] or [H, W, 3] of an image of more than 8 bits, turned as EXIF says.

    Pillow keeps 8 bits of colours. The other 8 are read by naming the opposite byte order.
    """
    mode, raw = file.mode, value_ranges.raw_mode(file)
    file.load()
    ImageOps.exif_transpose(file, in_place=True)
    if mode not in COLOURS:
        return np.asarray(file)
    deep = np.empty((file.height, file.width, 3), dtype=np.uint16)
    strips = _strips(file.height, file.width)
    for top, end in strips:
        deep[top:end] = _rgb(_rows(file, top, end))
    swapped = {"B": "L", "L": "B", "N": "B"}  # N is this machine's order: the lower byte first
    if mode != "RGB" or not raw.startswith("RGB") or raw[-1] not in swapped:
        deep *= 257
        return deep
    other = raw[:-1] + swapped[raw[-1]]
    with open_image(path, float("inf")) as again:
        again.tile = [  # type: ignore[attr-defined]
            tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other)
            for tile in again.tile  # type: ignore[attr-defined]
        ]
        again.load()
        ImageOps.exif_transpose(again, in_place=True)
        deep *= 256
        for top, end in strips:
            deep[top:end] += np.asarray(_rows(again, top, end))
    return deep


def _in_strips(height: int, width: int, strip: Callable[[int, int], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Returns [H, W, 3], made of ``strip`` of the first row and the row behind the last one."""
    strips = _strips(height, width)
    if len(strips) == 1:
        return np.ascontiguousarray(strip(0, height))
    whole = np.empty((height, width, 3), dtype=np.uint8)
    for top, end in strips:
        whole[top:end] = strip(top, end)
    return whole


def _strips(height: int, width: int) -> list[tuple[int, int]]:
    """Returns the first row of each strip, and the row behind its last one."""
    step = max(1, STRIP // max(width, 1))
    return [(top, min(top + step, height)) for top in range(0, height, step)]


def _rows(image: Image.Image, top: int, end: int) -> Image.Image:
    return image if (top, end) == (0, image.height) else image.crop((0, top, image.width, end))


def _reduce(file: Image.Image, size: tuple[int, int]) -> None:
    """Lets libjpeg leave out the finest detail of a much larger JPEG; other files are decoded as they are.

    Down to the target itself the features of a net move as much as with another filter (10 to 14 % measured), down
    to twice the target no more than after saving the JPEG anew.
    """
    height, width = size
    if orientation(file) >= SIDEWAYS:  # turned after decoding
        height, width = width, height
    file.draft(None, (width * REDUCE_ABOVE, height * REDUCE_ABOVE))


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Returns the pixels [H, W, 3] of an image of 8 bits or fewer."""
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
        rgba = (image.convert(straight) if straight else image).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
