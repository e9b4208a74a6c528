"""Puts one arm's net together: weights, statistics, cut, freezing and BatchNorm policy, in that order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from seedsweep.batchnorm.options import BatchNormConfig
from seedsweep.batchnorm.policy import norm_layers, set_batchnorm, statistics_untouched
from seedsweep.digest import digest_of_net
from seedsweep.errors import SeedsweepError
from seedsweep.models.backbone import Backbone
from seedsweep.models.backbone_builder import BuiltBackbone, build_backbone
from seedsweep.models.classifier import Classifier, Head
from seedsweep.models.cut import Cut, find_cut
from seedsweep.models.input_scaling import Preprocess
from seedsweep.models.options import BackboneConfig, HeadConfig, PreprocessConfig

Calibrate = Callable[[Backbone, Preprocess], None]

FROZEN = BatchNormConfig("frozen")  # stored statistics, nothing trained


@dataclass
class Trunk:
    """All of a net but its head; ``cut`` where only its upper part is trained."""

    preprocess: Preprocess
    backbone: Backbone
    origin: BuiltBackbone
    norm_layers: int
    cut: Cut | None = None

    @property
    def lower(self) -> nn.Module:
        """What stands before the cut, or the whole backbone: normalised images to what may be stored."""
        return self.backbone if self.cut is None else self.cut.prefix

    @cached_property
    def digest(self) -> str:
        """SHA-256 of weights and statistics of ``lower`` as they are when it is first asked for."""
        return digest_of_net(self.lower)

    def stored_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Returns the shape of what is stored of an image: [C], or that of its activations at the cut.

        Raises:
            SeedsweepError: what the net hands over at the cut is no tensor.
        """
        if self.cut is None:
            return (self.backbone.num_features,)
        with statistics_untouched(self.backbone), torch.no_grad():
            self.backbone.eval()
            activations = self.cut.prefix(torch.zeros(1, 3, height, width))
        if not isinstance(activations, Tensor):
            raise SeedsweepError(
                f"backbone.train_from={self.cut.name}: {self.origin.name} hands over several tensors there, and one "
                "is wanted; take another module."
            )
        return tuple(activations.shape[1:])


@dataclass
class BuiltModel:
    """A classifier and where it came from; ``train_from`` is the module at the cut, if there is one."""

    classifier: Classifier
    backbone: BuiltBackbone
    norm_layers: int
    train_from: str | None = None


def build_trunk(
    backbone: BackboneConfig,
    preprocessing: PreprocessConfig,
    policy: BatchNormConfig,
    image_size: Sequence[int],
    calibrate: Calibrate | None = None,
) -> Trunk:
    """Builds preprocessing and backbone of an arm.

    Args:
        backbone: the net and its weights, what of it is trained.
        preprocessing: from pixels to what the net reads.
        policy: of its BatchNorm layers.
        image_size: [height, width] in pixels.
        calibrate: re-estimates the statistics of a backbone, whose images pass the preprocessing; called only
            by a policy with ``recalibrate``. None leaves the statistics as they are (a checkpoint follows).

    Raises:
        SeedsweepError: the images are too small for the net, weights can't be had, or the net can't be cut at
            ``backbone.train_from``.
    """
    built = build_backbone(backbone)
    net = built.net
    height, width = image_size
    if min(height, width) < net.min_size:
        raise SeedsweepError(
            f"data.image_size is [{height}, {width}], but {built.name} needs at least {net.min_size} px a side."
        )
    preprocess = Preprocess(preprocessing, net.input_spec)
    if policy.recalibrate and calibrate is not None:
        calibrate(net, preprocess)
    cut = None
    if backbone.train_from is not None:
        cut = find_cut(net, built.name, backbone.train_from)
    for name, parameter in net.named_parameters():
        if backbone.freeze or (cut is not None and not cut.holds(name)):
            parameter.requires_grad = False
    return Trunk(preprocess, net, built, _apply_policy(net, policy, cut), cut)


def _apply_policy(net: Backbone, policy: BatchNormConfig, cut: Cut | None) -> int:
    """Puts the norm layers under ``policy``; one that trains them holds those before the cut to what they are.

    The policies that train nothing mean the whole net: ``batch_stats`` and ``update_stats`` keep their fault.
    """
    if cut is None or not policy.train_affine:
        return len(set_batchnorm(net, policy).layers)
    layers = norm_layers(net)
    for name, layer in layers:
        set_batchnorm(layer, policy if cut.holds(name) else FROZEN)
    return len(layers)


def add_head(trunk: Trunk, n_classes: int, options: HeadConfig, seed: int) -> BuiltModel:
    """Returns the trunk with a fresh head of ``n_classes`` outputs."""
    head = build_head(trunk.backbone.num_features, n_classes, options, seed)
    train_from = trunk.cut.name if trunk.cut else None
    classifier = Classifier(trunk.preprocess, trunk.backbone, head)
    return BuiltModel(classifier, trunk.origin, trunk.norm_layers, train_from)


def build_head(features: int, n_classes: int, options: HeadConfig, seed: int) -> Head:
    """Returns the head that this seed starts with, whatever backbone stands (or doesn't stand) before it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Head(features, n_classes, options)
