"""Image files of every format that is read, and damage as disks, cards and programs do it, for hypothesis."""

import io
import struct
from functools import cache

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from seedsweep.data.image_formats import formats

SIZES = (0, 1, 255, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**32 - 1)  # what is written over sizes and offsets
PLACES = 2000  # the first bytes hold what a decoder goes by; damage there finds more
SAVED = {
    "jpg": {"format": "JPEG"}, "progressive.jpg": {"format": "JPEG", "progressive": True}, "mpo.jpg": {"format": "MPO"},
    "png": {"format": "PNG"}, "tif": {"format": "TIFF"}, "lzw.tif": {"format": "TIFF", "compression": "tiff_lzw"},
    "jpeg.tif": {"format": "TIFF", "compression": "jpeg"},
    "deflate.tif": {"format": "TIFF", "compression": "tiff_deflate"},
    "webp": {"format": "WEBP"}, "bmp": {"format": "BMP"}, "ppm": {"format": "PPM"}, "jp2": {"format": "JPEG2000"},
    "gif": {"format": "GIF"}, "avif": {"format": "AVIF"}, "heic": {"format": "HEIF"},
}  # fmt: skip


@cache
def whole() -> dict[str, bytes]:
    """Returns sound files by the end of their names."""
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    found = {}
    for name, how in SAVED.items():
        if how["format"] not in (*formats(), "MPO"):
            continue
        options = {"exif": exif} if how["format"] in ("JPEG", "PNG", "WEBP") else {}
        found[name] = _saved(colour, **how, **options)
    deep = rng.integers(0, 4095, (40, 60)).astype(np.uint16)
    found["deep.png"] = _saved(Image.fromarray(deep), format="PNG")
    found["deep.tif"] = _saved(Image.fromarray(deep), format="TIFF")
    found["float.tif"] = _saved(Image.fromarray(deep.astype(np.float32)), format="TIFF")
    found["palette.png"] = _saved(colour.quantize(16), format="PNG", transparency=3)
    found["several.gif"] = _saved(
        colour.quantize(16), format="GIF", save_all=True, append_images=[colour.rotate(90)]
    )
    found["pages.tif"] = _saved(colour, format="TIFF", save_all=True, append_images=[colour])
    return found


def _saved(image: Image.Image, **how: object) -> bytes:
    out = io.BytesIO()
    image.save(out, **how)
    return out.getvalue()


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draws a name and the damaged content of a file."""
    name = draw(st.sampled_from(sorted(whole())))
    content = bytearray(whole()[name])
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, min(len(content), PLACES) - 1)))
        kind = draw(
            st.sampled_from(("byte", "byte", "byte", "number", "number", "cut", "twice", "less", "other"))
        )
        if kind == "byte" and content:
            content[at] = draw(st.integers(0, 255))
        elif kind == "number":
            order = draw(st.sampled_from("<>"))
            value = draw(st.sampled_from(SIZES))
            packed = struct.pack(f"{order}I", value) if value > 2**16 - 1 else struct.pack(f"{order}H", value)
            content[at : at + len(packed)] = packed
        elif kind == "cut":
            del content[draw(st.integers(0, len(content))) :]
        elif kind == "twice":
            content[at:at] = content[at : at + draw(st.integers(1, 200))]
        elif kind == "less":
            del content[at : at + draw(st.integers(1, 50))]
        elif kind == "other":
            content[at:at] = draw(st.binary(max_size=8))
    return draw(st.sampled_from((f"x.{name}", "x.jpg", "x.png", "x.tif"))), bytes(content)
