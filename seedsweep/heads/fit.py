"""Trains a head on features as the Trainer trains it behind its backbone, step for step.

The order of the images, the dropout masks, the optimiser, the choice of the best epoch and early stopping are
those of the online run, so the numbers are the same but for rounding. What is left out is what costs more than
the step of a small head: loaders, hooks and callbacks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from seedsweep.config.schema import OptimConfig
from seedsweep.data.order import epoch_order
from seedsweep.features.rows import FeatureRows
from seedsweep.training.optimizer import build_optimizer
from seedsweep.training.sums import EpochSums, reseed, validation_metrics


@dataclass
class HeadData:
    """Features and labels.

    ``train(epoch)`` gives features [n, C] of the training images, ``train_labels`` is int64 [n]; ``val`` and
    ``probe`` are features of the validation images and of the fixed training images of the bn_gap probe.
    """

    train: Callable[[int], FeatureRows]
    train_labels: Tensor
    val: Tensor
    val_labels: Tensor
    probe: Tensor
    probe_labels: Tensor
    classes: list[str]


@dataclass
class HeadSchedule:
    """How long and in what steps."""

    max_epochs: int
    patience: int
    batch_size: int
    seed: int


class HeadFit:
    """A fit under way: call :meth:`epoch` until :attr:`done`.

    Args:
        head: trained in place.
        data: features and labels, on the head's device.
        optim: the optimiser's settings.
        schedule: epochs, patience, batch size, seed.
        class_weights: [N], or None.
    """

    def __init__(
        self,
        head: nn.Module,
        data: HeadData,
        optim: OptimConfig,
        schedule: HeadSchedule,
        class_weights: Tensor | None = None,
    ) -> None:
        self.head = head
        self.data = data
        self.schedule = schedule
        self.class_weights = class_weights
        self.optimizer = build_optimizer(list(head.parameters()), optim)
        self.next_epoch = 0
        self.best_epoch = -1
        self.best_acc = -1.0
        self.best_state: dict[str, Tensor] = {}

    @property
    def done(self) -> bool:
        """Whether the last epoch is over, or ``patience`` epochs passed without a better one."""
        waited = self.next_epoch - 1 - self.best_epoch
        stop = self.schedule.patience and waited >= self.schedule.patience
        return self.next_epoch >= self.schedule.max_epochs or bool(stop)

    def epoch(self) -> dict[str, float]:
        """Trains one epoch and scores it; returns the history's columns."""
        epoch, data, schedule = self.next_epoch, self.data, self.schedule
        features, labels = data.train(epoch), data.train_labels
        order = epoch_order(len(labels), schedule.batch_size, schedule.seed, epoch).to(labels.device)
        if isinstance(features, Tensor):
            features, labels, order = features[order], labels[order], torch.arange(len(order))
        self.head.train()
        reseed(schedule.seed, epoch)
        sums = EpochSums()
        for rows in torch.split(order, schedule.batch_size):
            if isinstance(features, Tensor):  # shuffled above: a slice copies nothing
                part = slice(int(rows[0]), int(rows[0]) + len(rows))
                x, y = features[part], labels[part]
            else:
                x, y = features[rows].to(labels.device), labels[rows]
            logits = self.head(x)
            loss = functional.cross_entropy(logits, y, weight=self.class_weights)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            sums.add(loss, logits, y)
        metrics = self._score() | sums.metrics()
        if metrics["val/acc"] > self.best_acc:  # a tie keeps the earlier one, as ModelCheckpoint does
            self.best_acc, self.best_epoch = metrics["val/acc"], epoch
            self.best_state = {key: value.detach().clone() for key, value in self.head.state_dict().items()}
        self.next_epoch += 1
        return metrics

    @torch.no_grad()
    def _score(self) -> dict[str, float]:
        self.head.eval()
        data = self.data
        metrics = validation_metrics(self.head(data.val).cpu(), data.val_labels.cpu(), data.classes)
        hits = (self.head(data.probe).argmax(1) == data.probe_labels).double().mean()
        # the features are the same in both modes: there is no gap to measure
        metrics["train_images/acc_train_mode"] = metrics["train_images/acc_eval_mode"] = float(hits)
        metrics["bn_gap"] = 0.0
        metrics["gap/generalisation"] = metrics["train_images/acc_eval_mode"] - metrics["val/acc"]
        return metrics
