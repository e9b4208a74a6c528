"""Lists which files are images that can be read here, and opens them within the memory that is allowed."""

from __future__ import annotations

import importlib
import importlib.util
import os
import stat
import warnings
from functools import cache
from pathlib import Path
from typing import cast

from PIL import ExifTags, Image, features

# by Pillow's name of the format; nothing else is opened: an EPS file would start Ghostscript
SUFFIXES_OF = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo"),
    "PNG": (".png", ".apng"),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
}
RAW = frozenset({
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw",
    ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".sr2", ".srw", ".x3f",
})  # fmt: skip
OTHERS = frozenset({
    ".ai", ".cur", ".dcm", ".dds", ".emf", ".eps", ".exr", ".fit", ".fits", ".hdr", ".icns", ".ico", ".jls",
    ".jxl", ".jxr", ".mha", ".mhd", ".nii", ".nrrd", ".pcx", ".psb", ".psd", ".qoi", ".sgi", ".svg", ".tga",
    ".wdp", ".wmf", ".xbm", ".xcf", ".xpm",
})  # fmt: skip
FEATURES = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}  # of Pillow, by format
BEGINNINGS = {
    b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG2000", b"\xff\x4f\xff\x51": "JPEG2000", b"8BPS": "Photoshop",
    b"FUJIFILMCCD": "raw", b"DDS ": "DDS", b"\xff\x0a": "JPEG XL", b"v/1\x01": "OpenEXR",
}  # fmt: skip
BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | {
    brand: "HEIF" for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
}
HEAD = 32  # bytes at the beginning of a file, which show its kind

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


@cache
def formats() -> tuple[str, ...]:
    """Returns the formats that can be read here, by Pillow's names, and makes HEIF known to Pillow."""
    if _available("HEIF"):
        importlib.import_module("pillow_heif").register_heif_opener()
    return tuple(name for name in SUFFIXES_OF if _available(name))


@cache
def suffixes() -> frozenset[str]:
    """Returns the suffixes of files that can be read here, in small letters."""
    return frozenset(suffix for name, those in SUFFIXES_OF.items() if _available(name) for suffix in those)


def _available(name: str) -> bool:
    if name == "HEIF":
        return importlib.util.find_spec("pillow_heif") is not None
    return name not in FEATURES or bool(features.check(FEATURES[name]))


def listed() -> str:
    """Returns the suffixes for a message."""
    return ", ".join(sorted(suffix[1:] for suffix in suffixes()))


def why_not_read(suffix: str) -> str | None:
    """Returns why a file with an image's suffix is not read; None if it is read, or no image's suffix."""
    if suffix in suffixes():
        return None
    if suffix in SUFFIXES_OF["HEIF"]:
        return "install seedsweep[heif]"
    if any(suffix in those for those in SUFFIXES_OF.values()):
        return "the installed Pillow can't read it"
    if suffix in RAW:
        return "raw files of cameras are not read: export them as JPEG or TIFF"
    return "this format is not read: save it as PNG or JPEG" if suffix in OTHERS else None


def content_kind(path: Path) -> str | None:
    """Returns the kind of image that a file's first bytes show; None for any other file, and for one that is gone."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return None
    for beginning, kind in BEGINNINGS.items():
        if head.startswith(beginning):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and head[6:10] == bytes(4) and head[14:18] in (b"\x28\0\0\0", b"\x7c\0\0\0"):
        return "BMP"
    if head[:2] in (b"P4", b"P5", b"P6") and head[2:3].isspace():
        return "PPM"
    return BRANDS.get(head[8:12]) if head[4:8] == b"ftyp" else None


def check_regular(path: Path, gib: float) -> None:
    """Refuses what is no regular file of at most ``gib`` GiB: a pipe or a device might never end.

    Raises:
        BadImageError: it is a pipe, a socket, a device or a folder, or takes more memory than is allowed.
        OSError: there is no such file.
    """
    state = os.stat(path)
    if not stat.S_ISREG(state.st_mode):
        raise BadImageError("no regular file")
    _check_gib(state.st_size, "its {:.1f} GiB", gib)


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
    check_need(held + width * height * a_pixel, height, width, size, gib)


def check_need(decoder: int, height: int, width: int, size: tuple[int, int] | None, gib: float) -> None:
    """Refuses an image that needs more than ``gib`` GiB.

    Args:
        decoder: bytes that decoding takes.
        size: (height, width) that it is resized to, which makes it as wide as it will be first; None: it is not.

    Raises:
        TooLargeError: it does.
    """
    wide, weights = (width, 0) if size is None else (width + size[1], WEIGHTS * (height + width))
    _check_gib(decoder + 3 * height * wide + weights, f"{{:.1f}} GiB for {width:,} x {height:,} pixels", gib)


def _check_gib(need: int, what: str, gib: float) -> None:
    """Refuses ``need`` bytes if they are more than ``gib`` GiB; ``what`` has a place for the number."""
    if need > gib * GIB:
        raise TooLargeError(f"reading it takes {what.format(need / GIB)}, more than data.image_gib={gib:g}")


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
    """
    layers = cast("list[tuple[int, int, int, int]]", getattr(file, "layer", []))
    width, height = file.size
    if not layers or width * height <= MANY:
        return 0
    if not (file.info.get("progressive") or path.read_bytes().count(SCAN) > 1):
        return 0
    most = max(layer[1] for layer in layers) * max(layer[2] for layer in layers)
    return int(width * height * COEFFICIENT * sum(layer[1] * layer[2] for layer in layers) / max(most, 1))
