"""From the configuration to the net of an arm, ready to train."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seedsweep.batchnorm.batches import check_single_images
from seedsweep.batchnorm.policy import depends_on_batch, norm_layers
from seedsweep.batchnorm.statistics import load_statistics, recalibrate, save_statistics
from seedsweep.data.prepare import PreparedImages
from seedsweep.digest import digest_of_net
from seedsweep.models.backbone import Backbone
from seedsweep.models.build import ArmBackbone, BuiltModel, Calibrate, add_head, build_arm_backbone
from seedsweep.models.input_scaling import Preprocess
from seedsweep.training.module import ArmModule
from seedsweep.training.options import ArmSettings

CALIBRATION_BATCH = 64  # large enough for steady statistics

_last: tuple[str, ArmBackbone] | None = (
    None  # the jobs of a grid, or trials of a study, that share a frozen backbone
)


def backbone_of(config: ArmSettings, prepared: PreparedImages, *, calibrated: bool = True) -> ArmBackbone:
    """Builds the arm's net but for its head, or returns the one of the last job where it is the same.

    A backbone is shared only if no training can change it: frozen, with stored statistics.

    Args:
        config: the whole configuration.
        prepared: whose training images ``recalibrate`` reads.
        calibrated: False leaves the statistics as they are (a checkpoint follows), unless there is a cut: stored
            activations belong to the statistics that they were made with.
    """
    global _last
    calibrated = calibrated or config.backbone.train_from is not None
    key = _backbone_key(config, prepared) if calibrated else ""
    if _last is not None and key and _last[0] == key:
        return _last[1]
    _last = None

    def calibrate(net: Backbone, preprocess: Preprocess) -> None:
        _calibrate(net, preprocess, config, prepared)

    backbone = backbone_as_set(config, calibrate if calibrated else None)
    if key and is_constant(backbone.net):
        _last = (key, backbone)
    return backbone


def backbone_as_set(config: ArmSettings, calibrate: Calibrate | None = None) -> ArmBackbone:
    """Builds the net of ``config`` but for its head, see :func:`seedsweep.models.build.build_arm_backbone`."""
    return build_arm_backbone(
        config.backbone, config.preprocess, config.batchnorm, config.data.image_size, calibrate
    )


def is_constant(backbone: nn.Module) -> bool:
    """Says whether training a head behind ``backbone`` leaves it, and what it answers to an image, as it is."""
    return not depends_on_batch(backbone) and not any(p.requires_grad for p in backbone.parameters())


def build_module(
    config: ArmSettings, prepared: PreparedImages, backbone: ArmBackbone
) -> tuple[ArmModule, BuiltModel]:
    """Puts a fresh head on ``backbone``. The head's random start depends on the seed alone."""
    built = add_head(backbone, len(prepared.table.classes), config.head, config.seed)
    return arm_module(config, prepared, built), built


def arm_module(
    config: ArmSettings, prepared: PreparedImages, built: BuiltModel, card: dict[str, Any] | None = None
) -> ArmModule:
    """Makes the module that trains ``built``.

    Args:
        config: the optimiser's settings, precision, the seed.
        prepared: whose classes are learned.
        built: the net; put into the channels_last layout if the settings say so.
        card: what its checkpoints tell beside the weights.
    """
    precision = config.trainer.precision
    if config.trainer.channels_last:
        built.classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ArmModule(
        built.classifier,
        config.optim,
        prepared.table.classes,
        config.seed,
        class_weights(config, prepared),
        config.head.label_smoothing,
        None if precision == "32-true" else torch.bfloat16 if precision.startswith("bf16") else torch.float16,
        card,
    )


def class_weights(config: ArmSettings, prepared: PreparedImages) -> Tensor | None:
    """Returns the loss's weights [N]: inverse to each class's share of the training images; or None."""
    if config.head.class_weights == "none":
        return None
    table = prepared.table
    counts = torch.bincount(
        torch.from_numpy(table.labels[table.indices("train")]), minlength=len(table.classes)
    ).clamp(min=1)
    return counts.sum() / (len(counts) * counts.float())


def _backbone_key(config: ArmSettings, prepared: PreparedImages) -> str:
    content = {
        "backbone": asdict(config.backbone),
        "preprocess": asdict(config.preprocess),
        "batchnorm": asdict(config.batchnorm),
        "size": config.data.image_size,
        "seed": config.seed if config.backbone.weights == "none" else None,
        "train": _train_digest(prepared) if config.batchnorm.recalibrate else None,
        "split_seed": config.data.split_seed if config.batchnorm.recalibrate else None,
        "cwd": str(Path.cwd()),  # backbone.weights may be a relative path
    }
    return json.dumps(content, sort_keys=True, allow_nan=False)


def _train_digest(prepared: PreparedImages) -> str:
    table = prepared.table
    ranges = prepared.pixels.how.ranges.as_dict()
    content = "".join(table.digests[row] for row in table.indices("train"))
    return hashlib.sha256(
        (content + (json.dumps(ranges, allow_nan=False) if ranges else "")).encode()
    ).hexdigest()


def _calibrate(net: Backbone, preprocess: Preprocess, config: ArmSettings, prepared: PreparedImages) -> None:
    """Re-estimates the statistics on all training images, or takes them from the cache."""
    if not norm_layers(net):
        return
    content = [
        digest_of_net(net),
        asdict(config.preprocess),
        config.data.image_size,
        config.data.split_seed,
        _train_digest(prepared),
    ]
    key = hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()[:32]
    path = config.cache_dir / "statistics" / f"{key}.safetensors"
    if load_statistics(net, path):
        return
    n_train = len(prepared.table.indices("train"))
    check_single_images(net, config.data.image_size, CALIBRATION_BATCH, n_train)
    recalibrate(net, (preprocess(part) for part in _calibration_batches(prepared, config.data.split_seed)))
    try:
        save_statistics(net, path)
    except OSError:  # a cache that can't be written costs time, not the run
        return


def _calibration_batches(prepared: PreparedImages, seed: int) -> Iterator[Tensor]:
    """Yields the training images in batches of one size (what fills none is left out: fewer than a batch).

    They are shuffled as ``data.split_seed`` says, so that all seeds share the result.
    """
    rows = torch.from_numpy(prepared.table.indices("train"))
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    size = min(CALIBRATION_BATCH, len(rows))
    for part in torch.split(rows[: len(rows) // size * size], size):
        yield prepared.pixels.batch(part.numpy())
