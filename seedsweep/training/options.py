"""Settings of the optimiser and of training."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from seedsweep.bounds import (
    MOST_EPOCHS,
    MOST_IMAGES,
    at_least,
    between,
    one_of,
    positive,
)


@dataclass
class OptimConfig:
    """The optimiser."""

    name: str = MISSING  # of the optimiser
    lr: float = 1e-3  # learning rate
    weight_decay: float = 0.0  # of all trained weights
    momentum: float = 0.9  # sgd only

    def __post_init__(self) -> None:
        one_of("optim.name", self.name, ("adam", "adamw", "sgd"))
        positive("optim.lr", self.lr)
        at_least("optim.weight_decay", self.weight_decay, 0)
        between("optim.momentum", self.momentum, 0, 1)


@dataclass
class TrainerConfig:
    """Epochs, stopping, hardware."""

    max_epochs: int = 25  # passes over the training images, at most
    patience: int = 10  # epochs without a better val acc before stopping; 0: never stop early
    accelerator: str = "auto"  # what computes; auto takes a GPU where there is one
    precision: str = "32-true"  # of the arithmetic, where images pass the net in each epoch
    channels_last: bool = True  # memory layout of images: faster convolutions on CPUs and tensor cores
    probe_images: int = 512  # fixed training images of the bn_gap probe; 0: all of them
    progress_bar: bool = True  # on a terminal

    def __post_init__(self) -> None:
        at_least("trainer.max_epochs", self.max_epochs, 1, MOST_EPOCHS)
        at_least("trainer.patience", self.patience, 0, MOST_EPOCHS)
        one_of("trainer.accelerator", self.accelerator, ("auto", "cpu", "gpu", "cuda", "mps"))
        one_of("trainer.precision", self.precision, ("32-true", "bf16-mixed", "16-mixed"))
        at_least("trainer.probe_images", self.probe_images, 0, MOST_IMAGES)
