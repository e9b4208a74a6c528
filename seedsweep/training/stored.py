"""The stored route: features once, then what follows them: the head alone, or the blocks from a cut on."""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch
from torch import nn

from seedsweep import signals
from seedsweep.data.epoch import build_augment
from seedsweep.data.prepare import PreparedImages
from seedsweep.errors import DivergedError
from seedsweep.features.engines import Engine, build_engine, engine_name
from seedsweep.features.feature_store import FeatureRows, Space
from seedsweep.features.image_features import ActivationDataModule, FeatureImages
from seedsweep.models.build import ArmBackbone
from seedsweep.models.called import preprocess_called
from seedsweep.models.checkpoint import CARD, write_checkpoint
from seedsweep.models.classifier import FeatureNet, UpperClassifier
from seedsweep.training.device import device_of
from seedsweep.training.heads import HeadData, HeadFit, HeadSchedule, takes_bfloat16
from seedsweep.training.module import ArmModule
from seedsweep.training.online import fit_online
from seedsweep.training.options import ArmSettings
from seedsweep.training.outcome import Fitting, Outcome
from seedsweep.training.probe import probe_rows

log = logging.getLogger(__name__)


def open_features(config: ArmSettings, prepared: PreparedImages, backbone: ArmBackbone) -> FeatureImages:
    """Finds or extracts the features of a run: pooled ones, or the activations at the backbone's cut.

    Raises:
        OSError: the store can't be written.
        SeedsweepError: the engine asked for can't be had.
    """
    device = device_of(config)
    root = config.cache_dir / "features"
    options = config.features
    size = (3, config.data.image_size[0], config.data.image_size[1])
    if backbone.cut is not None:  # its modes stay: they are the training's
        net: nn.Module = nn.Sequential(backbone.preprocess, backbone.cut.prefix)
    else:
        net = FeatureNet(backbone.preprocess, backbone.net).eval()
    about = {
        "backbone": backbone.name,
        "weights": backbone.weights.note or backbone.weights.source,
        "batchnorm": "recalibrated" if config.batchnorm.recalibrate else "stored",
        "preprocess": preprocess_called(config.preprocess),
        "image_size": list(config.data.image_size),
        "engine": engine_name(options, device),
        "precision": options.precision,
        "dtype": options.dtype,
    }
    if backbone.cut is not None:
        about["cut"] = backbone.cut.name
    identity = about | {"net": backbone.digest, "preprocess": asdict(config.preprocess)}
    if ranges := prepared.pixels.how.ranges.as_dict():  # other pixels of the same files
        identity["values"] = ranges
    identity.pop("weights")
    identity.pop("batchnorm")  # the digest holds its statistics
    space = Space(root, identity, about)

    @cache  # to convert a net takes seconds, and each augmented view asks for it
    def engine() -> Engine:
        return build_engine(net, size, options, device)

    table = prepared.table
    augment = build_augment(config.augment, config.seed, table.digests)
    views = options.views or config.trainer.max_epochs
    images = FeatureImages(prepared, space, engine, options, augment, views, config.data.cache_gib)
    if not images.extracted:
        log.info("features: all %d images are in %s", len(table.paths), space.folder)
    return images


def fit_stored(images: FeatureImages, module: ArmModule, how: Fitting) -> Outcome:
    """Trains the head of ``module`` on stored features and leaves its best weights in it.

    A run that was interrupted starts again: it is a matter of seconds, and ends with the same numbers.

    Args:
        images: the features.
        module: the whole net.
        how: it is trained.
    """
    config, recorder = how.config, how.recorder
    if how.resume and (how.folder / "history.csv").is_file():
        log.info("on stored features a run takes seconds: it begins anew")
    recorder.board.start_anew()
    device = device_of(config)
    module.to(device)
    head = module.classifier.head
    schedule = schedule_of(config, device)
    fit = HeadFit(
        head,
        head_data(config, images, device),
        config.optim,
        schedule,
        module.class_weights,
        module.label_smoothing,
    )
    interrupted, diverged = False, None
    best: tuple[int, dict[str, torch.Tensor]] = (-1, {})
    try:
        while not fit.done:
            signals.check()
            recorder.start()
            recorder.record(fit.next_epoch, config.trainer.max_epochs, fit.epoch(), config.optim.lr)
            if fit.best_epoch < len(recorder.rows):
                best = (fit.best_epoch, fit.best_state)
    except KeyboardInterrupt:
        interrupted = True
    except DivergedError as error:
        diverged = error
    # it may have come between an epoch and its row: weights that no row tells of are not kept
    if fit.best_epoch < len(recorder.rows):
        best = (fit.best_epoch, fit.best_state)
    if best[1]:
        head.load_state_dict(best[1])
        _save_best(module, how.folder / "checkpoints/best.ckpt", best[0], whole=how.whole)
    return Outcome(best[0], interrupted, "bfloat16" if schedule.bfloat16 else "float32", diverged)


def fit_upper(images: ActivationDataModule, module: ArmModule, how: Fitting) -> Outcome:
    """Trains head and upper blocks on the activations at the cut, as online but for the passes below it.

    Leaves the best weights in ``module``; the checkpoints are those of the online arm, whole nets.

    Args:
        images: the activations.
        module: the whole net.
        how: it is trained.

    Raises:
        SeedsweepError: the accelerator can't be had here, or no checkpoint is whole.
    """
    whole = module.classifier
    module.classifier = UpperClassifier(whole, images.cut)
    try:
        return fit_online(images, module, how)
    finally:
        module.classifier = whole


def _save_best(module: ArmModule, path: Path, epoch: int, *, whole: bool) -> None:
    """Writes ``best.ckpt`` as Lightning does; without the backbone if not ``whole`` (a trial of a study)."""
    state = module.state_dict()
    if not whole:
        state = {key: value for key, value in state.items() if ".head." in key}
    content = {"epoch": epoch, "state_dict": state, "whole": whole, CARD: module.card}
    write_checkpoint(content, path, durable=whole)  # a trial is soon trained anew


def schedule_of(config: ArmSettings, device: torch.device) -> HeadSchedule:
    """Returns how a run's head is trained on stored features."""
    trainer, size = config.trainer, config.data.batch_size
    bfloat16 = takes_bfloat16(config.features.head_precision, device, size)
    return HeadSchedule(trainer.max_epochs, trainer.patience, size, config.seed, bfloat16)


def head_data(config: ArmSettings, images: FeatureImages, device: torch.device) -> HeadData:
    """Returns a run's features and labels, on ``device``."""
    table = images.prepared.table
    val = torch.from_numpy(table.indices("val"))
    probe = probe_rows(table, config.trainer.probe_images, config.data.split_seed)

    def train(epoch: int) -> FeatureRows:
        features = images.training_features(epoch)
        return features.to(device) if isinstance(features, torch.Tensor) else features

    return HeadData(
        train,
        images.labels[torch.from_numpy(images.train_rows)].to(device),
        images.plain[val].to(device),
        images.labels[val].to(device),
        images.plain[probe].to(device),
        images.labels[probe].to(device),
        table.classes,
    )
