"""The LightningModule of every arm, and its predictions."""

from __future__ import annotations

from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from seedsweep.data.epoch import epoch_seed
from seedsweep.data.prepare import PreparedImages
from seedsweep.models.checkpoint import CARD
from seedsweep.models.classifier import Classifier
from seedsweep.training.heads import validation_metrics
from seedsweep.training.optimiser import LearningRates, build_optimizer, parameter_groups
from seedsweep.training.options import OptimConfig

RATES = "learning_rates"  # in a checkpoint: the state of their schedule


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


class ArmModule(pl.LightningModule):
    """Cross-entropy training of a :class:`Classifier`.

    Losses and hits are read once an epoch: a ``self.log`` a step costs more than the step of a small head.

    Args:
        classifier: pixels to logits.
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
        self._rates = LearningRates(optim, 1, 1)
        self._resumed: dict[str, Any] = {}
        self._factor = 1.0
        self._initial: list[float] = []  # learning rates of the optimiser's groups

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
            torch.manual_seed(epoch_seed(self.seed, self.current_epoch))  # of dropout
        logits = self(batch["image"])
        labels = batch["label"]
        loss = functional.cross_entropy(
            logits,
            batch.get("target", labels),
            weight=self.class_weights,
            label_smoothing=self.label_smoothing,
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
        if not self.trainer.sanity_checking:
            self._rates.epoch_ended(metrics["val/acc"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Puts the card beside the weights, so that the file alone can be used, and the state of the schedule."""
        checkpoint[CARD] = self.card
        checkpoint[RATES] = self._rates.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the schedule's state of the checkpoint that a run resumes from."""
        self._resumed = checkpoint.get(RATES, {})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Returns the optimiser over the parameters that are trained."""
        groups = parameter_groups(self.classifier, self.optim)
        self._initial = [group["lr"] for group in groups]
        return build_optimizer(groups, self.optim)

    def on_train_start(self) -> None:
        """Makes the schedule of the learning rates: now the number of batches is known."""
        batches, epochs = int(self.trainer.num_training_batches), int(self.trainer.max_epochs or 1)
        self._rates = LearningRates(self.optim, batches, epochs, self._resumed)

    @property
    def lr(self) -> float:
        """The learning rate that ``optim.lr`` has become by the last step."""
        return self.optim.lr * self._factor

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Sets the learning rates of the step."""
        self._factor = self._rates.factor(self.current_epoch, batch_idx)
        for group, initial in zip(self.trainer.optimizers[0].param_groups, self._initial, strict=True):
            group["lr"] = initial * self._factor


class Source(Protocol):
    """Where a run's images come from: pixels, or features that were stored."""

    prepared: PreparedImages

    def logits(self, net: nn.Module, rows: Tensor, device: torch.device) -> Tensor:
        """Returns the logits [n, N] of ``net``, a Classifier, for the un-augmented images of ``rows`` (int64 [n])."""


def predict(module: ArmModule, images: Source, rows: Tensor, batch_size: int) -> Tensor:
    """Returns float32 logits [n, N] on the CPU, un-augmented, in the order of ``rows``.

    Args:
        module: its precision and device are used; train or eval mode is the caller's choice.
        images: where the pixels or features are.
        rows: table rows, int64 [n].
        batch_size: images a forward pass.
    """
    dtype, device = module.autocast_dtype, module.device
    with torch.no_grad(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        parts = [
            images.logits(module.classifier, part, device).float().cpu()
            for part in torch.split(rows, batch_size)
        ]
    return torch.cat(parts)
