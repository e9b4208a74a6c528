"""The bn_gap probe: one set of training images, measured in train mode and in eval mode.

Overfitting and the BatchNorm fault look alike in a table: training accuracy high, validation low. They part
on images that the head was trained on: an overfitted net still answers them in eval mode, a net under the
BatchNorm fault does not, since eval mode normalises with other statistics than training did.
"""

from __future__ import annotations

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from seedsweep.batchnorm.policy import depends_on_batch, statistics_untouched
from seedsweep.data.datamodule import ImageDataModule
from seedsweep.data.manifest import ImageTable
from seedsweep.training.module import ArmModule
from seedsweep.training.predict import predict


def probe_rows(table: ImageTable, n: int, seed: int) -> Tensor:
    """Returns up to ``n`` training rows (0: all), int64, chosen by ``seed`` and shuffled."""
    rows = np.random.default_rng(seed).permutation(table.indices("train"))[: n or None]
    chosen = torch.from_numpy(rows)
    return chosen[torch.randperm(len(chosen), generator=torch.Generator().manual_seed(0))]


def probe_accuracies(
    module: ArmModule, images: ImageDataModule, rows: Tensor, batch_size: int
) -> dict[str, float]:
    """Measures the accuracy on fixed, un-augmented training images in both modes.

    Train mode is as training saw the images, with dropout off, in batches of the training size and in the
    order of ``rows``: shuffled, for class-sorted batches give nonsense under batch statistics. Nothing
    is left changed: weights, statistics, flags and random state are as before.

    Args:
        module: the module under training.
        images: where the pixels are.
        rows: table rows of the probe images, shuffled, int64 [n].
        batch_size: the training batch size.

    Returns:
        ``train_images/acc_train_mode``, ``train_images/acc_eval_mode`` and ``bn_gap``, their difference.
    """
    net = module.classifier
    two_modes = depends_on_batch(net.backbone)  # otherwise they are one computation
    if two_modes and len(rows) > 1 and len(rows) % batch_size == 1:
        rows = rows[:-1]  # a batch of one has no batch statistics; so it is left out in both modes
    with statistics_untouched(net), torch.random.fork_rng(), torch.no_grad():
        net.eval()
        in_eval = _accuracy(module, images, rows, max(batch_size, 64))
        in_train = in_eval
        if two_modes:
            net.train()
            for layer in net.modules():
                if isinstance(layer, nn.modules.dropout._DropoutNd):
                    layer.eval()
            in_train = _accuracy(module, images, rows, batch_size)
    return {
        "train_images/acc_train_mode": in_train,
        "train_images/acc_eval_mode": in_eval,
        "bn_gap": in_train - in_eval,
    }


def _accuracy(module: ArmModule, images: ImageDataModule, rows: Tensor, batch_size: int) -> float:
    logits = predict(module, images, rows, batch_size)
    labels = torch.from_numpy(images.prepared.table.labels[rows.numpy()])
    return float((logits.argmax(1) == labels).double().mean())


class ProbeCallback(pl.Callback):
    """Adds the probe's figures to ``module.epoch_metrics`` at the end of every training epoch."""

    def __init__(self, images: ImageDataModule, rows: Tensor, batch_size: int) -> None:
        self.images = images
        self.rows = rows
        self.batch_size = batch_size

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measures; the callbacks after this one write the figures down."""
        assert isinstance(pl_module, ArmModule)
        figures = probe_accuracies(pl_module, self.images, self.rows, self.batch_size)
        pl_module.epoch_metrics.update(figures)
        pl_module.epoch_metrics["gap/generalisation"] = (
            figures["train_images/acc_eval_mode"] - pl_module.epoch_metrics["val/acc"]
        )
