"""The LightningModule of every arm."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional

from seedsweep.models.checkpoint import CARD
from seedsweep.models.classifier import Classifier
from seedsweep.training.optimizer import build_optimizer
from seedsweep.training.options import OptimConfig
from seedsweep.training.sums import EpochSums, reseed, validation_metrics


class ArmModule(pl.LightningModule):
    """Cross-entropy training of a :class:`Classifier`.

    Losses and hits are summed in tensors and read once an epoch: a ``self.log`` a step costs more than the
    step of a small head.

    Args:
        classifier: pixels to logits.
        optim: the optimiser's settings.
        classes: class names, in the order of the logits.
        seed: the run's seed; each epoch reseeds from (seed, epoch), so that a resumed run draws the same
            dropout masks as an uninterrupted one.
        class_weights: [N] weights of the loss, or None.
        label_smoothing: share of the training loss's target that is spread over all classes.
        autocast_dtype: of passes outside the Trainer; None: float32.
        card: what a checkpoint must tell beside the weights.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        classifier: Classifier,
        optim: OptimConfig,
        classes: list[str],
        seed: int,
        class_weights: Tensor | None = None,
        label_smoothing: float = 0.0,
        autocast_dtype: torch.dtype | None = None,
        card: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.label_smoothing = label_smoothing
        self.optim = optim
        self.autocast_dtype = autocast_dtype
        self.classes = classes
        self.seed = seed
        self.card = card or {}
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.epoch_metrics: dict[str, float] = {}
        self.val_logits: list[Tensor] = []
        self.val_labels: list[Tensor] = []
        self._sums = EpochSums()

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits [B, N] of images [B, 3, H, W] with values 0..255."""
        logits: Tensor = self.classifier(images)
        return logits

    def on_train_epoch_start(self) -> None:
        """Clears the sums."""
        self._sums = EpochSums()

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Returns the batch's mean cross-entropy."""
        if batch_idx == 0:  # here, for a resumed run draws other random numbers on its way to this point
            reseed(self.seed, self.current_epoch)
        logits = self(batch["image"])
        labels = batch["label"]
        loss = functional.cross_entropy(
            logits, labels, weight=self.class_weights, label_smoothing=self.label_smoothing
        )
        self._sums.add(loss, logits, labels)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forgets the last epoch's logits."""
        self.val_logits, self.val_labels = [], []

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Keeps the logits; they are scored together."""
        self.val_logits.append(self(batch["image"]).float().cpu())
        self.val_labels.append(batch["label"].cpu())

    def on_validation_epoch_end(self) -> None:
        """Scores the validation images, and the training batches of this epoch."""
        metrics = validation_metrics(torch.cat(self.val_logits), torch.cat(self.val_labels), self.classes)
        self.epoch_metrics = metrics | self._sums.metrics()
        self.log("val/acc", metrics["val/acc"], prog_bar=True, logger=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Puts the card beside the weights, so that the file alone can be used."""
        checkpoint[CARD] = self.card

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Returns the optimiser over the parameters that are trained."""
        return build_optimizer([p for p in self.parameters() if p.requires_grad], self.optim)
