"""Trains online: by the Trainer, every image through the backbone in every epoch, then the bn_gap probe.

The probe passes one set of training images in train mode and in eval mode. Overfitting and the BatchNorm fault look
alike in a table: training accuracy high, validation low. They part on images that the head was trained on: an
overfitted net classifies them correctly in eval mode too; a net under the BatchNorm fault does not, since eval mode
normalises with other statistics than training did.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Callback, EarlyStopping, TQDMProgressBar
from torch import Tensor, nn

from seedsweep import signals
from seedsweep.batchnorm.policy import depends_on_batch, statistics_untouched
from seedsweep.data.datamodule import ImageDataModule
from seedsweep.data.manifest import ImageTable
from seedsweep.errors import DivergedError, SeedsweepError
from seedsweep.models.checkpoint import BEST, PREVIOUS
from seedsweep.training.assemble import device_of
from seedsweep.training.averaging import MovingAverage
from seedsweep.training.checkpoints import CheckpointFiles, KeepBestAndLast, checkpoint_to_resume, read_best
from seedsweep.training.module import ArmModule, predict
from seedsweep.training.options import ArmSettings
from seedsweep.training.recorder import Fitting, Outcome, Recorder


def fit_online(images: ImageDataModule, module: ArmModule, how: Fitting) -> Outcome:
    """Trains ``module`` and leaves its best weights in it.

    Raises:
        SeedsweepError: the accelerator or precision can't be had here, no checkpoint is whole, or the best is gone.
    """
    config, recorder = how.config, how.recorder
    folder = recorder.folder / "checkpoints"
    trained_in = str(module.autocast_dtype or torch.float32).removeprefix("torch.")
    checkpoint = checkpoint_to_resume(folder, module.state_dict()) if how.resume else None
    trainer = _trainer(config, recorder.folder, _callbacks(config, images, recorder))
    interrupted, diverged = False, None
    try:
        interrupted = not _fit(trainer, module, images, checkpoint)
    except DivergedError as error:
        diverged = error
    if (saved := read_best(folder, recorder.rows)) is None:
        if not (interrupted or diverged):
            raise SeedsweepError(
                f"{folder / BEST} was removed or replaced while the run trained: delete {folder} to train it again."
            )
        return Outcome(-1, interrupted, trained_in, diverged)
    module.to(trainer.strategy.root_device)
    module.load_state_dict(saved["state_dict"])
    if not interrupted:
        (folder / PREVIOUS).unlink(missing_ok=True)
    return Outcome(int(saved["epoch"]), interrupted, trained_in, diverged)


def probe_rows(table: ImageTable, n: int, seed: int) -> Tensor:
    """Returns up to ``n`` training rows (0: all), int64, chosen by ``seed`` and shuffled."""
    rows = np.random.default_rng(seed).permutation(table.indices("train"))[: n or None]
    chosen = torch.from_numpy(rows)
    return chosen[torch.randperm(len(chosen), generator=torch.Generator().manual_seed(0))]


def probe_accuracies(
    module: ArmModule, images: ImageDataModule, rows: Tensor, batch_size: int
) -> dict[str, float]:
    """Measures the accuracy on fixed, un-augmented training images in both modes.

    Train mode is as training saw the images, with dropout off. Weights, statistics, modes and random state are as
    before afterwards.

    Args:
        rows: table rows of the probe images, int64 [n]; shuffled, for batches of one class have its statistics.

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

    def __init__(
        self, images: ImageDataModule, rows: Tensor, batch_size: int, average: MovingAverage | None = None
    ) -> None:
        self.images = images
        self.rows = rows
        self.batch_size = batch_size
        self.average = average

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measures; the callbacks after this one write the figures down."""
        assert isinstance(pl_module, ArmModule)
        with self.average.in_place(pl_module) if self.average else nullcontext():
            figures = probe_accuracies(pl_module, self.images, self.rows, self.batch_size)
        metrics = pl_module.epoch_metrics
        metrics.update(figures)
        metrics["gap/generalisation"] = figures["train_images/acc_eval_mode"] - metrics["val/acc"]


def _callbacks(config: ArmSettings, images: ImageDataModule, recorder: Recorder) -> list[Callback]:
    """Returns the callbacks in the order they must act: probe, record, stop, save."""
    rows = probe_rows(images.prepared.table, config.trainer.probe_images, config.data.split_seed)
    average = MovingAverage(config.trainer.ema) if config.trainer.ema else None
    probe = ProbeCallback(images, rows, config.data.batch_size, average)
    callbacks: list[Callback] = [_OwnSignals(), *([average] if average else []), probe, recorder]
    if config.trainer.patience:
        stop = EarlyStopping(
            "val/acc", mode="max", patience=config.trainer.patience, check_on_train_epoch_end=True
        )
        callbacks.append(stop)
    if _bar(config):
        callbacks.append(TQDMProgressBar(refresh_rate=5, leave=False))
    return [*callbacks, KeepBestAndLast(recorder)]


def _bar(config: ArmSettings) -> bool:
    """Says whether a progress bar is shown; in a file or a pipe the line an epoch is enough."""
    return config.trainer.progress_bar and sys.stderr.isatty()


def _trainer(config: ArmSettings, run_dir: Path, callbacks: list[Callback]) -> pl.Trainer:
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    # Lightning takes bfloat16 then
    if config.trainer.precision == "16-mixed" and device_of(config).type == "cpu":
        raise SeedsweepError("trainer.precision=16-mixed needs a GPU: on a CPU take bf16-mixed or 32-true.")
    try:
        return pl.Trainer(
            max_epochs=config.trainer.max_epochs,
            accelerator=config.trainer.accelerator,
            devices=1,
            accumulate_grad_batches=config.optim.accumulate,
            gradient_clip_val=config.optim.clip_norm or None,
            precision=config.trainer.precision,  # type: ignore[arg-type]
            logger=False,
            callbacks=callbacks,
            # a job of SLURM's is requeued by who submitted it, not by Lightning
            plugins=[CheckpointFiles(), LightningEnvironment()],
            default_root_dir=run_dir,
            enable_model_summary=False,
            enable_progress_bar=_bar(config),
        )
    except Exception as error:  # an accelerator that this machine lacks
        raise SeedsweepError(
            f"trainer.accelerator={config.trainer.accelerator} with trainer.precision="
            f"{config.trainer.precision} can't be used here ({error}); use trainer.accelerator=auto."
        ) from error


class _OwnSignals(Callback):
    """Keeps the process's own handler of SIGTERM: Lightning's ends an epoch early as if all were well."""

    def __init__(self) -> None:
        self.sigterm = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts the handler back that Lightning has taken away."""
        if threading.current_thread() is threading.main_thread() and self.sigterm is not None:
            signal.signal(signal.SIGTERM, self.sigterm)

    def on_train_batch_start(self, *_: Any) -> None:
        """Ends training if a signal was swallowed."""
        signals.check()


def _fit(trainer: pl.Trainer, module: ArmModule, images: ImageDataModule, checkpoint: Path | None) -> bool:
    """Trains; returns False if the user pressed Ctrl-C, or a signal asked for the end."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(
            module, datamodule=images, ckpt_path=str(checkpoint) if checkpoint else None, weights_only=True
        )
    except SystemExit as leaving:  # Lightning 2.6 leaves so after Ctrl-C, with SIGINT ignored
        # another code: a batch system wants the machine back
        if not trainer.interrupted or leaving.code != 1:
            raise
        signal.signal(signal.SIGINT, handler)
        return False
    except Exception:  # of a process that reads images, say: it got the same signal
        if not signals.asked():
            raise
        return False
    return True
