"""Trains a dense head on stored features.

The order of the images, the dropout masks, the optimiser, the choice of the best epoch and early stopping are those of
the online run behind the backbone, so the numbers are the same but for rounding. What is left out is what costs more
than the step of a small head: loaders, hooks, callbacks, the autograd graph (see ``training/head_step.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seedsweep.data.epoch import epoch_order, epoch_seed, length
from seedsweep.features.feature_store import FeatureRows
from seedsweep.models.classifier import Head
from seedsweep.stats.scores import score
from seedsweep.training.head_step import HeadLoss, HeadStep
from seedsweep.training.optimiser import LearningRates
from seedsweep.training.options import OptimConfig

BFLOAT16_BATCH = 32  # images; measured: below it the conversions cost a CPU what the products save
ONE_THREAD = 2**26  # multiplications of a step's first product, up to which one thread computes it
KEPT = 2**22  # logits held at a time before their losses are summed: 16 MiB


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
    """How long and in what steps.

    ``bfloat16`` takes the products with the features in bfloat16; see :func:`takes_bfloat16`.
    """

    max_epochs: int
    patience: int
    batch_size: int
    seed: int
    bfloat16: bool = False


def takes_bfloat16(choice: str, device: torch.device, batch_size: int) -> bool:
    """Says whether the large matrix products of a head's step are taken in bfloat16.

    Args:
        choice: float32 | bfloat16 | auto. ``auto`` takes bfloat16 where the processor multiplies it natively; others
            emulate it, which is slower than float32.
    """
    if choice != "auto":
        return choice == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or batch_size < BFLOAT16_BATCH:
        return False
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))  # bf16: ARM


class HeadFit:
    """A training under way: call :meth:`epoch` until :attr:`done`.

    Args:
        class_weights: [N], or None.

    Attributes:
        done: whether the last epoch is over, ``patience`` epochs passed without a better one, or the loss became NaN
            or infinite.
        next_epoch: epochs trained so far.
        best_epoch: the epoch with the best validation accuracy, the earlier one of equals; -1 before the first.
        best_state: the head's weights after it; empty before the first.
        lr: learning rate of the last step.

    Raises:
        TypeError: ``head`` isn't a :class:`Head`.
    """

    def __init__(
        self,
        head: nn.Module,
        data: HeadData,
        optim: OptimConfig,
        schedule: HeadSchedule,
        class_weights: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        if not isinstance(head, Head):
            raise TypeError(f"a head is a seedsweep.models.classifier.Head, not {type(head).__name__}")
        self.data = data
        self.schedule = schedule
        self.done = False
        self.next_epoch = 0
        self.best_epoch = -1
        self.best_state: dict[str, Tensor] = {}
        self.lr = optim.lr
        self._best_acc = -1.0
        self._head = head
        self._loss = HeadLoss(len(data.classes), class_weights, label_smoothing, head.output.weight.device)
        dtype = torch.bfloat16 if schedule.bfloat16 else torch.float32
        self._step = HeadStep(head, optim, dtype)
        self._threads = threads_of(head, schedule.batch_size)
        batches = math.ceil(length(len(data.train_labels), schedule.batch_size) / schedule.batch_size)
        self._rates = LearningRates(optim, batches, schedule.max_epochs)

    @torch.no_grad()
    def epoch(self) -> dict[str, float]:
        """Trains one epoch and scores it; returns the history's columns."""
        epoch = self.next_epoch
        features = self.data.train(epoch)  # on all threads: it may extract them
        with _threads(self._threads):
            trained = self._train(epoch, features)
            found = self._score() | trained
        self.next_epoch += 1
        self._rates.epoch_ended(found["val/acc"])
        if divergence(found):  # its accuracy means nothing, and it would not come back
            self.done = True
            return found
        if found["val/acc"] > self._best_acc:  # a tie keeps the earlier one, as ModelCheckpoint does
            self._best_acc, self.best_epoch = found["val/acc"], epoch
            self.best_state = {key: value.detach().clone() for key, value in self._head.state_dict().items()}
        patience = self.schedule.patience
        waited = bool(patience) and epoch - self.best_epoch >= patience
        self.done = waited or self.next_epoch == self.schedule.max_epochs
        return found

    def _train(self, epoch: int, features: FeatureRows) -> dict[str, float]:
        data, size = self.data, self.schedule.batch_size
        features = self._step.rows_of(features)
        order = epoch_order(len(data.train_labels), size, self.schedule.seed, epoch)
        order = order.to(data.train_labels.device)
        self._step.reseed(epoch_seed(self.schedule.seed, epoch))
        sums = torch.zeros(2, dtype=torch.float64)
        done = 0  # batches of the epoch
        for part in torch.split(order, size * max(1, KEPT // (size * len(data.classes)))):
            labels = data.train_labels[part]
            shares = self._loss.shares(labels, size)
            factors = self._loss.factors(labels, shares)
            logits = []
            for rows, *own in zip(*(torch.split(each, size) for each in (part, *factors)), strict=True):
                logits.append(self._step.forward(features, rows))
                self.lr = self._rates.of(epoch, done)
                done += 1
                self._step.backward(
                    self._loss.gradient(logits[-1], *own), self.lr, last=done == self._rates.batches
                )
            sums += self._loss.sums(torch.cat(logits), labels, shares, size)
        loss, acc = (sums / len(order)).tolist()
        return {"train/loss": loss, "train/acc": acc}

    def _score(self) -> dict[str, float]:
        data = self.data
        metrics = validation_metrics(self._step.score(data.val).cpu(), data.val_labels.cpu(), data.classes)
        hits = self._step.score(data.probe).argmax(1) == data.probe_labels
        accuracy = float(hits.cpu().double().mean())
        # the features are the same in both modes: there is no gap to measure
        metrics["train_images/acc_train_mode"] = metrics["train_images/acc_eval_mode"] = accuracy
        metrics["bn_gap"] = 0.0
        metrics["gap/generalisation"] = accuracy - metrics["val/acc"]
        return metrics


def threads_of(head: Head, batch_size: int) -> int:
    """Returns how many threads train a head in batches of ``batch_size``: one for a small one, else the process's.

    Threads wait for each other several times a step. Beside other work, which takes a core away from one of them, all
    wait for it, and a step of a millisecond takes ten.
    """
    first = head.hidden or head.output
    if first.weight.device.type == "cpu" and batch_size * first.weight.numel() <= ONE_THREAD:
        return 1
    return torch.get_num_threads()


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Computes on ``n`` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def validation_metrics(logits: Tensor, labels: Tensor, classes: list[str]) -> dict[str, float]:
    """Returns ``val/loss`` (NaN if a logit isn't finite), ``val/acc``, ``val/macro_f1`` and ``val/recall/<class>``."""
    result = score(logits, labels, classes)
    # minus infinity for a wrong class would cost no loss
    loss = result.loss if bool(torch.isfinite(logits).all()) else math.nan
    metrics = {"val/loss": loss, "val/acc": result.acc, "val/macro_f1": result.macro_f1}
    for name, recall in result.per_class_recall.items():
        if recall is not None:
            metrics[f"val/recall/{name}"] = recall
    return metrics


def divergence(metrics: dict[str, float]) -> str | None:
    """Says which loss of an epoch is NaN or infinite: ``the training loss became NaN``; None: both are finite."""
    for key, name in (("train/loss", "training loss"), ("val/loss", "validation loss")):
        value = metrics.get(key, 0.0)
        if not math.isfinite(value):
            return f"the {name} became {'NaN' if math.isnan(value) else 'infinite'}"
    return None
