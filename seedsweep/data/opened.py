"""Opens image files: regular files of known formats, within the memory that is allowed."""

from __future__ import annotations

import os
import stat
import warnings
from pathlib import Path
from typing import cast

from PIL import ExifTags, Image

from seedsweep.data.formats import formats

# of damaged tags: either the pixels can be read all the same, or the file's own sentence says why not
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
# Pillow counts pixels; what is counted here is memory, for any ratio of the sides
Image.MAX_IMAGE_PIXELS = None

GIB = 2**30
BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # a pixel, in Pillow; else 4
# bytes a pixel that decoders hold beside that
OWN = {"WEBP": 10, "AVIF": 10, "HEIF": 18, "JPEG2000": 16, "TIFF": 4}
COEFFICIENT = 2  # bytes; a JPEG of several scans is held whole in coefficients
MANY = 2**22  # pixels; what a smaller JPEG takes need not be counted to the byte
COLOURS = "RGB", "RGBA", "CMYK"
DEEP_COLOURS = 6  # bytes a pixel: three values of 16 bits
SCAN = b"\xff\xda"  # how a scan of a JPEG begins
WEIGHTS = 40  # bytes that the resize holds for a row or column of the image


class BadImageError(ValueError):
    """A file that can't be read as an image; the message says why."""


class TooLargeError(BadImageError):
    """An image that would take more memory than ``data.image_gib`` allows."""


def check_regular(path: Path, gib: float) -> int:
    """Returns a file's bytes.

    Raises:
        BadImageError: it is a pipe, a socket, a device or a folder, which might never end.
        TooLargeError: the file itself takes more memory than is allowed.
        OSError: there is no such file.
    """
    state = os.stat(path)
    if not stat.S_ISREG(state.st_mode):
        raise BadImageError("no regular file")
    if state.st_size > gib * GIB:
        raise TooLargeError(_sentence(f"its {state.st_size / GIB:.1f} GiB", gib))
    return state.st_size


def open_image(path: Path, gib: float) -> Image.Image:
    """Opens a file without decoding it.

    Raises:
        BadImageError: no regular file, or too large.
        Exception: Pillow's, of many types.
    """
    check_regular(path, gib)
    return Image.open(path, formats=formats())


def check_memory(
    file: Image.Image, size: tuple[int, int] | None, gib: float, held: int = 0, deep: bool = False
) -> None:
    """Refuses an opened file whose decoding and resizing would take more memory than is allowed.

    Args:
        file: opened; a JPEG that is to be decoded smaller is set to that already.
        size: (height, width) that it is resized to; None: it is not.
        gib: GiB that one image may take.
        held: bytes that its decoder takes beside the pixels.
        deep: its values of more than 8 bits are held as well.

    Raises:
        TooLargeError: the sentence says what it would take.
    """
    width, height = file.size
    decoded = BYTES.get(file.mode, 4) * (2 if orientation(file) != 1 else 1)
    a_pixel = decoded + OWN.get(file.format or "", 0)
    if deep:  # colours are decoded twice, and put together; else the values are copied, by way of their bytes
        a_pixel += decoded + DEEP_COLOURS if file.mode in COLOURS else 2 * BYTES.get(file.mode, 4)
    need = held + width * height * a_pixel + to_resize(height, width, size)
    check_need(need, (width, height), gib)


def to_resize(height: int, width: int, size: tuple[int, int] | None) -> int:
    """Returns the bytes of an image's RGB pixels and of its resize, which makes it as wide as it will be first."""
    if size is None:
        return 3 * height * width
    return 3 * height * (width + size[1]) + WEIGHTS * (height + width)


def check_need(need: int, sides: tuple[int, int], gib: float) -> None:
    """Refuses an image that needs more than ``gib`` GiB.

    Raises:
        TooLargeError: it does.
    """
    if need > gib * GIB:
        raise TooLargeError(_sentence(f"{need / GIB:.1f} GiB for {sides[0]:,} x {sides[1]:,} pixels", gib))


def orientation(file: Image.Image) -> int:
    """Returns the orientation of an opened file, 1 to 8 as in EXIF, without decoding it.

    Pillow decodes a PNG to look for EXIF behind its pixels: here that counts as upright.
    """
    if file.format == "PNG" and not {"exif", "Raw profile type exif"} & set(file.info):
        return 1
    given = file.getexif().get(ExifTags.Base.Orientation, 1)
    return given if isinstance(given, int) else 1


def coefficients(file: Image.Image, path: Path) -> int:
    """Returns the bytes of the coefficients that a JPEG of several scans is held in, however small it is decoded.

    Of a small one it is 0: it is not worth reading the file once more.

    Args:
        file: opened, not yet set to be decoded smaller.
        path: of it.
    """
    layers = cast("list[tuple[int, int, int, int]]", getattr(file, "layer", []))
    width, height = file.size
    if not layers or width * height <= MANY:
        return 0
    if not (file.info.get("progressive") or path.read_bytes().count(SCAN) > 1):
        return 0
    most = max(layer[1] for layer in layers) * max(layer[2] for layer in layers)
    return int(width * height * COEFFICIENT * sum(layer[1] * layer[2] for layer in layers) / max(most, 1))


def _sentence(what: str, gib: float) -> str:
    return f"reading it takes {what}, more than data.image_gib={gib:g}"
