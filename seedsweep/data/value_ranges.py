"""Images of more than 8 bits: which values become black and white, one decision for all files of a data set."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seedsweep.errors import DamagedError
from seedsweep.whole import read_json, write_json

log = logging.getLogger(__name__)

SIXTEEN, THIRTY_TWO, FLOAT = "16 bits", "32 bits", "float"
TOPS = (255, 1023, 4095, 16383, 65535)  # of 8, 10, 12, 14 and 16 bits
FULL = (0.0, 65535.0)
STATED = "16 bits of a stated range"  # the file says how many bits are used, and Pillow scales them to 16
BY_FORMAT = ("PPM", "JPEG2000")
S_MIN, S_MAX, NO_DATA = 340, 341, 42113  # tags of TIFF
RARE = 0.001  # share of a float image's lowest and highest values that may be outliers
RARE_FILES = 0.01  # share of files whose range may be odd: a hot pixel must not darken all others
MOST_VALUES = 2**20  # of a file that are looked at together
STRIP = 2**20  # pixels that are converted at a time: a large photograph needs no second copy


@dataclass(frozen=True)
class Measured:
    """The lowest and highest value of one file, and the range that its tags state, or None."""

    low: float
    high: float
    tags: tuple[float, float] | None = None


@dataclass(frozen=True)
class Ranges:
    """The values that become 0 and 255, by kind of file.

    A kind that is not there is scaled by each file's own values; that is for single files only.
    """

    of: tuple[tuple[str, float, float], ...] = ()

    def get(self, kind: str) -> tuple[float, float] | None:
        """Returns the lowest and highest value of a kind; None if nothing was decided."""
        if kind == STATED:
            return FULL
        return next(((low, high) for name, low, high in self.of if name == kind), None)

    def as_dict(self) -> dict[str, list[float]]:
        """Returns plain lists, for a checkpoint."""
        return {name: [low, high] for name, low, high in self.of}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Ranges:
        """Reads what :meth:`as_dict` returned."""
        return cls(tuple((str(name), float(low), float(high)) for name, (low, high) in content.items()))


def write_ranges(ranges: Ranges, path: Path) -> None:
    """Writes how images are scaled, for runs that go on with them; nothing if none has more than 8 bits."""
    if ranges.of:
        write_json(path, ranges.as_dict())


def read_ranges(path: Path) -> Ranges:
    """Reads what :func:`write_ranges` wrote.

    Raises:
        DamagedError: the file is damaged.
    """
    try:
        return Ranges.from_dict(read_json(path))
    except (TypeError, ValueError) as error:
        what = "it holds no ranges of values"
        raise DamagedError(f"{path} is damaged ({what}): put back a copy of it.") from error


def kind_of(file: Image.Image) -> str | None:
    """Returns the kind of an opened file, before it is decoded: one of the names above; None for 8 bits or fewer."""
    if file.mode[:1] == "I" and file.format in BY_FORMAT:
        return STATED
    if file.mode.startswith("I;16") or (file.mode == "I" and file.format == "PNG"):
        return SIXTEEN
    if file.mode in ("I", "F"):
        return THIRTY_TWO if file.mode == "I" else FLOAT
    return SIXTEEN if ";16" in raw_mode(file) else None


def raw_mode(file: Image.Image) -> str:
    """Returns how an opened file's values lie on the disk, by Pillow's name; "" where its format has no such thing."""
    tiles = getattr(file, "tile", None)
    args = tiles[0][3] if tiles else ""
    name = args[0] if isinstance(args, tuple) and args else args
    return name if isinstance(name, str) else ""


def measure(file: Image.Image, values: NDArray[Any]) -> Measured | None:
    """Measures one file's values; returns None if none of them is a number."""
    tags = getattr(file, "tag_v2", None) or {}
    none = None
    with contextlib.suppress(KeyError, ValueError):
        none = float(str(tags[NO_DATA]).strip("\0 "))
    flat = values.reshape(-1)
    if values.dtype.kind == "f":
        flat = flat[:: -(-len(flat) // MOST_VALUES)]
        flat = flat[np.isfinite(flat) if none is None else np.isfinite(flat) & (flat != none)]
        ends = np.quantile(flat, (RARE, 1 - RARE)).tolist() if len(flat) else []
    else:
        ends = []
        for start in range(0, len(flat), MOST_VALUES):  # in parts, as a large image needs no second copy
            part = flat[start : start + MOST_VALUES]
            part = part if none is None else part[part != none]
            ends += [part.min(), part.max()] if len(part) else []
    return Measured(float(min(ends)), float(max(ends)), _stated(tags)) if ends else None


def _stated(tags: Mapping[int, Any]) -> tuple[float, float] | None:
    """Returns the lowest and highest value that a TIFF's tags state."""
    try:
        low, high = float(np.min(tags.get(S_MIN, 0))), float(np.max(tags[S_MAX]))
    except (KeyError, TypeError, ValueError):
        return None
    return (low, high) if low < high else None


def decide(kind: str, measured: Sequence[Measured]) -> tuple[float, float]:
    """Returns the values that become black and white for all files of a kind.

    Equal tags in all files count first; then the smallest usual range (of 8, 10, 12, 14, 16 bits, or 0..1) that holds
    the values; where they fill less than half of it, or some are negative, what they span.
    """
    tags = {each.tags for each in measured}
    low = float(np.quantile([each.low for each in measured], RARE_FILES, method="lower"))
    high = float(np.quantile([each.high for each in measured], 1 - RARE_FILES, method="higher"))
    if len(tags) == 1 and (stated := tags.pop()) is not None and stated[1] >= high:
        return stated
    tops = TOPS if kind != FLOAT else (1, *TOPS)
    top = next((top for top in tops if top >= high), None)
    if top is not None and low >= 0 and (kind != FLOAT or high > top / 2):
        return 0.0, float(top)
    return low, high if high > low else low + 1


def scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Returns values as 0..255; what lies beyond ``low`` and ``high`` is clipped, and what is no number is black."""
    kind = np.float32 if high - low <= float(np.finfo(np.float32).max) else np.float64
    with np.errstate(invalid="ignore"):
        inside = values.astype(kind).clip(low, high)  # else -3.4e38, which often marks no data, overflows
        share = (inside - kind(low)) * kind(255 / (high - low))
    made: NDArray[np.uint8] = np.nan_to_num(share, nan=0.0).clip(0, 255).round().astype(np.uint8)
    return made


def log_range(kind: str, n: int, total: int, low: float, high: float) -> None:
    """Logs how images of a kind are scaled."""
    log.info(
        "%d of %d images have values of %s: in all of them %g to %g become 0 to 255, what lies beyond is clipped",
        n, total, "floating point" if kind == FLOAT else kind, low, high,
    )  # fmt: skip
