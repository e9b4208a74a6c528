"""Settings of the optimiser and of training."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from seedsweep.affects import SPEED, content
from seedsweep.batchnorm.options import BatchNormConfig
from seedsweep.bounds import (
    MOST_EPOCHS,
    MOST_IMAGES,
    at_least,
    between,
    file_name,
    one_of,
    positive,
)
from seedsweep.data.options import AugmentConfig, DataConfig
from seedsweep.errors import SeedsweepError
from seedsweep.features.options import FeaturesConfig
from seedsweep.models.options import BackboneConfig, HeadConfig, PreprocessConfig
from seedsweep.names import path_of

SCHEDULES = ("constant", "cosine", "one_cycle", "plateau")


@dataclass
class OptimConfig:
    """The optimiser."""

    name: str = MISSING  # of the optimiser
    lr: float = 1e-3  # learning rate; the highest one where a schedule changes it
    weight_decay: float = 0.0  # of all trained weights
    momentum: float = 0.9  # sgd only
    nesterov: bool = False  # sgd only: Nesterov's momentum
    schedule: str = "constant"  # how the learning rate changes
    warmup: float = 0.0  # epochs in which the rate rises from 1 % of optim.lr; constant and cosine only
    # learning rate of the head, where the backbone is trained, too; null: optim.lr
    head_lr: float | None = None
    layer_decay: float = 1.0  # a block's learning rate, as a share of the next block's; 1: all alike
    clip_norm: float = 0.0  # largest norm of a step's gradient; 0: no limit
    accumulate: int = 1  # batches whose gradients make one step

    def __post_init__(self) -> None:
        one_of("optim.name", self.name, ("adam", "adamw", "sgd"))
        positive("optim.lr", self.lr)
        one_of("optim.schedule", self.schedule, SCHEDULES)
        at_least("optim.warmup", self.warmup, 0, MOST_EPOCHS)
        if self.head_lr is not None:
            positive("optim.head_lr", self.head_lr)
        positive("optim.layer_decay", self.layer_decay, 1)
        at_least("optim.clip_norm", self.clip_norm, 0)
        at_least("optim.accumulate", self.accumulate, 1, MOST_IMAGES)
        at_least("optim.weight_decay", self.weight_decay, 0)
        between("optim.momentum", self.momentum, 0, 1)
        if self.nesterov and not self.momentum:
            raise SeedsweepError("optim.nesterov=true needs an optim.momentum above 0.")


@dataclass
class TrainerConfig:
    """Epochs, stopping, hardware."""

    max_epochs: int = 25  # passes over the training images, at most
    head_epochs: int = 0  # in which the head alone is trained first, on stored features; then comes the rest
    # weights are kept as a moving average, of which a step leaves this share as it was; 0: no average
    ema: float = 0.0
    patience: int = 10  # epochs without a better val acc before stopping; 0: never stop early
    accelerator: str = "auto"  # what computes; auto takes a GPU where there is one
    precision: str = "32-true"  # of the arithmetic, where images pass the net in each epoch
    channels_last: bool = True  # memory layout of images: faster convolutions on CPUs and tensor cores
    probe_images: int = 512  # fixed training images of the bn_gap probe; 0: all of them
    progress_bar: bool = field(default=True, metadata=SPEED)  # on a terminal

    def __post_init__(self) -> None:
        at_least("trainer.max_epochs", self.max_epochs, 1, MOST_EPOCHS)
        at_least("trainer.head_epochs", self.head_epochs, 0, MOST_EPOCHS)
        between("trainer.ema", self.ema, 0, 0.99999)
        at_least("trainer.patience", self.patience, 0, MOST_EPOCHS)
        one_of("trainer.accelerator", self.accelerator, ("auto", "cpu", "gpu", "cuda", "mps"))
        one_of("trainer.precision", self.precision, ("32-true", "bf16-mixed", "16-mixed"))
        at_least("trainer.probe_images", self.probe_images, 0, MOST_IMAGES)


@dataclass
class PathsConfig:
    """Where things are written. Relative paths start at the working directory."""

    outputs: str = "outputs"  # folder of single runs and of studies
    multirun: str = "multirun"  # folder of grids
    cache: str = "~/.cache/seedsweep"  # folder of stored features and of the demo's photographs


@dataclass
class ExperimentConfig:
    """What an experiment is called and what it teaches."""

    name: str = "custom"  # of the arm, in tables and folders
    teaches: str = field(default="", metadata=SPEED)  # what the arm is there for, in a line

    def __post_init__(self) -> None:
        file_name("experiment.name", self.name)


@dataclass
class RungConfig:
    """A rung of the ladder (``conf/rung``), or an arm that stands beside it."""

    kind: str = ""  # rung: a step of the ladder; put_back: a fault put back; cell: of the two-by-two table
    after: str = ""  # experiment.name of the arm that it differs from in one thing
    label: str = ""  # that thing, for a picture
    change: str = ""  # that thing, in a few words

    def __post_init__(self) -> None:
        one_of("rung.kind", self.kind, ("", "rung", "put_back", "cell"))


@dataclass
class ArmSettings:
    """All that decides how one run trains: the arm, its images and its seed."""

    seed: int = 1  # of the initial head, the order of batches, augmentation and dropout (not of the split)
    experiment: ExperimentConfig = field(default_factory=ExperimentConfig)
    rung: RungConfig = field(default_factory=RungConfig, metadata=SPEED)
    paths: PathsConfig = field(default_factory=PathsConfig, metadata=SPEED)
    data: DataConfig = MISSING
    augment: AugmentConfig = MISSING
    preprocess: PreprocessConfig = MISSING
    backbone: BackboneConfig = MISSING
    batchnorm: BatchNormConfig = MISSING
    head: HeadConfig = field(default_factory=HeadConfig)
    optim: OptimConfig = MISSING
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    # copies, contradictions and torn photographs are looked for before the training: auto | off
    audit: str = field(default="auto", metadata=SPEED)

    @property
    def is_frozen(self) -> bool:
        """Whether only a head is trained."""
        return self.backbone.freeze and not self.batchnorm.train_affine

    @property
    def cache_dir(self) -> Path:
        """The folder of features, statistics and demo photographs."""
        return path_of(self.paths.cache)

    def __post_init__(self) -> None:
        between("seed", self.seed, 0, 2**32 - 1)
        one_of("audit", self.audit, ("auto", "off"))


def what_counts(settings: ArmSettings) -> dict[str, Any]:
    """Returns the settings that a run's numbers depend on, and its name."""
    return content(settings, without=SPEED, of=ArmSettings)


def run_digest(settings: ArmSettings) -> str:
    """Returns the SHA-256 of all that makes two runs one: everything but how fast they go and where they are kept."""
    text = json.dumps(what_counts(settings), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
