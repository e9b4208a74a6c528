"""Classifies every image below a folder, at the speed of the feature store's pass."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedsweep.data.checked import decide_ranges, look_at
from seedsweep.data.image_formats import BadImageError
from seedsweep.data.images import DEFAULT, Reading, empty_batch, read_image
from seedsweep.data.threads import image_bar, load_and_compute
from seedsweep.data.value_ranges import Ranges, log_range
from seedsweep.export.load import Trained
from seedsweep.features.engines import Engine, build_engine
from seedsweep.features.options import FeaturesConfig
from seedsweep.models.classifier import FeatureNet
from seedsweep.names import printable
from seedsweep.whole import write_csv

log = logging.getLogger(__name__)

# files that can be read, their pixels, and what is wrong with the others
Loaded = tuple[list[Path], Tensor | None, list[tuple[Path, str]]]


@dataclass(frozen=True)
class Predicted:
    """What came of the images of a folder."""

    counts: Counter[str]  # images a predicted class; "" counts those that are left to a person
    unreadable: list[tuple[str, str]]  # relative path and reason of each file that is no image
    seconds: float  # of the pass
    interrupted: bool  # by Ctrl-C; the table holds the images until then

    @property
    def n(self) -> int:
        """Number of images that were classified."""
        return self.counts.total()


@dataclass(frozen=True)
class Answers:
    """What a net says of B images."""

    probabilities: NDArray[np.float32]  # [B, N]
    # [B] whether an image is unlike the training images; None: the checkpoint tells nothing of those
    unlike: NDArray[np.bool_] | None = None
    # [B] whether it is sure enough, else a person must look; None: nothing is promised
    answered: NDArray[np.bool_] | None = None

    def named(self, classes: Sequence[str]) -> list[str]:
        """Returns the predicted class of each image, and nothing for those that are left to a person."""
        answered = np.ones(len(self.probabilities), bool) if self.answered is None else self.answered
        numbers = self.probabilities.argmax(1)
        return [classes[number] if sure else "" for number, sure in zip(numbers, answered, strict=True)]


class Predictor:
    """Turns pixels [B, 3, H, W] into answers; may be called by ``engine.at_once`` threads.

    The backbone runs in the engine of the stored features (``features.engine``, ``features.precision``), the head
    in float32 behind it.

    Args:
        trained: the net.
        options: of the engine.
        device: that computes.
        mirrored: answer with the mean of the image's and its mirror image's probabilities.

    Raises:
        SeedsweepError: the engine asked for can't be had.
    """

    def __init__(
        self, trained: Trained, options: FeaturesConfig, device: torch.device, mirrored: bool = False
    ) -> None:
        self._device, self._mirrored = device, mirrored
        net = FeatureNet(trained.net.preprocess, trained.net.backbone).eval()
        self.engine: Engine = build_engine(net, (3, *trained.image_size), options, device)
        self._head = trained.net.head.to(self._device)
        self._from = trained.promise.threshold if trained.promise else None
        known = trained.validated.familiar if trained.validated else None
        self._familiar = known and replace(known, points=known.points.float().to(device))  # once, not a batch

    def __call__(self, pixels: Tensor) -> Answers:
        """Returns the answers."""
        features = self.engine(pixels).to(self._device)
        with torch.inference_mode():
            probabilities: Tensor = self._head(features).softmax(1)
            if self._mirrored:
                other = self.engine(pixels.flip(3)).to(self._device)
                probabilities = (probabilities + self._head(other).softmax(1)) / 2
            known = self._familiar
            unlike = None if known is None else known.distances(features) > known.far
        shares = probabilities.cpu().numpy()
        return Answers(shares, unlike, None if self._from is None else shares.max(1) >= self._from)


def reading_of(images: Sequence[Path], known: Ranges, gib: float, workers: int) -> Reading:
    """Returns how images are read: as in training; of what was not met there, all files alike."""
    facts = look_at(images, gib, workers, count=False)
    ranges = decide_ranges(images, facts, gib, workers, known)
    for kind, low, high in ranges.of:
        n = sum(each.kind == kind for each in facts)
        if n and known.get(kind) is None:
            log.warning(
                "%d images have values of %s, and the net tells of none in training: by what these images hold, "
                "%g to %g become 0 to 255 in all of them", n, kind, low, high,
            )  # fmt: skip
        elif n:
            log_range(kind, n, len(images), low, high)
    return Reading(ranges, gib)


def predict_folder(
    images: Sequence[Path],
    root: Path,
    trained: Trained,
    predictor: Predictor,
    add: Callable[[Sequence[str], Answers], None],
    batch: int,
    how: Reading = DEFAULT,
) -> Predicted:
    """Classifies ``images`` in order; files that can't be read are left out and named.

    Args:
        root: the paths in the table are relative to it.
        add: takes paths and answers of the images that could be read.
    """
    counts: Counter[str] = Counter()
    unreadable: list[tuple[str, str]] = []
    interrupted = False
    started = time.perf_counter()

    def load(some: Sequence[Path]) -> Loaded:
        good: list[Path] = []
        bad: list[tuple[Path, str]] = []
        pixels = empty_batch(len(some), trained.image_size)
        for path in some:
            try:
                pixels[len(good)].copy_(read_image(path, trained.image_size, how))
                good.append(path)
            except BadImageError as error:
                bad.append((path, str(error)))
        return good, pixels[: len(good)] if good else None, bad

    def scored(loaded: Loaded) -> Answers | None:
        _, pixels, _ = loaded
        return None if pixels is None else predictor(pixels)

    with image_bar("images") as progress:
        bar = progress.add_task("", total=len(images))
        try:
            results = load_and_compute(images, load, batch, scored, predictor.engine.at_once)
            for some, (good, _, bad), answers in results:
                unreadable += [(printable(below(path, root)), reason) for path, reason in bad]
                if answers is not None:
                    add([below(path, root) for path in good], answers)
                    counts.update(answers.named(trained.classes))
                progress.advance(bar, len(some))
        except KeyboardInterrupt:
            interrupted = True
    return Predicted(counts, unreadable, time.perf_counter() - started, interrupted)


def below(path: Path, root: Path) -> str:
    """Returns a path as tables name it: relative to ``root``, where it lies there."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def write_unreadable(path: Path, unreadable: Sequence[tuple[str, str]]) -> None:
    """Writes path and reason of each file that can't be read; without any, an earlier list is removed."""
    write_csv(path, ("path", "reason"), unreadable, may_be_empty=False)
