"""Trains a head again, on stored features, to measure what a setting is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from seedsweep.diagnosis.stored_features import Answers, Material
from seedsweep.models.build import build_head
from seedsweep.training.assemble import class_weights
from seedsweep.training.heads import HeadData, HeadFit, HeadSchedule
from seedsweep.training.options import ArmSettings

QUICK, LONG = 1500, 8000  # steps of one head among many, and of one that is to stand for a run: seconds each


@dataclass(frozen=True)
class Rehearsal:
    """What a head reached.

    Attributes:
        acc: on the validation images, at the best epoch, as a run's checkpoint is chosen.
        train_acc: on the training images in eval mode, at the last epoch.
        last_acc: on the validation images, at the last epoch.
        predicted: classes of the validation images, [m], at the best epoch.
        history: rows with train/loss, train/acc, val/loss, val/acc.
        whole: whether all epochs of the configuration were trained.
        state: of the head at the best epoch.
    """

    acc: float
    train_acc: float
    last_acc: float
    predicted: NDArray[np.int64]
    history: list[dict[str, float]]
    whole: bool
    state: dict[str, torch.Tensor]


def rehearse(
    configs: list[ArmSettings], material: Material, answers: Answers, max_steps: int = LONG
) -> list[Rehearsal]:
    """Trains the heads of ``configs`` on the same features.

    Args:
        configs: that differ in ``head`` and ``optim`` alone; epochs, patience, batch size and seed are the first's.
        material: images and labels.
        answers: features of the net that all of them stand on.
        max_steps: further epochs of the configuration are left out.
    """
    first = configs[0]
    data = HeadData(
        lambda epoch: answers.views[epoch % len(answers.views)],
        material.train_labels,
        answers.val,
        material.val_labels,
        answers.train,
        material.train_labels,
        material.classes,
    )
    epochs = epochs_within(first, material.n_train, max_steps)
    schedule = HeadSchedule(epochs, first.trainer.patience, first.data.batch_size, first.seed)
    whole = epochs == first.trainer.max_epochs
    return [_rehearse(config, material, data, schedule, whole) for config in configs]


def _rehearse(
    config: ArmSettings, material: Material, data: HeadData, schedule: HeadSchedule, whole: bool
) -> Rehearsal:
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
        history[-1]["val/acc"],
        predicted,
        history,
        whole,
        fit.best_state,
    )


def epochs_within(config: ArmSettings, n_train: int, max_steps: int) -> int:
    """Returns the epochs of ``config`` that ``max_steps`` steps allow; at least 3 of them."""
    steps = math.ceil(n_train / config.data.batch_size)
    return min(config.trainer.max_epochs, max(3, max_steps // steps))


def with_lr(config: ArmSettings, lr: float) -> ArmSettings:
    """Returns ``config`` with another learning rate."""
    return replace(config, optim=replace(config.optim, lr=lr))


def standard_error(acc: float, n: int) -> float:
    """Returns the standard error of an accuracy on ``n`` images; never quite 0 (Agresti and Coull 1998)."""
    share = (acc * n + 2) / (n + 4)
    return math.sqrt(share * (1 - share) / (n + 4))


def paired_error(a: NDArray[np.int64], b: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Returns the standard error of the difference of two accuracies on the same images (McNemar 1947)."""
    difference = (a == labels).astype(float) - (b == labels).astype(float)
    return max(float(difference.std()) / math.sqrt(len(labels)), 1 / len(labels))
