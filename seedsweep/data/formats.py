"""Which files are images by name or content, and which of them can be read here."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from pathlib import Path

from PIL import features

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
_FEATURES = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}  # of Pillow, by format
_BEGINNINGS = {
    b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG2000", b"\xff\x4f\xff\x51": "JPEG2000", b"8BPS": "Photoshop",
    b"FUJIFILMCCD": "raw", b"DDS ": "DDS", b"\xff\x0a": "JPEG XL", b"v/1\x01": "OpenEXR",
}  # fmt: skip
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | {
    brand: "HEIF" for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
}
HEAD = 32  # bytes that tell a file's kind


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


def kind_of(path: Path) -> str | None:
    """Returns the kind of image that a file's first bytes tell; None for any other file, and for one that is gone."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return None
    for beginning, kind in _BEGINNINGS.items():
        if head.startswith(beginning):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and head[6:10] == bytes(4) and head[14:18] in (b"\x28\0\0\0", b"\x7c\0\0\0"):
        return "BMP"
    if head[:2] in (b"P4", b"P5", b"P6") and head[2:3].isspace():
        return "PPM"
    return _BRANDS.get(head[8:12]) if head[4:8] == b"ftyp" else None


@cache
def _available(name: str) -> bool:
    if name == "HEIF":
        return importlib.util.find_spec("pillow_heif") is not None
    return name not in _FEATURES or bool(features.check(_FEATURES[name]))
