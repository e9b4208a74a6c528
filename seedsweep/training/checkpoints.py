"""best.ckpt and last.ckpt of a run through the Trainer: when they are written, and from which a run goes on."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from seedsweep.errors import DamagedError, SeedsweepError
from seedsweep.models.checkpoint import BEST, LAST, PREVIOUS, not_finite, read_checkpoint, write_checkpoint
from seedsweep.training.recorder import Recorder

log = logging.getLogger(__name__)

OF_TRAINER = ("optimizer_states", "loops", "callbacks", "epoch")  # without them a run can't go on


class CheckpointFiles(CheckpointIO):
    """Has the Trainer write and read checkpoints as we do: beside their place and renamed, with a digest."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes a checkpoint."""
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Returns a checkpoint on the CPU; no code in it is run, whatever ``weights_only`` says."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Removes a checkpoint."""
        Path(path).unlink(missing_ok=True)


class KeepBestAndLast(Checkpoint):
    """Writes best.ckpt after an epoch with a better validation accuracy than all before, last.ckpt after each.

    It goes by the recorder's rows, which are in the checkpoint: it has no state of its own, and a run whose folder
    was moved goes on as if it had not been. A tie keeps the earlier epoch.

    Args:
        folder: of the checkpoints.
        recorder: acts before this callback.
    """

    def __init__(self, folder: Path, recorder: Recorder) -> None:
        self.folder = folder
        self.recorder = recorder

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes."""
        *earlier, score = [row["val/acc"] for row in self.recorder.rows]
        if score > max(earlier, default=-math.inf):
            trainer.save_checkpoint(self.folder / BEST, weights_only=False)
        trainer.save_checkpoint(self.folder / LAST, weights_only=False)


def checkpoint_to_resume(folder: Path, state: dict[str, Tensor]) -> Path | None:
    """Returns the checkpoint that training goes on from: the last one that is whole; None: there is none yet.

    Args:
        folder: of the checkpoints.
        state: of the net that it must fit.

    Raises:
        SeedsweepError: all of them are damaged, or one doesn't fit the settings.
    """
    damaged: list[DamagedError] = []
    for name in (LAST, PREVIOUS, BEST):
        path = folder / name
        if not path.is_file():
            continue
        try:
            content = read_checkpoint(path)
        except DamagedError as error:
            damaged.append(error)
            continue
        if any(key not in content for key in OF_TRAINER):
            continue  # of a run on stored features: weights alone
        _check_fits(path, content["state_dict"], state)
        for caught in damaged:
            log.warning("%s", caught)
        if damaged or name != LAST:
            log.warning("training goes on from %s, after epoch %d", path, int(content["epoch"]) + 1)
        return path
    if damaged:
        names = " and ".join(path.name for path in sorted(folder.glob("*.ckpt")))
        raise SeedsweepError(
            f"{folder} holds no whole checkpoint to go on from ({names} are damaged): delete this folder to train the "
            "run from its beginning, or give another hydra.run.dir."
        )
    return None


def _check_fits(path: Path, saved: dict[str, Any], state: dict[str, Tensor]) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in saved.items()}
    if shapes != {name: tuple(tensor.shape) for name, tensor in state.items()}:
        raise SeedsweepError(
            f"{path} is of another net than these settings describe: resume= needs the settings the run began with."
        )
    if name := not_finite(saved):
        raise SeedsweepError(
            f"{path} can't be gone on from: its weights are not finite ({name} holds NaN or infinity). Train the run "
            "anew, with a smaller optim.lr for instance."
        )
