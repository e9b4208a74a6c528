"""Puts one arm's net together: weights, freezing and BatchNorm policy, in that order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from seedsweep.backbones.build import BuiltBackbone, build_backbone
from seedsweep.batchnorm.policy import apply_policy, recalibrate
from seedsweep.config.schema import Config
from seedsweep.errors import SeedsweepError
from seedsweep.models.classifier import Classifier, Head
from seedsweep.preprocess.scaling import Preprocess


@dataclass
class BuiltModel:
    """A classifier and where it came from."""

    classifier: Classifier
    backbone: BuiltBackbone
    norm_layers: int


def build_model(config: Config, n_classes: int, calibration: Iterable[Tensor] | None = None) -> BuiltModel:
    """Builds the classifier of an arm.

    Args:
        config: the whole configuration.
        n_classes: outputs of the head.
        calibration: un-augmented training images (0..255, [B, 3, H, W]) in shuffled batches; read only by a
            policy with ``recalibrate``. None leaves the statistics as they are (a checkpoint follows).

    Raises:
        SeedsweepError: the images are too small for the net, or weights can't be had.
    """
    built = build_backbone(config.backbone)
    net = built.net
    height, width = config.data.image_size
    if min(height, width) < net.min_size:
        raise SeedsweepError(
            f"data.image_size is [{height}, {width}], but {built.name} needs at least {net.min_size} px a side."
        )
    preprocess = Preprocess(config.preprocess, net.input_spec)
    if config.batchnorm.recalibrate and calibration is not None:
        recalibrate(net, (preprocess(images) for images in calibration))
    if config.backbone.freeze:
        for parameter in net.parameters():
            parameter.requires_grad = False
    layers = apply_policy(net, config.batchnorm)
    head = build_head(net.num_features, n_classes, config)
    return BuiltModel(Classifier(preprocess, net, head), built, layers)


def build_head(features: int, n_classes: int, config: Config) -> Head:
    """Returns the head that this seed starts with, whatever backbone stands (or doesn't stand) before it."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return Head(features, n_classes, config.head)
