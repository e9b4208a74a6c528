"""A linear probe in closed form: the bar that a frozen net's head must reach.

Ridge regression on one-hot targets (Hoerl and Kennard 1970; as a classifier: Hastie, Tibshirani and Friedman 2009,
4.2). One eigendecomposition serves all strengths of the penalty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

STRENGTHS = np.logspace(-5, 3, 17)  # times the mean eigenvalue


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        acc: on the validation images, with the chosen penalty.
        predicted: classes of the validation images, [m].
        strength: of the chosen penalty, in mean eigenvalues.
        accs: on the validation images, one a strength of ``STRENGTHS``.
        train_acc: on the training images, with the chosen penalty.
    """

    acc: float
    predicted: NDArray[np.int64]
    strength: float
    accs: NDArray[np.float64]
    train_acc: float


def fit_probe(train: Tensor, labels: Tensor, val: Tensor, val_labels: Tensor, n_classes: int) -> Probe:
    """Fits all penalties, and takes the one that answers most validation images (of equals, the strongest).

    Args:
        train: features [n, C].
        labels: int64 [n].
        val: features [m, C].
        val_labels: int64 [m].
        n_classes: N.
    """
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
    best, accs = -1, []
    answers: list[Tensor] = []
    for place, strength in enumerate(STRENGTHS):
        weights = right / (values + strength * scale)[:, None]
        answers.append((left @ weights + prior).argmax(1))
        accs.append(float((answers[-1] == val_labels).double().mean()))
        if best < 0 or accs[-1] >= accs[best]:
            best = place
    weights = right / (values + STRENGTHS[best] * scale)[:, None]
    train_acc = float(((fitted @ weights + prior).argmax(1) == labels).double().mean())
    return Probe(accs[best], answers[best].numpy(), float(STRENGTHS[best]), np.asarray(accs), train_acc)
