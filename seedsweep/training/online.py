"""The online route: the Trainer, every image through the backbone in every epoch."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Callback, EarlyStopping, TQDMProgressBar

from seedsweep import signals
from seedsweep.data.datamodule import ImageDataModule
from seedsweep.errors import DivergedError, SeedsweepError
from seedsweep.models.checkpoint import BEST, PREVIOUS
from seedsweep.training.checkpoints import CheckpointFiles, KeepBestAndLast, checkpoint_to_resume, read_best
from seedsweep.training.module import ArmModule
from seedsweep.training.options import ArmSettings
from seedsweep.training.outcome import Fitting, Outcome
from seedsweep.training.probe import ProbeCallback, probe_rows
from seedsweep.training.recorder import Recorder

TRAINED_IN = {"32-true": "float32", "bf16-mixed": "bfloat16", "16-mixed": "float16"}


def fit_online(images: ImageDataModule, module: ArmModule, how: Fitting) -> Outcome:
    """Trains ``module`` and leaves its best weights in it.

    Args:
        images: the data.
        module: the net.
        how: it is trained.

    Raises:
        SeedsweepError: the accelerator or precision can't be had here, no checkpoint is whole, or the best is gone.
    """
    config, recorder, folder = how.config, how.recorder, how.folder / "checkpoints"
    checkpoint = checkpoint_to_resume(folder, module.state_dict()) if how.resume else None
    trainer = _trainer(config, how.folder, _callbacks(config, folder, images, recorder))
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
        return Outcome(-1, interrupted, TRAINED_IN[config.trainer.precision], diverged)
    module.to(trainer.strategy.root_device)
    module.load_state_dict(saved["state_dict"])
    if not interrupted:
        (folder / PREVIOUS).unlink(missing_ok=True)
    return Outcome(int(saved["epoch"]), interrupted, TRAINED_IN[config.trainer.precision], diverged)


def _callbacks(
    config: ArmSettings, folder: Path, images: ImageDataModule, recorder: Recorder
) -> list[Callback]:
    """Returns the callbacks in the order they must act: probe, record, stop, save."""
    rows = probe_rows(images.prepared.table, config.trainer.probe_images, config.data.split_seed)
    callbacks: list[Callback] = [_OwnSignals(), ProbeCallback(images, rows, config.data.batch_size), recorder]
    if config.trainer.patience:
        callbacks.append(
            EarlyStopping(
                "val/acc", mode="max", patience=config.trainer.patience, check_on_train_epoch_end=True
            )
        )
    if _bar(config):
        callbacks.append(TQDMProgressBar(refresh_rate=5, leave=False))
    return [*callbacks, KeepBestAndLast(folder, recorder)]


def _bar(config: ArmSettings) -> bool:
    """A bar is for eyes: in a file or a pipe the line an epoch is enough."""
    return config.trainer.progress_bar and sys.stderr.isatty()


def _trainer(config: ArmSettings, run_dir: Path, callbacks: list[Callback]) -> pl.Trainer:
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    try:
        return pl.Trainer(
            max_epochs=config.trainer.max_epochs,
            accelerator=config.trainer.accelerator,
            devices=1,
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
    """Keeps the process's own handlers: Lightning's, of SIGTERM, ends an epoch early as if all were well."""

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
