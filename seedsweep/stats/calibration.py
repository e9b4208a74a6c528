"""Calibration: of the images with 80 % confidence, are 80 % classified correctly?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from seedsweep.errors import SeedsweepError

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
BINS = 10
SMALLEST = 1e-7  # probabilities are written with six decimals


@dataclass(frozen=True)
class Reliability:
    """Images sorted by confidence into bins of equal width; arrays [bins], NaN where a bin is empty.

    Attributes:
        confidence: mean probability of the predicted class.
        accuracy: share of correct predictions.
        count: images.
    """

    confidence: Floats
    accuracy: Floats
    count: Labels


@dataclass(frozen=True)
class Calibration:
    """How well probabilities fit, as they are and after temperature scaling.

    Attributes:
        ece: expected calibration error, 0..1.
        ece_by_chance: what a perfectly calibrated net stays below 19 times in 20 on as few images.
        temperature: fitted on other images; above 1: the net was too sure of itself.
        ece_scaled: after division of the logits by it.
        loss: mean cross-entropy.
        loss_scaled: likewise.
        reliability: before scaling.
        n: images.
    """

    ece: float
    ece_by_chance: float
    temperature: float
    ece_scaled: float
    loss: float
    loss_scaled: float
    reliability: Reliability
    n: int


def reliability(probabilities: Floats, labels: Labels, bins: int = BINS) -> Reliability:
    """Returns the reliability diagram of probabilities [N, C] against labels [N].

    DeGroot and Fienberg 1983; for neural nets: Guo and others 2017.

    Raises:
        SeedsweepError: some probabilities are no numbers.
    """
    _are_numbers(probabilities)
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bin_of, confidence, bins) / count
        share = np.bincount(bin_of, correct, bins) / count
    return Reliability(mean, share, count)


def ece(probabilities: Floats, labels: Labels, bins: int = BINS) -> float:
    """Returns the expected calibration error of probabilities [N, C] (Naeini and others 2015), by torchmetrics.

    Raises:
        SeedsweepError: some probabilities are no numbers.
    """
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    _are_numbers(probabilities)
    return float(
        multiclass_calibration_error(
            torch.from_numpy(np.asarray(probabilities, dtype=np.float64)),
            torch.from_numpy(np.asarray(labels, dtype=np.int64)),
            probabilities.shape[1],
            n_bins=bins,
            norm="l1",
        )
    )


def ece_by_chance(probabilities: Floats, bins: int = BINS, draws: int = 1000, seed: int = 0) -> float:
    """Returns the 95 % quantile of the error that a perfectly calibrated net would show on these images.

    Correct predictions are drawn with the stated confidence (consistency resampling: Bröcker and Smith 2007). Few
    images show an error by chance alone.

    Raises:
        SeedsweepError: some probabilities are no numbers.
    """
    _are_numbers(probabilities)
    confidence = probabilities.max(1)
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    member = np.eye(bins)[bin_of]
    drawn = np.random.default_rng(seed).random((draws, len(confidence))) < confidence
    errors = np.abs((drawn - confidence) @ member).sum(1) / len(confidence)
    return float(np.quantile(errors, 0.95))


def fit_temperature(probabilities: Floats, labels: Labels) -> float:
    """Returns the temperature that fits probabilities [N, C] to labels [N] best (Guo and others 2017).

    The logarithms of the probabilities serve as logits: they differ by a constant an image, which softmax ignores.

    Raises:
        SeedsweepError: some probabilities are no numbers.
    """
    _are_numbers(probabilities)
    logits = _logits(probabilities)

    def loss(log_temperature: float) -> float:
        return _loss(logits / np.exp(log_temperature), labels)

    return float(np.exp(optimize.minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded").x))


def scaled(probabilities: Floats, temperature: float) -> Floats:
    """Returns probabilities [N, C] after division of their logits by ``temperature``."""
    logits = _logits(probabilities) / temperature
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def calibrate(
    probabilities: Floats, labels: Labels, fit_probabilities: Floats, fit_labels: Labels, bins: int = BINS
) -> Calibration:
    """Measures calibration on one set of images, with a temperature fitted on another.

    Args:
        probabilities: [N, C], of the images to report on.
        labels: [N].
        fit_probabilities: [M, C], of the validation images.
        fit_labels: [M].
        bins: of the error.

    Raises:
        SeedsweepError: some probabilities are no numbers.
    """
    temperature = fit_temperature(fit_probabilities, fit_labels)
    after = scaled(probabilities, temperature)
    return Calibration(
        ece=ece(probabilities, labels, bins),
        ece_by_chance=ece_by_chance(probabilities, bins),
        temperature=temperature,
        ece_scaled=ece(after, labels, bins),
        loss=_loss(_logits(probabilities), labels),
        loss_scaled=_loss(_logits(after), labels),
        reliability=reliability(probabilities, labels, bins),
        n=len(labels),
    )


def _are_numbers(probabilities: Floats) -> None:
    """Says in one sentence what would else be a wrong bin, an endless temperature or a traceback."""
    if not np.isfinite(probabilities).all():
        wrong = int((~np.isfinite(probabilities).all(1)).sum())
        raise SeedsweepError(
            f"{wrong} of {len(probabilities)} images have stated probabilities that are no numbers (training "
            "diverged): calibration can't be measured; train with a lower optim.lr."
        )


def _logits(probabilities: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(probabilities, SMALLEST)))


def _loss(logits: Floats, labels: Labels) -> float:
    top = logits.max(1, keepdims=True)
    normaliser = np.log(np.exp(logits - top).sum(1)) + top[:, 0]
    return float((normaliser - logits[np.arange(len(labels)), labels]).mean())
