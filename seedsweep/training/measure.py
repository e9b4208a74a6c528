"""How fast an arm is here: measured on a few batches, or on one epoch of a head, before anything long runs.

What is measured is thrown away: no result depends on it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from seedsweep import signals
from seedsweep.batchnorm.policy import depends_on_batch, norm_layers
from seedsweep.batchnorm.statistics import load_statistics
from seedsweep.data.datamodule import EVAL_BATCH
from seedsweep.data.epoch import build_augment, length
from seedsweep.data.options import AugmentConfig
from seedsweep.data.prepare import PreparedImages
from seedsweep.data.threads import in_threads, load_and_compute
from seedsweep.drawing import figure, save
from seedsweep.features.feature_store import PLAIN
from seedsweep.features.image_features import FeatureImages
from seedsweep.models.build import ArmBackbone
from seedsweep.models.checkpoint import write_checkpoint
from seedsweep.models.classifier import UpperClassifier
from seedsweep.models.input_scaling import flush_denormals
from seedsweep.runs.duration import Pace
from seedsweep.session import Session
from seedsweep.training.assemble import (
    SharedBackbone,
    backbone_as_set,
    build_module,
    device_of,
    statistics_file,
)
from seedsweep.training.module import ArmModule
from seedsweep.training.options import ArmSettings
from seedsweep.training.route import engine_of, feature_space, why_online
from seedsweep.training.stored import head_fit

LONGEST, FEWEST = 1.0, 2  # seconds that steps are measured, and how many at least, after one that is not


def measure(config: ArmSettings, prepared: PreparedImages, session: Session) -> Pace:
    """Measures an arm.

    Args:
        session: shared with the runs that follow; a net that they can use is kept there.
    """
    flush_denormals()
    pl.seed_everything(config.seed, verbose=False)
    started, table, once = time.perf_counter(), prepared.table, dict[str, float]()
    unknown: list[bool] = []

    def calibrate(net: Any, _: Any) -> None:
        if norm_layers(net) and not load_statistics(net, statistics_file(net, config, prepared)):
            unknown.append(True)

    recalibrates = config.batchnorm.recalibrate
    backbone = (
        backbone_as_set(config, calibrate)
        if recalibrates
        else session.of(SharedBackbone).of(config, prepared)
    )
    module, _ = build_module(config, prepared, backbone)
    module.to(device_of(config))
    n_train, shape = len(table.indices("train")), backbone.stored_shape(*config.data.image_size)
    setup, rate = time.perf_counter() - started, None
    reason = why_online(config, backbone.lower, n_train, len(table.paths), shape)
    per_view = 0.0
    if reason is None:
        seconds, rate, per_view = _pass(config, prepared, backbone, all_anew=bool(unknown))
        place = feature_space(config, prepared, backbone).folder.name
        once[place] = seconds
        if backbone.cut is None:  # the next runs get the net from the session
            once[f"{place} net"], setup = setup, 0.0
        if unknown:
            once["statistics"] = n_train / rate if rate else 0.0
    else:
        once["decoded"] = _decoding(prepared)
    if config.trainer.head_epochs:
        plain = replace(config, augment=AugmentConfig("none"))
        whole = replace(backbone, cut=None)
        seconds, _, _ = _pass(plain, prepared, whole, all_anew=False)
        once[feature_space(plain, prepared, whole).folder.name] = seconds
        setup += config.trainer.head_epochs * _head_epoch(plain, prepared, module, whole.net.num_features)
    with tempfile.TemporaryDirectory() as folder:
        saving = _seconds(lambda: write_checkpoint({"state_dict": module.state_dict()}, Path(folder, "x")))
    if reason is None and backbone.cut is None:
        epoch, ending = _head_epoch(config, prepared, module, backbone.net.num_features), saving
    else:
        epoch, ending = _net_epoch(config, prepared, module, backbone, stored=reason is None)
        trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
        epoch += saving * (1.3 + 2 * trained / max(1, sum(p.numel() for p in module.parameters())))
        rate = n_train / epoch
    return Pace(config.trainer.max_epochs, epoch + per_view, setup, ending, once, rate)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _steps(step: Callable[[], object]) -> float:
    """Returns the seconds of a step: the mean of those in LONGEST seconds, after a first one that is not counted."""
    step()
    started = time.perf_counter()
    for n in count(1):
        signals.check()
        step()
        took = time.perf_counter() - started
        if n >= FEWEST and took > LONGEST:
            return took / n
    raise AssertionError("unreachable")


def _decoding(prepared: PreparedImages) -> float:
    """Returns the seconds of decoding the images that are not in memory yet, from a few of them, which are kept."""
    pixels = prepared.pixels
    missing = np.flatnonzero(~pixels.held(range(len(pixels.paths)))) if pixels.keep else np.zeros(0)
    some = missing[:: max(1, len(missing) // 64)][:64].astype(int).tolist()
    if not some:
        return 0.0
    return _seconds(lambda: in_threads(pixels.hold, some, -1, "reading images")) / len(some) * len(missing)


def _pass(
    config: ArmSettings, prepared: PreparedImages, backbone: ArmBackbone, *, all_anew: bool
) -> tuple[float, float | None, float]:
    """Measures the pass over the images whose features are not stored yet.

    Returns:
        Seconds of those without augmentation, images a second (None: nothing is to be computed), and the seconds of
        an epoch's augmented views.
    """
    table, options = prepared.table, config.features
    view = feature_space(config, prepared, backbone).view(PLAIN)
    missing = len(dict.fromkeys(table.digests)) if all_anew else len(view.missing(table.digests))
    augment = build_augment(config.augment, config.seed, table.digests)
    if not missing and augment is None:
        return 0.0, None, 0.0
    started = time.perf_counter()
    engine = engine_of(config, backbone)()
    built = time.perf_counter() - started
    size = min(options.batch_size, max(1, len(table.paths) // 4))
    rows = np.linspace(0, len(table.paths) - 1, size * (1 + 2 * engine.at_once)).astype(int).tolist()
    batches = load_and_compute(
        rows, lambda some: prepared.pixels.batch(some, as_decoded=True), size, engine, engine.at_once
    )
    next(batches)  # the first one finds everything cold
    started = time.perf_counter()
    done = sum(len(some) for some, _, _ in batches)
    rate = done / (time.perf_counter() - started)
    per_view = len(table.indices("train")) / rate if augment else 0.0
    return (built if missing else 0.0) + missing / rate, rate, per_view


def _head_epoch(config: ArmSettings, prepared: PreparedImages, module: ArmModule, width: int) -> float:
    """Returns the seconds of an epoch of the head, on random features [n, width]."""
    table = prepared.table
    features, rows = torch.rand(len(table.paths), width), table.indices("train")
    images = SimpleNamespace(
        prepared=prepared, plain=features, labels=torch.from_numpy(table.labels), train_rows=rows,
        training_features=lambda _: features[torch.from_numpy(rows)],
    )  # fmt: skip
    plain = replace(config, optim=replace(config.optim, schedule="constant", warmup=0.0))
    fit = head_fit(plain, cast(FeatureImages, images), module, epochs=2)
    fit.epoch()
    return _seconds(fit.epoch)


def _net_epoch(
    config: ArmSettings, prepared: PreparedImages, module: ArmModule, backbone: ArmBackbone, *, stored: bool
) -> tuple[float, float]:
    """Measures training steps and passes without training.

    Returns:
        Seconds of an epoch, and of scoring all images at the end.
    """
    table, device, size = prepared.table, device_of(config), config.data.batch_size
    n_train, n_val = len(table.indices("train")), len(table.indices("val"))
    augment = None if stored else build_augment(config.augment, config.seed, table.digests)
    net: nn.Module = module.classifier
    if stored and backbone.cut is not None:
        net = UpperClassifier(module.classifier, backbone.cut)
    optimiser = module.configure_optimizers()
    dtype = module.autocast_dtype

    def inputs(n: int, warp: bool) -> tuple[Tensor, Tensor]:
        rows = np.resize(table.indices("train"), n)
        pixels = prepared.pixels.batch(rows).to(device)
        if warp and augment is not None:
            pixels = augment(pixels, torch.from_numpy(rows), 0)
        if stored and backbone.cut is not None:
            with torch.no_grad():
                pixels = backbone.cut.prefix(backbone.preprocess(pixels))
        return pixels, torch.from_numpy(table.labels[rows]).to(device)

    def once(n: int, train: bool) -> None:
        images, labels = held[train] if stored else inputs(n, train)
        with (
            torch.autocast(device.type, dtype=dtype, enabled=dtype is not None),
            torch.set_grad_enabled(train),
        ):
            loss = functional.cross_entropy(net(images).float(), labels, weight=module.class_weights)
        if train:
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        loss.detach().cpu()  # a GPU is waited for

    some = min(EVAL_BATCH, n_train)
    held = {True: inputs(size, True), False: inputs(some, False)} if stored else {}
    module.train()
    step = _steps(lambda: once(size, True))
    module.eval()
    passed = _steps(lambda: once(some, False)) / some
    probed = min(n_train, config.trainer.probe_images or n_train)
    probed += probed if depends_on_batch(module.classifier.backbone) else 0
    epoch = -(-length(n_train, size) // size) * step + (n_val + probed) * passed
    return epoch, len(table.paths) * passed


def picture_seconds() -> float:
    """Returns the seconds of drawing a small picture here: what a run draws and writes takes a number of them."""

    def draw(folder: str) -> float:
        started = time.perf_counter()
        made = figure(6, 4)
        made.subplots().plot(range(20))
        save(made, Path(folder, "x.png"))
        return time.perf_counter() - started

    with tempfile.TemporaryDirectory() as folder:
        draw(folder)
        return min(draw(folder), draw(folder))
