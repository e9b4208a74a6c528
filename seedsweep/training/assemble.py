"""From the settings to the net of an arm, ready to train, and to the device where it is trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from seedsweep.batchnorm.batches import check_single_images
from seedsweep.batchnorm.policy import depends_on_batch, norm_layers
from seedsweep.batchnorm.statistics import load_statistics, recalibrate, save_statistics
from seedsweep.data.prepare import PreparedImages
from seedsweep.digest import digest_of_net
from seedsweep.errors import SeedsweepError
from seedsweep.models.backbone import Backbone
from seedsweep.models.build import ArmBackbone, BuiltModel, Calibrate, add_head, build_arm_backbone
from seedsweep.models.input_scaling import Preprocess
from seedsweep.training.effective import card_of
from seedsweep.training.module import ArmModule
from seedsweep.training.options import ArmSettings

CALIBRATION_BATCH = 64  # large enough for steady statistics
AUTOCAST = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class SharedBackbone:
    """Keeps the backbone of the last run, for the next one that has the same: the trials of a study, say.

    It is kept only if no training can change it: frozen, with stored statistics.
    """

    def __init__(self) -> None:
        self._key = ""
        self._kept: ArmBackbone | None = None

    def of(self, config: ArmSettings, prepared: PreparedImages) -> ArmBackbone:
        """Returns the backbone of :func:`backbone_of`."""
        key = _backbone_key(config, prepared)
        if self._kept is not None and self._key == key:
            return self._kept
        self._kept = None  # before the next one is built: it takes as much memory
        made = backbone_of(config, prepared)
        if not depends_on_batch(made.net) and not any(p.requires_grad for p in made.net.parameters()):
            self._key, self._kept = key, made
        return made


def backbone_of(config: ArmSettings, prepared: PreparedImages, *, calibrated: bool = True) -> ArmBackbone:
    """Builds the arm's net but for its head.

    Args:
        prepared: whose training images ``recalibrate`` reads.
        calibrated: False leaves the statistics as they are (a checkpoint follows), unless there is a cut: stored
            activations belong to the statistics that they were made with.
    """
    if not calibrated and config.backbone.train_from is None:
        return backbone_as_set(config)
    return backbone_as_set(config, lambda net, preprocess: _calibrate(net, preprocess, config, prepared))


def backbone_as_set(config: ArmSettings, calibrate: Calibrate | None = None) -> ArmBackbone:
    """Builds the net of ``config`` but for its head, see :func:`seedsweep.models.build.build_arm_backbone`."""
    return build_arm_backbone(
        config.backbone, config.preprocess, config.batchnorm, config.data.image_size, calibrate
    )


def build_module(
    config: ArmSettings, prepared: PreparedImages, backbone: ArmBackbone
) -> tuple[ArmModule, BuiltModel]:
    """Puts a fresh head on ``backbone``, and makes the module that trains it.

    Args:
        config: of the arm. The head's random start depends on its seed alone; the net is put into the channels_last
            layout if it says so.
        prepared: whose classes are learned.

    Returns:
        The module, and the net with its origin.
    """
    built = add_head(backbone, len(prepared.table.classes), config.head, config.seed)
    if config.trainer.channels_last:
        built.classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module = ArmModule(
        built.classifier,
        config.optim,
        prepared.table.classes,
        config.seed,
        class_weights(config, prepared),
        config.head.label_smoothing,
        AUTOCAST[config.trainer.precision],
        card_of(config, built, prepared.table.classes, prepared.pixels.how.ranges.as_dict()),
    )
    return module, built


def class_weights(config: ArmSettings, prepared: PreparedImages) -> Tensor | None:
    """Returns the loss's weights [N]: inverse to each class's share of the training images; or None."""
    if config.head.class_weights == "none":
        return None
    table = prepared.table
    counts = torch.bincount(
        torch.from_numpy(table.labels[table.indices("train")]), minlength=len(table.classes)
    ).clamp(min=1)
    return counts.sum() / (len(counts) * counts.float())


def device_of(config: ArmSettings) -> torch.device:
    """Returns what ``trainer.accelerator`` means here; ``auto`` is CUDA if it is there, else the CPU.

    Raises:
        SeedsweepError: this machine lacks what is asked for.
    """
    wanted = config.trainer.accelerator
    kinds = {"auto": ("cuda", "cpu"), "gpu": ("cuda", "mps")}.get(wanted, (wanted,))
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    for kind in kinds:
        if there[kind]:
            return torch.device(kind)
    raise SeedsweepError(f"trainer.accelerator={wanted} can't be used here; use trainer.accelerator=auto.")


def _backbone_key(config: ArmSettings, prepared: PreparedImages) -> str:
    """Returns what must be equal for two backbones to be equal."""
    parts: list[object] = [config.backbone, config.preprocess, config.batchnorm, config.data.image_size]
    if config.backbone.weights == "none":
        parts.append(config.seed)
    if config.batchnorm.recalibrate:
        parts += [_train_digest(prepared), config.data.split_seed]
    return f"{parts} {Path.cwd()}"  # backbone.weights may be a relative path


def _train_digest(prepared: PreparedImages) -> str:
    table = prepared.table
    ranges = prepared.pixels.how.ranges.as_dict()
    content = "".join(table.digests[row] for row in table.indices("train"))
    content += json.dumps(ranges, allow_nan=False) if ranges else ""
    return hashlib.sha256(content.encode()).hexdigest()


def statistics_file(net: Backbone, config: ArmSettings, prepared: PreparedImages) -> Path:
    """Returns where the statistics of a net that are re-estimated on these training images are kept."""
    content = [
        digest_of_net(net),
        asdict(config.preprocess),
        config.data.image_size,
        config.data.split_seed,
        _train_digest(prepared),
    ]
    key = hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()[:32]
    return config.cache_dir / "statistics" / f"{key}.safetensors"


def _calibrate(net: Backbone, preprocess: Preprocess, config: ArmSettings, prepared: PreparedImages) -> None:
    """Re-estimates the statistics on all training images, or takes them from the cache."""
    if not norm_layers(net):
        return
    path = statistics_file(net, config, prepared)
    if load_statistics(net, path):
        return
    n_train = len(prepared.table.indices("train"))
    check_single_images(net, config.data.image_size, CALIBRATION_BATCH, n_train)
    recalibrate(net, (preprocess(part) for part in _calibration_batches(prepared, config.data.split_seed)))
    with suppress(OSError):  # a cache that can't be written costs time, not the run
        save_statistics(net, path)


def _calibration_batches(prepared: PreparedImages, seed: int) -> Iterator[Tensor]:
    """Yields the training images in batches of one size (what fills none is left out: fewer than a batch).

    They are shuffled as ``data.split_seed`` says, so that all seeds share the result.
    """
    rows = torch.from_numpy(prepared.table.indices("train"))
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    size = min(CALIBRATION_BATCH, len(rows))
    for part in torch.split(rows[: len(rows) // size * size], size):
        yield prepared.pixels.batch(part.numpy())
