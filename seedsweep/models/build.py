"""Puts one arm's net together: weights, statistics, freezing and BatchNorm policy, in that order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from seedsweep.backbones.base import Backbone
from seedsweep.backbones.build import BuiltBackbone, build_backbone
from seedsweep.batchnorm.policy import apply_policy
from seedsweep.config.schema import Config
from seedsweep.errors import SeedsweepError
from seedsweep.models.classifier import Classifier, Head
from seedsweep.preprocess.scaling import Preprocess

Calibrate = Callable[[Backbone, Preprocess], None]


@dataclass
class Trunk:
    """All of a net but its head."""

    preprocess: Preprocess
    backbone: Backbone
    origin: BuiltBackbone
    norm_layers: int
    digest: str | None = None  # SHA-256 of weights and statistics, once somebody needed it


@dataclass
class BuiltModel:
    """A classifier and where it came from."""

    classifier: Classifier
    backbone: BuiltBackbone
    norm_layers: int


def build_trunk(config: Config, calibrate: Calibrate | None = None) -> Trunk:
    """Builds preprocessing and backbone of an arm.

    Args:
        config: the whole configuration.
        calibrate: re-estimates the statistics of a backbone, whose images pass the preprocessing; called only
            by a policy with ``recalibrate``. None leaves the statistics as they are (a checkpoint follows).

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
    if config.batchnorm.recalibrate and calibrate is not None:
        calibrate(net, preprocess)
    if config.backbone.freeze:
        for parameter in net.parameters():
            parameter.requires_grad = False
    layers = apply_policy(net, config.batchnorm)
    return Trunk(preprocess, net, built, layers)


def add_head(trunk: Trunk, n_classes: int, config: Config) -> BuiltModel:
    """Returns the trunk with a fresh head of ``n_classes`` outputs."""
    head = build_head(trunk.backbone.num_features, n_classes, config)
    return BuiltModel(Classifier(trunk.preprocess, trunk.backbone, head), trunk.origin, trunk.norm_layers)


def build_head(features: int, n_classes: int, config: Config) -> Head:
    """Returns the head that this seed starts with, whatever backbone stands (or doesn't stand) before it."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return Head(features, n_classes, config.head)
