"""What an epoch adds up to, the same for images and for stored features."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seedsweep.data.epoch import epoch_seed
from seedsweep.stats.scores import score


class EpochSums:
    """Loss and hits of an epoch's training batches, summed in tensors and read once.

    Reading a tensor each step would make a GPU wait.
    """

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._hits: list[Tensor] = []
        self._sizes: list[int] = []

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch: its mean loss, logits [B, N], labels [B]."""
        self._losses.append(loss.detach())
        self._hits.append((logits.argmax(1) == labels).sum())
        self._sizes.append(len(labels))

    def metrics(self) -> dict[str, float]:
        """Returns ``train/loss`` and ``train/acc``; nothing before the first batch."""
        if not self._sizes:
            return {}
        sizes = torch.tensor(self._sizes, dtype=torch.float64)
        losses = torch.stack(self._losses).cpu().double()
        hits = torch.stack(self._hits).cpu().double()
        total = float(sizes.sum())
        return {
            "train/loss": float((losses * sizes).sum()) / total,
            "train/acc": float(hits.sum()) / total,
        }


def validation_metrics(logits: Tensor, labels: Tensor, classes: list[str]) -> dict[str, float]:
    """Returns ``val/loss`` (NaN if a logit isn't finite), ``val/acc``, ``val/macro_f1`` and ``val/recall/<class>``."""
    result = score(logits, labels, classes)
    loss = (
        result.loss if bool(torch.isfinite(logits).all()) else math.nan
    )  # -inf for a wrong class costs no loss
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


def reseed(seed: int, epoch: int) -> None:
    """Makes an epoch's dropout masks a function of (seed, epoch). Call it right before the first step."""
    torch.manual_seed(epoch_seed(seed, epoch))
