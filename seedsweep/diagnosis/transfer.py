"""What frozen nets are worth on a set of images before anything is trained, and what they cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedsweep.data.prepare import PreparedImages
from seedsweep.diagnosis.out_of_fold import components, neighbour_votes, outside_fold, was_asked
from seedsweep.errors import SeedsweepError
from seedsweep.features.engines import Engine
from seedsweep.models.backbone_builder import licence_of
from seedsweep.training.assemble import backbone_of
from seedsweep.training.options import ArmSettings
from seedsweep.training.route import engine_of, open_features

NEAREST = 5
STEPS, TOLERANCE = 200, 1e-6  # of LogME's fixed point
PASSES = 3  # whose median time counts
LEAST = 1e-300


@dataclass(frozen=True)
class Measured:
    """A frozen net on n images.

    Attributes:
        right: [n] whether the cross-validated probe classifies an image correctly.
        asked: [n] whether the probe had learned from the image's class; equal for all nets on the same images.
        nearest: accuracy of the votes of the :data:`NEAREST` most similar images of other groups.
        logme: log evidence, see :func:`log_evidence`.
        milliseconds: an image takes, see :func:`milliseconds`.
        engine: that took them.
        parameters: numbers of the net, its classifier left out.
        licence: of the weights.
        weights: where they came from.
    """

    right: NDArray[np.bool_]
    asked: NDArray[np.bool_]
    nearest: float
    logme: float
    milliseconds: float
    engine: str
    parameters: int
    licence: str
    weights: str

    @property
    def acc(self) -> float:
        """Accuracy of the probe."""
        return float(self.right[self.asked].mean())


def measure(config: ArmSettings, images: PreparedImages, groups: Sequence[str]) -> Measured:
    """Extracts (or finds) the features of a frozen net, and measures them.

    Args:
        config: names the net, the size of images and how features are computed.
        images: n of them, of which all are looked at.
        groups: [n] names of what cross-validation keeps together.

    Raises:
        SeedsweepError: the net or its weights can't be had, it does not take images of this size, its features are not
            finite, or the groups are too few.
        OSError: the features can't be stored.
    """
    torch.manual_seed(config.seed)  # of weights that are drawn
    backbone = backbone_of(config, images)
    labels, classes = images.table.labels, len(images.table.classes)
    features = open_features(config, images, backbone).plain[torch.arange(len(labels))].numpy()
    if not np.isfinite(features).all():
        raise SeedsweepError(f"{backbone.name} gives features that are not finite.")
    parts = components(features)
    probabilities = outside_fold(parts, labels, groups, classes)
    votes = neighbour_votes(parts, labels, groups, classes, NEAREST)
    batch = np.arange(min(len(labels), config.features.batch_size))
    engine = engine_of(config, backbone)()
    return Measured(
        probabilities.argmax(1) == labels,
        was_asked(probabilities, labels),
        float((votes.argmax(1) == labels).mean()),
        log_evidence(features, labels),
        milliseconds(engine, images.pixels.batch(batch)),
        engine.name,
        sum(each.numel() for each in backbone.net.parameters()),
        licence_of(config.backbone),
        backbone.weights.note or backbone.weights.source,
    )


def log_evidence(features: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Returns LogME, the log evidence an image that a Bayesian linear model gives the classes (You and others 2021).

    For each class its indicator y is ``features @ w + noise``, with w ~ N(0, 1 / alpha) and noise ~ N(0, 1 / beta). The
    two are those that make y most likely, found by MacKay's fixed point; the classes' values are averaged.

    Args:
        features: [n, C], finite.
        labels: [n] class numbers.
    """
    left, singular, _ = np.linalg.svd(features.astype(np.float64), full_matrices=False)
    found = []
    for label in np.unique(labels):
        y = (labels == label).astype(np.float64)
        along = (left.T @ y) ** 2
        outside = max(float(y @ y - along.sum()), 0.0)
        alpha, beta = 1.0, 1.0
        for _ in range(STEPS):
            value, *after = _evidence(singular**2, along, outside, len(y), (alpha, beta))
            done = np.allclose(np.log(after), np.log((alpha, beta)), rtol=0, atol=TOLERANCE)
            alpha, beta = after
            if done:
                break
        found.append(value / len(y))
    return float(np.mean(found))


def _evidence(
    power: NDArray[np.float64], along: NDArray[np.float64], outside: float, n: int, of: tuple[float, float]
) -> tuple[float, float, float]:
    """Returns the log evidence with ``alpha, beta = of``, and the next two of the fixed point.

    Args:
        power: squared singular values of the features, [k].
        along: squared parts of y along their left singular vectors, [k].
        outside: the rest of y's squared length.
        n: length of y.
        of: alpha and beta.
    """
    alpha, beta = of
    total = alpha + beta * power
    length = float((beta**2 * power * along / total**2).sum())  # squared, of the mean of w
    error = outside + float((alpha**2 * along / total**2).sum())
    logs = len(power) * np.log(alpha) + n * np.log(beta / (2 * np.pi)) - np.log(total).sum()
    effective = float((beta * power / total).sum())  # directions that the data decide
    after = effective / max(length, LEAST), max(n - effective, LEAST) / max(error, LEAST)
    return float(logs - beta * error - alpha * length) / 2, *after


def milliseconds(engine: Engine, images: Tensor) -> float:
    """Returns the time an image takes in a batch ``images`` [B, 3, H, W], the median of three passes after a first."""
    took = []
    for _ in range(PASSES + 1):
        started = time.perf_counter()
        engine(images).cpu()
        took.append(1000 * (time.perf_counter() - started) / len(images))
    return statistics.median(took[1:])


def front(times: Sequence[float], accs: Sequence[float]) -> list[int]:
    """Returns the places of the Pareto front, the fastest first: all others are as slow or slower, and no better."""
    kept: list[int] = []
    for place in sorted(range(len(times)), key=lambda place: (times[place], -accs[place])):
        if not kept or accs[place] > accs[kept[-1]]:
            kept.append(place)
    return kept
