"""What features are worth: a linear probe in closed form, and whether that is more than nothing.

The probe is ridge regression on one-hot targets (Hoerl and Kennard 1970; as a classifier: Hastie, Tibshirani and
Friedman 2009, 4.2). One eigendecomposition serves all strengths of the penalty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from seedsweep.diagnosis.judged_parts import Parts

STRENGTHS = np.logspace(-5, 3, 17)  # times the mean eigenvalue
SIGMA = 2.0  # standard errors of the difference from the largest class
SKILL = 0.10  # of the way from guessing (1/K) to a perfect net: less is next to nothing


def standard_error(acc: float, n: int) -> float:
    """Returns the standard error of an accuracy on ``n`` images; never quite 0 (Agresti and Coull 1998)."""
    share = (acc * n + 2) / (n + 4)
    return math.sqrt(share * (1 - share) / (n + 4))


def paired_error(a: NDArray[np.int64], b: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Returns the standard error of the difference of two accuracies on the same images (McNemar 1947)."""
    difference = (a == labels).astype(float) - (b == labels).astype(float)
    return max(float(difference.std()) / math.sqrt(len(labels)), 1 / len(labels))


def error_over_groups(gain: NDArray[np.float64], groups: Sequence[str]) -> float:
    """Returns the standard error of the mean of gains [N], where whole groups [N] are drawn."""
    names = np.unique(np.asarray(groups), return_inverse=True)[1]
    return float(np.sqrt((np.bincount(names, gain - gain.mean()) ** 2).sum()) / len(gain))


@dataclass(frozen=True)
class Probe:
    """A fitted linear probe."""

    acc: float  # on the validation images, with the chosen penalty
    predicted: NDArray[np.int64]  # classes of the validation images, [m]
    strength: float  # of the chosen penalty, in mean eigenvalues
    all_predicted: NDArray[np.int64]  # the same with each penalty of ``STRENGTHS``, [17, m]
    accs: NDArray[np.float64]  # on the validation images, one a penalty
    train_acc: float  # on the training images, with the chosen penalty


def fit_probe(train: Tensor, labels: Tensor, val: Tensor, val_labels: Tensor, n_classes: int) -> Probe:
    """Fits all penalties to features [n, C], labels [n]; takes the best on validation [m, C] (of equals, the
    strongest)."""
    x, v = train.double(), val.double()
    mean = x.mean(0)
    x, v = x - mean, v - mean
    y = functional.one_hot(labels, n_classes).double()
    prior = y.mean(0)
    y = y - prior
    if len(x) <= x.shape[1]:  # the smaller of the two Gram matrices has the same eigenvalues
        values, vectors = torch.linalg.eigh(x @ x.T)
        left, fitted, right = v @ x.T @ vectors, x @ x.T @ vectors, vectors.T @ y
    else:
        values, vectors = torch.linalg.eigh(x.T @ x)
        left, fitted, right = v @ vectors, x @ vectors, vectors.T @ (x.T @ y)
    values = values.clamp(min=0)
    scale = max(float(values.mean()), 1e-12)
    weights = [right / (values + strength * scale)[:, None] for strength in STRENGTHS]
    predicted = torch.stack([(left @ each + prior).argmax(1) for each in weights])
    accs = (predicted == val_labels).double().mean(1).numpy()
    best = int(np.flatnonzero(accs == accs.max())[-1])
    train_acc = float(((fitted @ weights[best] + prior).argmax(1) == labels).double().mean())
    return Probe(
        float(accs[best]), predicted[best].numpy(), float(STRENGTHS[best]), predicted.numpy(), accs, train_acc
    )


def probe_unseen(probe: Probe, features: Tensor, labels: Tensor, parts: Parts) -> NDArray[np.float64]:
    """Fits a probe for each part; returns 1 for each judged image that it classifies correctly, else 0, [N].

    Args:
        probe: fitted on the training images; of its penalties that is taken which the choosing images like best.
        features: of training and validation images, [n + m, C].
    """
    n_train = len(features) - probe.all_predicted.shape[1]
    correct = []
    for part in parts.of:
        hits = probe.all_predicted[:, part.chosen - n_train] == labels[part.chosen].numpy()
        strength = float(STRENGTHS[np.flatnonzero(hits.mean(1) == hits.mean(1).max())[-1]])
        learned = np.unique(part.learned)
        x, judged = features[learned].double(), features[part.judged].double()
        y = functional.one_hot(labels[learned], int(labels.max()) + 1).double()
        mean, prior = x.mean(0), y.mean(0)
        x, y = x - mean, y - prior
        is_wide = len(x) <= x.shape[1]  # the smaller of the two Gram matrices is inverted
        gram = x @ x.T if is_wide else x.T @ x
        penalty = strength * max(float(gram.diagonal().mean()), 1e-12)
        gram.diagonal().add_(penalty)
        factor = torch.linalg.cholesky(gram)
        weights = x.T @ torch.cholesky_solve(y, factor) if is_wide else torch.cholesky_solve(x.T @ y, factor)
        predicted = ((judged - mean) @ weights + prior).argmax(1)
        correct.append((predicted == labels[part.judged]).double().numpy())
    return np.concatenate(correct)


class Worth(StrEnum):
    """How predictions compare with always predicting the largest class."""

    ABOVE = "above"
    UNCLEAR = "unclear"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Floor:
    """Predictions beside the largest class alone, on the same images."""

    acc: float  # accuracy of the predictions
    majority: float  # accuracy of the largest class alone
    error: float  # standard error of their difference, paired
    balanced: float  # mean recall of the classes that occur
    n: int  # images
    worth: Worth  # of the predictions; few images leave it open, for the small classes may be classified well


def floor_of(predicted: NDArray[np.int64], labels: NDArray[np.int64], n_classes: int) -> Floor:
    """Compares predicted classes [n] with always predicting the largest class of ``labels`` [n]."""
    largest = np.bincount(labels).argmax()
    correct = predicted == labels
    acc, majority = float(correct.mean()), float((labels == largest).mean())
    balanced = float(np.mean([correct[labels == label].mean() for label in np.unique(labels)]))
    error = paired_error(predicted, np.full_like(labels, largest), labels)
    chance = 1 / n_classes
    worth = Worth.NOTHING if balanced - chance <= SKILL * (1 - chance) else Worth.UNCLEAR
    if acc - majority > SIGMA * error:
        worth = Worth.ABOVE
    return Floor(acc, majority, error, balanced, len(labels), worth)
