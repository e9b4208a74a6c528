"""What a fit needs beside net and images, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seedsweep.errors import DivergedError
from seedsweep.training.options import ArmSettings
from seedsweep.training.recorder import Recorder


@dataclass(frozen=True)
class Fitting:
    """What a fit needs beside net and images.

    Attributes:
        config: the whole configuration.
        folder: of the run; checkpoints are written below it.
        recorder: gets each epoch.
        resume: go on from a checkpoint, if there is one.
        whole: write checkpoints of the whole net, though its head alone is trained; a trial of a study does not.
    """

    config: ArmSettings
    folder: Path
    recorder: Recorder
    resume: bool = False
    whole: bool = True


@dataclass(frozen=True)
class Outcome:
    """``best_epoch`` counts from 0; -1: no epoch was finished. ``trained_in`` is a precision.

    ``diverged`` says where the loss became NaN or infinite; None: it did not.
    """

    best_epoch: int
    interrupted: bool
    trained_in: str  # float32 | bfloat16 | float16
    diverged: DivergedError | None = None
