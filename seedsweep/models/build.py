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


@dataclass(kw_only=True)
class ArmBackbone(BuiltBackbone):
    """All of an arm's net but its head; ``cut`` where only its upper part is trained."""

    preprocess: Preprocess
    cut: Cut | None = None

    @property
    def train_from(self) -> str | None:
        """The module at the cut, if there is one."""
        return self.cut.name if self.cut else None

    @property
    def lower(self) -> nn.Module:
        """What stands before the cut, or the whole backbone: normalised images to what may be stored."""
        return self.net if self.cut is None else self.cut.prefix

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
            return (self.net.num_features,)
        with statistics_untouched(self.net), torch.no_grad():
            self.net.eval()
            activations = self.cut.prefix(torch.zeros(1, 3, height, width))
        if not isinstance(activations, Tensor):
            raise SeedsweepError(
                f"backbone.train_from={self.cut.name}: {self.name} hands over several tensors there, and one "
                "is wanted; take another module."
            )
        return tuple(activations.shape[1:])


@dataclass
class BuiltModel:
    """A classifier, and its backbone with where that came from."""

    classifier: Classifier
    backbone: ArmBackbone


def build_arm_backbone(
    backbone: BackboneConfig,
    preprocessing: PreprocessConfig,
    policy: BatchNormConfig,
    image_size: Sequence[int],
    calibrate: Calibrate | None = None,
) -> ArmBackbone:
    """Builds preprocessing and backbone of an arm.

    Args:
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
    _apply_policy(net, policy, cut)
    return ArmBackbone(net, built.name, built.weights, built.fallback, preprocess=preprocess, cut=cut)


def _apply_policy(net: Backbone, policy: BatchNormConfig, cut: Cut | None) -> None:
    """Puts the norm layers under ``policy``; one that trains them holds those before the cut to what they are.

    The policies that train nothing mean the whole net: ``batch_stats`` and ``update_stats`` keep their fault.
    """
    if cut is None or not policy.train_affine:
        set_batchnorm(net, policy)
        return
    for name, layer in norm_layers(net):
        set_batchnorm(layer, policy if cut.holds(name) else FROZEN)


def add_head(backbone: ArmBackbone, n_classes: int, options: HeadConfig, seed: int) -> BuiltModel:
    """Returns the backbone with a fresh head of ``n_classes`` outputs."""
    head = build_head(backbone.net.num_features, n_classes, options, seed)
    return BuiltModel(Classifier(backbone.preprocess, backbone.net, head), backbone)


def build_head(features: int, n_classes: int, options: HeadConfig, seed: int) -> Head:
    """Returns the head that this seed starts with, whatever backbone stands (or doesn't stand) before it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Head(features, n_classes, options)
