"""One arm from config to metrics.json."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar
from torch import Tensor

from seedsweep.augment.warp import build_augment
from seedsweep.config.schema import Config
from seedsweep.data.datamodule import ImageDataModule
from seedsweep.data.prepare import PreparedImages, prepare_images
from seedsweep.errors import SeedsweepError
from seedsweep.models.build import BuiltModel, build_model
from seedsweep.preprocess.scaling import flush_denormals
from seedsweep.reporting.summary import write_model_summary
from seedsweep.tracking.tensorboard import RunTensorBoard
from seedsweep.training.finish import finish_run
from seedsweep.training.module import ArmModule
from seedsweep.training.probe import ProbeCallback
from seedsweep.training.recorder import Recorder

log = logging.getLogger(__name__)


OnEpoch = Callable[[int, dict[str, float]], None]


def train(
    config: Config,
    run_dir: Path,
    *,
    label: str = "",
    resume: bool = False,
    on_epoch: OnEpoch | None = None,
    pictures: bool = True,
) -> dict[str, Any]:
    """Trains one arm and writes everything about it into ``run_dir``.

    Args:
        config: the whole configuration.
        run_dir: the run's own folder; made if missing.
        label: the arm's name in tables; default: the experiment's name.
        resume: go on from ``run_dir``'s last checkpoint, if there is one.
        on_epoch: called after each epoch with its number, from 0, and its row of the history (``val/acc``,
            ``val/macro_f1``, ``val/loss``, ...); what it raises ends the run and is raised here.
        pictures: draw curves, confusion matrix, gallery and graph; a trial of a study goes without.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        SeedsweepError: bad input, before any training.
        KeyboardInterrupt: the user stopped the run; what was trained is saved.
    """
    started = time.perf_counter()
    run_dir.mkdir(parents=True, exist_ok=True)
    with _log_file(run_dir / "run.log"):
        flush_denormals()
        pl.seed_everything(config.seed, verbose=False)
        prepared = prepare_images(
            config.data, Path(config.paths.cache).expanduser(), run_dir / "manifest.csv"
        )
        last = run_dir / "checkpoints" / "last.ckpt"
        checkpoint = last if resume and last.is_file() else None
        module, images, built = _assemble(config, prepared, recalibrate=checkpoint is None)
        write_model_summary(module.classifier, run_dir / "model_summary.txt", _input_size(config))
        log.info(
            "%s: %s (%s), BatchNorm policy %s on %d layers, %s",
            label or config.experiment.name,
            built.backbone.name,
            built.backbone.weights.note or built.backbone.weights.source,
            config.batchnorm.name,
            built.norm_layers,
            "frozen" if config.backbone.freeze else "all layers trained",
        )
        board = RunTensorBoard(run_dir / "tensorboard")
        recorder = Recorder(run_dir, board, on_epoch)
        callbacks, best = _callbacks(config, run_dir, images, recorder)
        trainer = _trainer(config, run_dir, callbacks)
        interrupted = not _fit(trainer, module, images, checkpoint)
        if interrupted and not recorder.rows:
            board.close()
            raise KeyboardInterrupt
        metrics = finish_run(
            config=config,
            run_dir=run_dir,
            label=label or config.experiment.name,
            module=module.to(trainer.strategy.root_device),
            images=images,
            built=built,
            rows=recorder.rows,
            best_checkpoint=Path(best.best_model_path),
            board=board,
            status="interrupted" if interrupted else "finished",
            started=started,
            pictures=pictures,
        )
        if interrupted:
            raise KeyboardInterrupt
        return metrics


def _input_size(config: Config) -> tuple[int, int, int]:
    return (3, config.data.image_size[0], config.data.image_size[1])


def _assemble(
    config: Config, prepared: PreparedImages, *, recalibrate: bool
) -> tuple[ArmModule, ImageDataModule, BuiltModel]:
    """Builds data module and net. The head's random start depends on the seed alone."""
    table = prepared.table
    augment = build_augment(config.augment, config.seed, len(table.paths))
    images = ImageDataModule(prepared, config.data.batch_size, config.seed, config.data.workers, augment)
    calibration = _calibration_batches(images, config.seed) if recalibrate else None
    built = build_model(config, len(table.classes), calibration)
    module = ArmModule(
        built.classifier, config.optim, table.classes, config.seed, _class_weights(config, prepared)
    )
    if config.trainer.precision != "32-true":
        module.autocast_dtype = (
            torch.bfloat16 if config.trainer.precision.startswith("bf16") else torch.float16
        )
    if config.trainer.channels_last:
        built.classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module, images, built


def _calibration_batches(images: ImageDataModule, seed: int) -> Iterator[Tensor]:
    """Yields all training images, shuffled, in batches large enough for steady statistics."""
    rows = torch.from_numpy(images.prepared.table.indices("train"))
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    size = min(64, len(rows))
    for part in torch.split(rows[: len(rows) // size * size], size):
        yield images.prepared.pixels.batch(part.numpy())


def _class_weights(config: Config, prepared: PreparedImages) -> Tensor | None:
    if config.head.class_weights == "none":
        return None
    table = prepared.table
    counts = torch.bincount(
        torch.from_numpy(table.labels[table.indices("train")]), minlength=len(table.classes)
    ).clamp(min=1)
    return counts.sum() / (len(counts) * counts.float())


def _callbacks(
    config: Config, run_dir: Path, images: ImageDataModule, recorder: Recorder
) -> tuple[list[Callback], ModelCheckpoint]:
    """Returns the callbacks in the order they must act: probe, record, stop, save."""
    table = images.prepared.table
    n_probe = config.trainer.probe_images or len(table.indices("train"))
    rows = torch.as_tensor(images.probe_indices(n_probe, config.data.split_seed))
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
    best = ModelCheckpoint(
        dirpath=run_dir / "checkpoints",
        filename="best",
        monitor="val/acc",
        mode="max",
        save_on_train_epoch_end=True,  # after the recorder, so that the file holds this epoch's row
        enable_version_counter=False,
    )
    # a callback of its own: save_last=True writes only when the best one is written (Lightning 2.6)
    last = ModelCheckpoint(
        dirpath=run_dir / "checkpoints",
        filename="last",
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    callbacks: list[Callback] = [ProbeCallback(images, rows, config.data.batch_size), recorder]
    if config.trainer.patience:
        callbacks.append(
            EarlyStopping(
                "val/acc", mode="max", patience=config.trainer.patience, check_on_train_epoch_end=True
            )
        )
    if _bar(config):
        callbacks.append(TQDMProgressBar(refresh_rate=5, leave=False))
    return [*callbacks, best, last], best


def _bar(config: Config) -> bool:
    """A bar is for eyes: in a file or a pipe the line an epoch is enough."""
    return config.trainer.progress_bar and sys.stderr.isatty()


def _trainer(config: Config, run_dir: Path, callbacks: list[Callback]) -> pl.Trainer:
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    try:
        return pl.Trainer(
            max_epochs=config.trainer.max_epochs,
            accelerator=config.trainer.accelerator,
            devices=1,
            precision=config.trainer.precision,  # type: ignore[arg-type]
            logger=False,
            callbacks=callbacks,
            default_root_dir=run_dir,
            enable_model_summary=False,
            enable_progress_bar=_bar(config),
        )
    except Exception as error:  # an accelerator that this machine lacks
        raise SeedsweepError(
            f"trainer.accelerator={config.trainer.accelerator} with trainer.precision="
            f"{config.trainer.precision} can't be used here ({error}); use trainer.accelerator=auto."
        ) from error


def _fit(trainer: pl.Trainer, module: ArmModule, images: ImageDataModule, checkpoint: Path | None) -> bool:
    """Trains; returns False if the user pressed Ctrl-C."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(
            module, datamodule=images, ckpt_path=str(checkpoint) if checkpoint else None, weights_only=False
        )
    except SystemExit:  # Lightning 2.6 leaves so after Ctrl-C, with SIGINT ignored
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, handler)
        return False
    return True


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Copies the log of this run into a file."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
