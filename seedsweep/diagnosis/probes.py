"""What features are worth: a linear probe in closed form, a head trained anew, and whether that is more than nothing.

The probe is ridge regression on one-hot targets (Hoerl and Kennard 1970; as a classifier: Hastie, Tibshirani and
Friedman 2009, 4.2). One eigendecomposition serves all strengths of the penalty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from seedsweep.diagnosis.stored_features import FrozenFeatures, Material
from seedsweep.models.build import build_head
from seedsweep.training.assemble import class_weights
from seedsweep.training.heads import HeadData, HeadFit, HeadSchedule
from seedsweep.training.options import ArmSettings

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


@dataclass(frozen=True)
class Probe:
    """A fitted linear probe.

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
    """Fits all penalties, and takes the best one on the validation images (of equals, the strongest).

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
    weights = [right / (values + strength * scale)[:, None] for strength in STRENGTHS]
    predicted = torch.stack([(left @ each + prior).argmax(1) for each in weights])
    accs = (predicted == val_labels).double().mean(1).numpy()
    best = int(np.flatnonzero(accs == accs.max())[-1])
    train_acc = float(((fitted @ weights[best] + prior).argmax(1) == labels).double().mean())
    return Probe(float(accs[best]), predicted[best].numpy(), float(STRENGTHS[best]), accs, train_acc)


@dataclass(frozen=True)
class Rehearsal:
    """What a head reached that was trained anew on stored features.

    Attributes:
        acc: on the validation images, at the best epoch, as a run's checkpoint is chosen.
        train_acc: on the training images in eval mode, at the last epoch.
        predicted: classes of the validation images, [m], at the best epoch.
        history: rows with train/loss, train/acc, val/loss, val/acc.
        whole: whether all epochs of the configuration were trained.
    """

    acc: float
    train_acc: float
    predicted: NDArray[np.int64]
    history: list[dict[str, float]]
    whole: bool


def rehearse(config: ArmSettings, material: Material, features: FrozenFeatures, epochs: int) -> Rehearsal:
    """Trains the head of ``config`` for ``epochs``, or until its patience ends.

    Args:
        config: of the head, its optimiser, batch size, patience and seed.
        material: images and labels.
        features: of the net that the head stands on.
        epochs: at most.
    """
    data = HeadData(
        lambda epoch: features.views[epoch % len(features.views)],
        material.train_labels,
        features.val,
        material.val_labels,
        features.train,
        material.train_labels,
        material.classes,
    )
    schedule = HeadSchedule(epochs, config.trainer.patience, config.data.batch_size, config.seed)
    head = build_head(data.val.shape[1], len(material.classes), config.head, config.seed)
    weights = class_weights(config, material.images)
    fit = HeadFit(head, data, config.optim, schedule, weights, config.head.label_smoothing)
    history = []
    while not fit.done:
        history.append({"epoch": float(fit.next_epoch), **fit.epoch()})
    if fit.best_state:
        head.load_state_dict(fit.best_state)
    head.eval()
    with torch.no_grad():
        predicted = head(data.val).argmax(1).numpy()
    return Rehearsal(
        history[max(fit.best_epoch, 0)]["val/acc"],
        history[-1]["train_images/acc_eval_mode"],
        predicted,
        history,
        epochs == config.trainer.max_epochs,
    )


class Worth(StrEnum):
    """How predictions compare with always predicting the largest class."""

    ABOVE = "above"
    UNCLEAR = "unclear"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Floor:
    """Predictions beside the largest class alone, on the same images.

    Attributes:
        acc: accuracy of the predictions.
        majority: accuracy of the largest class alone.
        error: standard error of their difference, paired.
        balanced: mean recall of the classes that occur.
        n: images.
        worth: of the predictions; few images leave it open, for the small classes may be classified well.
    """

    acc: float
    majority: float
    error: float
    balanced: float
    n: int
    worth: Worth


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
