"""Calibration: of the images with 80 % confidence, are 80 % classified correctly?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from seedsweep.errors import SeedsweepError

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
BINS = 10  # of the error and of the diagram
SMALLEST = 1e-7  # probabilities are written with six decimals


@dataclass(frozen=True)
class Reliability:
    """Images sorted by confidence into bins of equal width; arrays [bins], NaN where a bin is empty."""

    confidence: Floats  # mean probability of the predicted class
    accuracy: Floats  # share of correct predictions
    count: Labels  # images


@dataclass(frozen=True)
class Calibration:
    """How well probabilities fit, as they are and after temperature scaling."""

    ece: float  # expected calibration error, 0..1
    ece_by_chance: float  # what a perfectly calibrated net stays below 19 times in 20 on as few images
    temperature: float  # fitted on other images; above 1: the net was too sure of itself
    ece_scaled: float  # after division of the logits by it
    loss: float  # mean cross-entropy
    loss_scaled: float  # likewise
    reliability: Reliability  # before scaling
    n: int  # images


def reliability(probabilities: Floats, labels: Labels) -> Reliability:
    """Returns the reliability diagram of probabilities [N, C] against labels [N].

    DeGroot and Fienberg 1983; for neural nets: Guo and others 2017.

    Raises:
        SeedsweepError: some probabilities are no numbers.
    """
    confidence, bin_of = _binned(probabilities)
    correct = probabilities.argmax(1) == labels
    count = np.bincount(bin_of, minlength=BINS)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bin_of, confidence, BINS) / count
        share = np.bincount(bin_of, correct, BINS) / count
    return Reliability(mean, share, count)


def ece(probabilities: Floats, labels: Labels) -> float:
    """Returns the expected calibration error of probabilities [N, C] (Naeini and others 2015).

    Raises:
        SeedsweepError: some probabilities are no numbers.
    """
    found = reliability(probabilities, labels)
    return float(np.nansum(np.abs(found.accuracy - found.confidence) * found.count) / found.count.sum())


def ece_by_chance(probabilities: Floats, draws: int = 1000, seed: int = 0) -> float:
    """Returns the 95 % quantile of the error that a perfectly calibrated net would show on these images.

    Correct predictions are drawn with the stated confidence (consistency resampling: Bröcker and Smith 2007). Few
    images show an error by chance alone.

    Raises:
        SeedsweepError: some probabilities are no numbers.
    """
    confidence, bin_of = _binned(probabilities)
    member = np.eye(BINS)[bin_of]
    drawn = np.random.default_rng(seed).random((draws, len(confidence))) < confidence
    errors = np.abs((drawn - confidence) @ member).sum(1) / len(confidence)
    return float(np.quantile(errors, 0.95))


def scaled(probabilities: Floats, temperature: float) -> Floats:
    """Returns probabilities [N, C] after division of their logits by ``temperature``."""
    return np.asarray(special.softmax(_logits(probabilities) / temperature, axis=1))


def fit_temperature(logits: Floats, labels: Labels) -> float:
    """Returns the divisor of logits [N, C] that gives the labels [N] the smallest loss (Guo and others 2017).

    A share 1 / (N + 2) of each label is spread over the other classes (Platt 1999): else a net that makes no mistake on
    a few images would be called certain of everything.
    """
    n, classes = logits.shape
    spread = 1 / (n + 2)
    target = np.full((n, classes), spread / max(classes - 1, 1))
    target[np.arange(n), labels] = 1 - spread

    def loss(log_temperature: float) -> float:
        return float(-(target * special.log_softmax(logits / np.exp(log_temperature), axis=1)).sum(1).mean())

    return float(np.exp(optimize.minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded").x))


def calibrate(
    probabilities: Floats,
    labels: Labels,
    fit_probabilities: Floats,
    fit_labels: Labels,
    temperature: float | None = None,
) -> Calibration:
    """Measures calibration on one set of images, with a temperature fitted on another.

    The logarithms of the probabilities serve as logits: they differ by a constant an image, which softmax ignores.

    Args:
        probabilities: [N, C], of the images to report on.
        labels: [N].
        fit_probabilities: [M, C], of the validation images.
        fit_labels: [M].
        temperature: fitted before; None: it is fitted here.

    Raises:
        SeedsweepError: some probabilities are no numbers.
    """
    _check_numbers(fit_probabilities)
    if temperature is None:
        temperature = fit_temperature(_logits(fit_probabilities), fit_labels)
    after = scaled(probabilities, temperature)
    return Calibration(
        ece=ece(probabilities, labels),
        ece_by_chance=ece_by_chance(probabilities),
        temperature=temperature,
        ece_scaled=ece(after, labels),
        loss=_loss(_logits(probabilities), labels),
        loss_scaled=_loss(_logits(after), labels),
        reliability=reliability(probabilities, labels),
        n=len(labels),
    )


def _binned(probabilities: Floats) -> tuple[Floats, Labels]:
    """Returns each image's confidence [N] and the number of its bin [N]."""
    _check_numbers(probabilities)
    confidence = probabilities.max(1)
    return confidence, np.minimum((confidence * BINS).astype(int), BINS - 1)


def _check_numbers(probabilities: Floats) -> None:
    """Refuses NaN and infinity, which would give a wrong bin or a temperature without end."""
    if not np.isfinite(probabilities).all():
        wrong = int((~np.isfinite(probabilities).all(1)).sum())
        raise SeedsweepError(
            f"{wrong} of {len(probabilities)} images have stated probabilities that are no numbers (training "
            "diverged): calibration can't be measured; train with a lower optim.lr."
        )


def _logits(probabilities: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(probabilities, SMALLEST)))


def _loss(logits: Floats, labels: Labels) -> float:
    """Returns the mean cross-entropy."""
    return float(-special.log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())
