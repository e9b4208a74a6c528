"""Settings of the diagnosis, and whether what they name is there: without torch, which takes seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seedsweep.bounds import MOST_IMAGES, at_least, one_of
from seedsweep.errors import SeedsweepError
from seedsweep.runs.record import divergence_of, read_metrics


@dataclass
class DiagnoseConfig:
    """``task=diagnose``: what is examined; nothing given: the settings of the command line."""

    run: str | None = None  # folder of a finished run, whose own settings count; or of a grid
    arms: str = "behind"  # of a grid: behind (the best, beyond chance) | all
    checkpoint: str | None = None  # a file
    model: str | None = None  # FILE.onnx of any origin: how does it want its images?
    images: int = 1000  # of training, and of validation, that are looked at

    def __post_init__(self) -> None:
        one_of("diagnose.arms", self.arms, ("behind", "all"))
        at_least("diagnose.images", self.images, 20, MOST_IMAGES)


def check_run(folder: Path) -> None:
    """Raises SeedsweepError where ``diagnose.run`` names no run whose best checkpoint was kept."""
    best = folder / "checkpoints" / "best.ckpt"
    if (diverged := divergence_of(read_metrics(folder))) and not best.is_file():
        raise SeedsweepError(
            f"diagnose.run={folder} {diverged}; no epoch was finished before, so there is no net to examine. Give its "
            "settings with a smaller optim.lr to task=diagnose, or train them."
        )
    if not (folder / "metrics.json").is_file() or not best.is_file():
        raise SeedsweepError(
            f"diagnose.run={folder} is no finished run: its metrics.json and checkpoints/best.ckpt are needed "
            "(of a grid, the folder that its table was printed for)."
        )


def check_checkpoint(path: Path) -> None:
    """Raises SeedsweepError where ``diagnose.checkpoint`` names no file."""
    if not path.is_file():
        raise SeedsweepError(f"diagnose.checkpoint={path} is no file; give a checkpoint.")
