"""Settings of the diagnosis."""

from __future__ import annotations

from dataclasses import dataclass

from seedsweep.bounds import MOST_IMAGES, at_least


@dataclass
class DiagnoseConfig:
    """``task=diagnose``: what is examined; neither: the settings of the command line."""

    run: str | None = None  # folder of a finished run; its own settings count
    checkpoint: str | None = None  # a file
    images: int = 1000  # of training, and of validation, that are looked at

    def __post_init__(self) -> None:
        at_least("diagnose.images", self.images, 20, MOST_IMAGES)
