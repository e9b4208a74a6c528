"""Cues: a few numbers an image that tell of file, light, edge and sharpness, and not of the object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from seedsweep.diagnosis.audited import FileFacts

Table = NDArray[np.float64]

ROWS = 2  # outer pixel rows and columns
SEGMENTS = 6  # of a side
CORNER = 8  # a corner is an eighth of each side
LEVELS = 4  # of detail: the first two are of fine detail, the others of the object's form
PLAIN = 0.5  # of an image's contrast: less in the outer rows is a plain background


@dataclass(frozen=True)
class CueTable:
    """What is measured of each image for one cue."""

    name: str  # of the cue, for a sentence
    table: Table  # [N, k]
    # [N, k'] of the object itself: where it tells a class as well, the cue may be part of what makes the
    # class; None: no content lies in the cue
    control: Table | None
    technical: bool  # whether the cue can be at fault: a size or a colour may truly be the class


def file_cues(facts: Sequence[FileFacts]) -> list[CueTable]:
    """Returns the cues of the files' headers."""
    width = np.asarray([fact.width for fact in facts], dtype=np.float64)
    height = np.asarray([fact.height for fact in facts], dtype=np.float64)
    kinds = np.unique([fact.kind for fact in facts], return_inverse=True)[1].astype(np.float64)
    quality = np.asarray([fact.quantisation for fact in facts])
    size = np.stack([np.log(width), np.log(height), np.log(width / height)], 1)
    return [
        CueTable("size", size, None, False),
        CueTable("kind of file and JPEG quality", np.stack([kinds, quality], 1), None, True),
    ]


def pixel_cues(batches: Iterator[Tensor]) -> list[CueTable]:
    """Returns the cues of pixels, from batches of uint8 [B, 3, H, W] as the net reads them."""
    parts = [_measured(batch.float()) for batch in batches]
    found = {name: torch.cat([part[name] for part in parts]).double().numpy() for name in parts[0]}
    # on a plain background the rim shows nothing of the object
    is_plain = float(np.median(found["contrast of the rim"])) < PLAIN
    inner = None if is_plain else found["inner"]
    return [
        CueTable("mean colour", found["colour"], None, False),
        CueTable(f"the colour of the {ROWS} outer pixel rows", found["rim"], inner, True),
        CueTable("the colour of the corners", found["corners"], inner, True),
        CueTable("sharpness and noise", np.hstack([found["fine"], found["coarse"]]), found["coarse"], True),
    ]


def _measured(images: Tensor) -> dict[str, Tensor]:
    """Measures float [B, 3, H, W]; each result is [B, k]."""
    height, width = images.shape[2:]
    inner = images[:, :, height // 4 : height - height // 4, width // 4 : width - width // 4]
    down, across = max(height // CORNER, 1), max(width // CORNER, 1)
    corners = [
        images[:, :, top, left].flatten(2)
        for top in (slice(0, down), slice(-down, None))
        for left in (slice(0, across), slice(-across, None))
    ]
    levels = _detail(images.mean(1, keepdim=True))
    whole = images.flatten(1).std(1).clamp(min=1)
    return {
        "colour": images.mean((2, 3)),
        "rim": _rim(images),
        "inner": _rim(inner),
        "corners": torch.cat([part for each in corners for part in _of_corner(each)], 1),
        "fine": torch.cat(levels[: LEVELS // 2], 1),
        "coarse": torch.cat(levels[LEVELS // 2 :], 1),
        "contrast of the rim": torch.cat([each.flatten(1) for each in _sides(images)], 1).std(1, keepdim=True)
        / whole[:, None],
    }


def _of_corner(pixels: Tensor) -> list[Tensor]:
    return [pixels.mean(2), pixels.std(2, correction=0), pixels.amax(2), pixels.amin(2)]


def _sides(images: Tensor) -> list[Tensor]:
    """Returns the outer rows and columns, averaged across: [B, 3, W] or [B, 3, H]."""
    return [
        images[:, :, :ROWS].mean(2),
        images[:, :, -ROWS:].mean(2),
        images[..., :ROWS].mean(3),
        images[..., -ROWS:].mean(3),
    ]


def _rim(images: Tensor) -> Tensor:
    found = []
    for side in _sides(images):
        found += [functional.adaptive_avg_pool1d(side, SEGMENTS).flatten(1), side.std(2)]
    return torch.cat(found, 1)


def _detail(grey: Tensor) -> list[Tensor]:
    """Returns, by level, energy and median of what a 3 x 3 mean takes away: [B, 2] each, logarithms."""
    contrast = grey.var((1, 2, 3)).clamp(min=1)
    found = []
    for _ in range(LEVELS):
        low = functional.avg_pool2d(functional.pad(grey, (1, 1, 1, 1), mode="replicate"), 3, 1)
        away = (grey - low).flatten(1)
        energy, median = away.square().mean(1) / contrast, away.abs().median(1).values
        found.append(torch.stack([(energy + 1e-6).log(), (median + 0.1).log()], 1))
        grey = functional.avg_pool2d(grey, 2)
    return found
