"""The effective switches of a run: what its net, images and optimiser really did, and the same in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, get_type_hints

from seedsweep.data.options import AugmentConfig
from seedsweep.models.options import HeadConfig

BATCH, STORED, NONE = "batch", "stored", "none"


@dataclass(frozen=True)
class BatchNormSwitches:
    """Of the backbone's BatchNorm layers."""

    # the choice of conf/batchnorm with these switches, or custom (...); ``none`` without such layers
    policy: str
    layers: int  # how many there are
    # batch | stored | none: what normalises in training. At inference the stored ones do.
    training_statistics: str
    update_statistics: bool  # whether the running statistics move in training
    train_affine: bool  # whether scale and shift are trained
    recalibrate: bool  # whether the statistics were estimated anew on the training images first
    # those among them that stand before ``train_from`` and keep stored statistics, scale and shift, whatever
    # the other switches say
    held_layers: int = 0

    @property
    def uses_batch(self) -> bool:
        """Whether training normalises with the batch's statistics, and so otherwise than inference."""
        return self.training_statistics == BATCH


@dataclass(frozen=True)
class PreprocessSwitches:
    """Of the input scaling; ``black`` and ``white`` are what 0 and 255 become, a number a channel."""

    name: str
    normalise: bool
    rescale: bool
    black: list[float] | None = None
    white: list[float] | None = None


@dataclass(frozen=True)
class BackboneSwitches:
    """Of the net before the head."""

    name: str  # of the net that was built
    library: str  # own | timm
    freeze: bool  # whether none of its parameters is trained but, perhaps, those of BatchNorm layers
    train_from: str | None  # the first module whose parameters are trained; None: all are, or none
    parameters: int | None = None  # numbers in it
    trained_parameters: int | None = None  # those among them that are trained, BatchNorm's included
    dropout: bool | None = None  # whether anything in it drops at random in training


WITH_MOMENTUM = ("sgd",)  # optimisers that have one to set


@dataclass(frozen=True)
class OptimSwitches:
    """Of the optimiser; ``momentum`` and ``nesterov`` are None where it has none to set."""

    name: str
    lr: float
    weight_decay: float
    momentum: float | None
    nesterov: bool | None = None
    schedule: str = "constant"
    warmup: float = 0.0
    head_lr: float | None = None
    layer_decay: float = 1.0
    clip_norm: float = 0.0
    accumulate: int = 1

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> OptimSwitches:
        """Returns what settings of the optimiser come to."""
        made = cls(**settings)
        return made if made.name in WITH_MOMENTUM else replace(made, momentum=None, nesterov=None)


@dataclass(frozen=True)
class TrainerSwitches:
    """Of the training."""

    max_epochs: int
    patience: int
    batch_size: int
    precision: str
    accelerator: str
    channels_last: bool
    head_epochs: int = 0
    ema: float = 0.0


@dataclass(frozen=True)
class Switches:
    """All of them; augmentation, head and its loss as they were set."""

    batchnorm: BatchNormSwitches
    preprocess: PreprocessSwitches
    augment: AugmentConfig
    backbone: BackboneSwitches
    head: HeadConfig
    optim: OptimSwitches
    trainer: TrainerSwitches

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Switches:
        """Reads what metrics.json holds; what this version does not know is left out.

        Raises:
            KeyError, TypeError, AttributeError, SeedsweepError: something is missing or can't be.
        """
        kinds = get_type_hints(cls)
        made: dict[str, Any] = {}
        for key, kind in kinds.items():
            known = {field.name for field in fields(kind)}
            made[key] = kind(**{name: value for name, value in content[key].items() if name in known})
        return cls(**made)


def batchnorm_summary(switches: BatchNormSwitches) -> str:
    """Returns a line such as ``BatchNorm policy inference on 49 layers``."""
    if switches.layers == 0:
        return "no BatchNorm layers"
    line = f"BatchNorm policy {switches.policy} on {switches.layers} layers"
    held = switches.held_layers
    return f"{line} (of which the first {held} keep what they have)" if held else line


def random_and_frozen(weights: str | None, frozen: bool, train_from: str | None) -> str:
    """Returns a sentence about a backbone part that begins random and is not trained; empty: there is none."""
    if weights != "none" or not (frozen or train_from):
        return ""
    if frozen:
        part, train = "the weights of the frozen backbone are", "backbone.freeze=false"
    else:
        part, train = f"the weights of the backbone before {train_from} are", "backbone.train_from=null"
    return (
        f"{part} random and are never trained, so the head learns on random features; give backbone.weights=auto or a "
        f"FILE, or train the backbone with {train}."
    )
