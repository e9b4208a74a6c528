"""best.ckpt and last.ckpt of a run through the Trainer: when they are written, and from which a run goes on."""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from seedsweep.errors import DamagedError, RefusedError, SeedsweepError
from seedsweep.models.checkpoint import BEST, LAST, PREVIOUS, not_finite, read_checkpoint, write_checkpoint
from seedsweep.training.recorder import Recorder
from seedsweep.whole import replacing

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
    """Writes last.ckpt after each epoch, and copies it to best.ckpt where no earlier one was as good on validation.

    It goes by the recorder's rows, which are in the checkpoint: it has no state of its own, and a run whose folder
    was moved goes on as if it had not been. A tie keeps the earlier epoch.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes."""
        last = self.recorder.folder / "checkpoints" / LAST
        trainer.save_checkpoint(last, weights_only=False)
        if best_epoch(self.recorder.rows) == len(self.recorder.rows) - 1:
            _keep_as_best(last)


def best_epoch(rows: list[dict[str, float]]) -> int:
    """Returns the first epoch, from 0, of the highest validation accuracy; -1: there is no row."""
    accuracies = [row["val/acc"] for row in rows]
    return accuracies.index(max(accuracies)) if accuracies else -1


def read_best(folder: Path, rows: list[dict[str, float]]) -> dict[str, Any] | None:
    """Returns the checkpoint of the best epoch that ``rows`` hold; None: there is none yet.

    Args:
        rows: the history. It may end before best.ckpt: after a run went on from an earlier checkpoint.

    Raises:
        DamagedError: best.ckpt is.
    """
    best = best_epoch(rows)
    saved = read_checkpoint(folder / BEST) if rows and (folder / BEST).is_file() else None
    if saved is not None and int(saved["epoch"]) == best:
        return saved
    if rows and (folder / LAST).is_file():
        with suppress(DamagedError):
            if int((last := read_checkpoint(folder / LAST))["epoch"]) == best:
                _keep_as_best(folder / LAST)  # training was interrupted before
                return last
    return saved if saved is not None and int(saved["epoch"]) < len(rows) else None


def _keep_as_best(path: Path) -> None:
    best = path.with_name(BEST)  # no link to one file: damage to one is no damage to the other
    with replacing(best, durable=True) as part:
        shutil.copyfile(path, part)


def checkpoint_to_resume(folder: Path, state: dict[str, Tensor]) -> Path | None:
    """Returns the checkpoint that training goes on from: the last one that is whole; None: there is none yet.

    Raises:
        SeedsweepError: all of them are damaged, or one doesn't fit the settings.
        RefusedError: the weights of the best epoch so far are lost.
    """
    damaged: dict[str, DamagedError] = {}
    for name in (LAST, PREVIOUS, BEST):
        path = folder / name
        if not path.is_file():
            continue
        try:
            content = read_checkpoint(path)
        except DamagedError as error:
            damaged[name] = error
            continue
        if any(key not in content for key in OF_TRAINER):
            continue  # of a run on stored features: weights alone
        _check_fits(path, content["state_dict"], state)
        epoch, best = int(content["epoch"]), best_epoch(content["callbacks"][Recorder.__qualname__]["rows"])
        del content  # as large as the net and its optimiser: room for best.ckpt
        if name != BEST and (later := _check_best(path, epoch, best, state)):
            path, epoch = path.with_name(BEST), later
        for caught in damaged.values():
            log.warning("%s", caught)
        if damaged or path.name != LAST:
            log.warning("training goes on from %s, after epoch %d", path, epoch + 1)
        return path
    if damaged:
        names = " and ".join(sorted(damaged)) + (" is" if len(damaged) == 1 else " are")
        raise SeedsweepError(
            f"{folder} holds no whole checkpoint to go on from ({names} damaged): delete this folder to train the "
            "run from its beginning, or give another hydra.run.dir."
        )
    return None


def _check_best(path: Path, epoch: int, best: int, state: dict[str, Tensor]) -> int | None:
    """Checks before any training that best.ckpt is of the epoch that the history of another checkpoint names.

    ``epoch`` is that of the other checkpoint at ``path``, ``best`` the best of its history. Where the two are one,
    best.ckpt is written anew if need be. Returns the epoch of best.ckpt where it is a later one, from which training
    can go on. Raises RefusedError where the weights of the best epoch are lost.
    """
    kept, what = -1, "is missing"
    if path.with_name(BEST).is_file():
        try:
            content = read_checkpoint(path.with_name(BEST))
            kept = int(content["epoch"])
            what = f"is of epoch {kept + 1}"
            if kept > epoch and all(key in content for key in OF_TRAINER):
                _check_fits(path.with_name(BEST), content["state_dict"], state)
                return kept
        except DamagedError:
            what = "is damaged"
    if kept == best:
        return None
    if epoch == best:  # a kill came before it was copied
        _keep_as_best(path)
        return None
    raise RefusedError(
        f"{path.with_name(BEST)} {what}, and the weights of the best epoch so far, {best + 1}, are nowhere else: put "
        f"back a copy of it, or delete {path.parent} to train the run from its beginning."
    )


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
