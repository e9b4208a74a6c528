"""What the pictures of a run are drawn from."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seedsweep.data.prepare import PreparedImages
from seedsweep.errors import SeedsweepError
from seedsweep.names import some
from seedsweep.training.recorder import Recorder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

GALLERY = 24  # worst mistakes shown


@dataclass(frozen=True)
class ToDraw:
    """What the pictures of a run are drawn from: its history and its predictions of the N validation images."""

    folder: Path  # of the run
    label: str  # the arm's name in tables
    seed: int  # of the run
    history: list[dict[str, float]]  # a row an epoch
    best_epoch: int  # whose weights were kept, from 0
    classes: list[str]  # names, in the order of their numbers
    labels: NDArray[np.int64]  # [N] class numbers
    predicted: NDArray[np.int64]  # [N] class numbers
    confidence: NDArray[np.float32]  # [N] probability of the predicted class, 0..1
    worst: list[int]  # numbers of the most confident mistakes among the N
    images: list[NDArray[np.uint8]]  # their pixels, uint8 [3, H, W] each


Draw = Callable[[ToDraw], "dict[str, Figure]"]  # writes the files, returns figures for TensorBoard by name


def to_draw(
    recorder: Recorder, label: str, seed: int, best_epoch: int, prepared: PreparedImages, logits: Tensor
) -> ToDraw:
    """Gathers what a run's pictures show.

    Args:
        logits: [N, C] of the validation images.
    """
    table = prepared.table
    indices = table.indices("val")
    labels = table.labels[indices]
    probabilities = logits.softmax(1)
    predicted = probabilities.argmax(1).numpy()
    confidence = probabilities.max(1).values.numpy()
    wrong = np.flatnonzero(predicted != labels)
    worst: list[int] = []
    pixels: list[NDArray[np.uint8]] = []
    missing: list[str] = []
    for at in wrong[np.argsort(-confidence[wrong])][:GALLERY].tolist():
        try:
            pixels.append(prepared.pixels.batch(indices[at : at + 1])[0].numpy())
            worst.append(at)
        except SeedsweepError:  # stored features need the file no more
            missing.append(str(table.paths[indices[at]]))
    if missing:
        log.warning(
            "%d of the %d worst mistakes are left out of the gallery, for their files were removed or changed (%s)",
            len(missing), len(worst) + len(missing), some(missing),
        )  # fmt: skip
    return ToDraw(
        recorder.folder,
        label,
        seed,
        recorder.rows,
        best_epoch,
        table.classes,
        labels,
        predicted,
        confidence,
        worst,
        pixels,
    )
