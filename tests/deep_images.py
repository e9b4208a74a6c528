"""Writes images of more than 8 bits, which Pillow can't all write."""

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def write_png16(path: Path, values: NDArray[np.uint16]) -> None:
    """Writes [H, W] or [H, W, 3] as a PNG of 16 bits."""
    height, width = values.shape[:2]
    rows = values.astype(">u2").reshape(height, -1)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    colour = 0 if values.ndim == 2 else 2
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def write_tiff16(path: Path, values: NDArray[np.uint16], order: str = "<") -> None:
    """Writes [H, W, 3] as a TIFF of 16 bits, not packed, in one strip."""
    height, width, bands = values.shape
    data = values.astype(f"{order}u2").tobytes()
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 8 + 2 + 10 * 12 + 4), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 8 + 2 + 10 * 12 + 4 + 6), (277, 3, 1, bands), (278, 4, 1, height), (279, 4, 1, len(data)),
        (284, 3, 1, 1),
    ]  # fmt: skip
    out = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    for tag, kind, count, value in tags:
        short = kind == 3 and count == 1
        out += struct.pack(f"{order}HHI", tag, kind, count)
        out += struct.pack(f"{order}HH", value, 0) if short else struct.pack(f"{order}I", value)
    path.write_bytes(out + struct.pack(f"{order}I", 0) + struct.pack(f"{order}3H", 16, 16, 16) + data)
