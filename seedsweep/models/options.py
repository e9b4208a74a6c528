"""Settings of the net: preprocessing, backbone, head."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from seedsweep.bounds import (
    at_least,
    between,
    one_of,
)
from seedsweep.errors import SeedsweepError


@dataclass
class PreprocessConfig:
    """How pixels (0..255) become what the net reads."""

    name: str = MISSING  # of the choice
    normalise: bool = True  # the scaling that the backbone was trained with
    rescale: bool = False  # times 1/255: after normalise a second scaling (the fault), alone 0 to 1


@dataclass
class BackboneConfig:
    """The feature extractor and its weights."""

    name: str = MISSING  # inception_v3 | vgg16 | efficientnet_lite0, 1, 2 | auto | any timm model
    library: str = "own"  # own: a file in seedsweep/models/nets; timm: timm.create_model(name)
    weights: str = "auto"  # auto | none | a file (.safetensors, .pt, .pth; .h5, .keras of Keras)
    freeze: bool = True  # true: only the head is trained (and BatchNorm, if its policy says so)
    # With freeze false, train only the blocks from this module on, in the order of execution: Mixed_7a; or after this
    # share of the blocks: 0.7. BatchNorm before it keeps its stored statistics under inference, recalibrate and
    # train, so that the activations there are stored like features; batch_stats and update_stats mean the whole net.
    train_from: str | None = None

    def __post_init__(self) -> None:
        one_of("backbone.library", self.library, ("own", "timm"))
        if self.freeze and self.train_from is not None:
            raise SeedsweepError(
                f"backbone.train_from={self.train_from} trains the blocks from there on, but backbone.freeze=true "
                "trains none: add backbone.freeze=false, or leave backbone.train_from out."
            )


@dataclass
class HeadConfig:
    """Dense(width), ReLU, Dropout, Linear, after global average pooling."""

    width: int = 1024  # units of the Dense layer; 0: no such layer
    dropout: float = 0.0  # share of the units that are dropped before the last layer, in training
    class_weights: str = "none"  # balanced: each class weighs the same in the loss
    label_smoothing: float = 0.0  # share of the target that is spread over all classes, in training

    def __post_init__(self) -> None:
        between("head.label_smoothing", self.label_smoothing, 0, 0.9)
        at_least("head.width", self.width, 0, 65_536)
        between("head.dropout", self.dropout, 0, 0.99)
        one_of("head.class_weights", self.class_weights, ("none", "balanced"))
