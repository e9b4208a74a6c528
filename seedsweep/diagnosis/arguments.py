"""What ``diagnose.run`` and ``diagnose.checkpoint`` name. Without torch, which takes seconds."""

from __future__ import annotations

from pathlib import Path

from seedsweep.diagnosis.options import DiagnoseConfig
from seedsweep.errors import SeedsweepError
from seedsweep.names import path_of
from seedsweep.runs.record import divergence_of, read_metrics


def check_given(options: DiagnoseConfig) -> None:
    """Looks for what is to be examined.

    Raises:
        SeedsweepError: both were given, or it is not there.
    """
    if options.run is not None and options.checkpoint is not None:
        raise SeedsweepError(
            "diagnose.run and diagnose.checkpoint are two things to examine: give one of them."
        )
    if options.run is not None:
        check_run(path_of(options.run))
    if options.checkpoint is not None:
        check_checkpoint(path_of(options.checkpoint))


def check_run(folder: Path) -> Path:
    """Returns the best checkpoint of a finished run; raises SeedsweepError where ``folder`` holds none."""
    best = folder / "checkpoints" / "best.ckpt"
    if (diverged := divergence_of(read_metrics(folder))) and not best.is_file():
        raise SeedsweepError(
            f"diagnose.run={folder} {diverged}; no epoch was finished before, so there is no net to examine. Give its "
            "settings with a smaller optim.lr to task=diagnose, or train them."
        )
    if not (folder / "metrics.json").is_file() or not best.is_file():
        raise SeedsweepError(
            f"diagnose.run={folder} is no finished run: its metrics.json and checkpoints/best.ckpt are needed."
        )
    return best


def check_checkpoint(path: Path) -> None:
    """Raises SeedsweepError where ``path`` is no file."""
    if not path.is_file():
        raise SeedsweepError(f"diagnose.checkpoint={path} is no file; give a checkpoint.")
