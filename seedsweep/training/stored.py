"""Trains heads on stored features: a whole run's, or the head of a net whose backbone is trained afterwards."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from seedsweep import signals
from seedsweep.batchnorm.policy import modes_untouched
from seedsweep.errors import DivergedError
from seedsweep.features.feature_store import FeatureRows
from seedsweep.features.image_features import FeatureImages
from seedsweep.models.checkpoint import BEST, CARD, write_checkpoint
from seedsweep.training.assemble import device_of
from seedsweep.training.heads import HeadData, HeadFit, HeadSchedule, divergence, takes_bfloat16
from seedsweep.training.module import ArmModule
from seedsweep.training.online import probe_rows
from seedsweep.training.options import ArmSettings, OptimConfig
from seedsweep.training.recorder import Fitting, Outcome

log = logging.getLogger(__name__)


def fit_stored(images: FeatureImages, module: ArmModule, how: Fitting) -> Outcome:
    """Trains the head of ``module`` on stored features and leaves its best weights in it."""
    config, recorder = how.config, how.recorder
    if how.resume and (recorder.folder / "history.csv").is_file():
        log.info("on stored features a run takes seconds: it begins anew")
    recorder.board.start_anew()
    fit = head_fit(config, images, module)
    interrupted, diverged = False, None
    best: tuple[int, dict[str, Tensor]] = (-1, {})
    try:
        while not (fit.done or recorder.early):
            signals.check()
            recorder.start()
            epoch, row = fit.next_epoch, fit.epoch()
            recorder.record(epoch, config.trainer.max_epochs, row, fit.lr)
            best = (fit.best_epoch, fit.best_state)
    except KeyboardInterrupt:
        interrupted = True
    except DivergedError as error:
        diverged = error
    # an interruption may come between an epoch and its row: weights without a row are not kept
    if fit.best_epoch < len(recorder.rows):
        best = (fit.best_epoch, fit.best_state)
    if best[1]:
        module.classifier.head.load_state_dict(best[1])
        _save_best(module, recorder.folder / "checkpoints" / BEST, best[0], whole=how.whole)
    return Outcome(best[0], interrupted, "bfloat16" if fit.schedule.bfloat16 else "float32", diverged)


def fit_head_first(
    features: Callable[[], FeatureImages],
    then: Callable[[ArmModule, Fitting], Outcome],
    module: ArmModule,
    how: Fitting,
) -> Outcome:
    """Trains the head of ``module`` on the backbone as it begins, then calls ``then``.

    A random head would send large gradients into pretrained layers. A run that goes on from a checkpoint has its head
    already.

    Args:
        features: finds or extracts those of the images without augmentation.
    """
    config = how.config
    if how.resume and any((how.recorder.folder / "checkpoints").glob("*.ckpt")):
        return then(module, how)
    with modes_untouched(module.classifier):
        images = features()
    constant = replace(config.optim, schedule="constant", warmup=0.0)
    fit, accs = head_fit(config, images, module, constant, config.trainer.head_epochs), []
    while not fit.done:
        signals.check()
        row = fit.epoch()
        accs.append(row["val/acc"])
        if what := divergence(row):
            kept = "its best epoch before is kept" if fit.best_state else "it stays random"
            log.warning("!!! the head alone: %s in epoch %d; %s", what, len(accs), kept)
    if fit.best_state:
        module.classifier.head.load_state_dict(fit.best_state)
        log.info(
            "the head alone first, on stored features: val acc %.3f in epoch %d of %d",
            accs[fit.best_epoch], fit.best_epoch + 1, len(accs),
        )  # fmt: skip
    outcome = then(module, how)
    after = max((row["val/acc"] for row in how.recorder.rows), default=0.0)
    if fit.best_state and after < accs[fit.best_epoch]:
        log.warning(
            "!!! the head alone was better (val acc %.3f) than any epoch of the whole net after it (%.3f)",
            accs[fit.best_epoch], after,
        )  # fmt: skip
    return outcome


def head_fit(
    config: ArmSettings,
    images: FeatureImages,
    module: ArmModule,
    optim: OptimConfig | None = None,
    epochs: int | None = None,
) -> HeadFit:
    """Returns the training of the head of ``module`` on stored features, ready to begin; moves it to its device.

    Args:
        module: whose head is trained in place.
        optim: default: of the run.
        epochs: at most; default: of the run.
    """
    device, trainer, size = device_of(config), config.trainer, config.data.batch_size
    module.to(device)
    bfloat16 = takes_bfloat16(config.features.head_precision, device, size)
    schedule = HeadSchedule(epochs or trainer.max_epochs, trainer.patience, size, config.seed, bfloat16)
    data, head = head_data(config, images, device), module.classifier.head
    return HeadFit(head, data, optim or config.optim, schedule, module.class_weights, module.label_smoothing)


def _save_best(module: ArmModule, path: Path, epoch: int, *, whole: bool) -> None:
    """Writes ``best.ckpt`` as Lightning does; without the backbone if not ``whole`` (a trial of a study)."""
    state = {key: value for key, value in module.state_dict().items() if whole or ".head." in key}
    content = {"epoch": epoch, "state_dict": state, "whole": whole, CARD: module.card}
    write_checkpoint(content, path, durable=whole)  # a trial is soon trained anew


def head_data(config: ArmSettings, images: FeatureImages, device: torch.device) -> HeadData:
    """Returns a run's features and labels, on ``device``."""
    table = images.prepared.table
    val = torch.from_numpy(table.indices("val"))
    probe = probe_rows(table, config.trainer.probe_images, config.data.split_seed)

    def train(epoch: int) -> FeatureRows:
        features = images.training_features(epoch)
        return features.to(device) if isinstance(features, Tensor) else features

    return HeadData(
        train,
        images.labels[torch.from_numpy(images.train_rows)].to(device),
        images.plain[val].to(device),
        images.labels[val].to(device),
        images.plain[probe].to(device),
        images.labels[probe].to(device),
        table.classes,
    )
