"""Writes each epoch down: history.csv, TensorBoard, a line in the log; survives a resume."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from seedsweep.errors import DivergedError
from seedsweep.runs.csv_files import write_history
from seedsweep.training.module import ArmModule
from seedsweep.training.sums import divergence
from seedsweep.training.tensorboard import RunTensorBoard

log = logging.getLogger(__name__)


class Recorder(pl.Callback):
    """Collects one row an epoch. Put it after the probe and before the checkpoint, whose file then holds it.

    Args:
        folder: the run's folder.
        board: TensorBoard's writers.
        on_epoch: called last with the epoch's number, from 0, and its row.
    """

    def __init__(
        self,
        folder: Path,
        board: RunTensorBoard,
        on_epoch: Callable[[int, dict[str, float]], None] | None = None,
    ) -> None:
        self.folder = folder
        self.board = board
        self.on_epoch = on_epoch
        self.rows: list[dict[str, float]] = []
        self._started = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Returns the rows so far, for the checkpoint."""
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the rows of the checkpoint that a run resumes from."""
        self.rows = [dict(row) for row in state_dict["rows"]]
        self.board.resume(len(self.rows))

    def start(self) -> None:
        """Starts an epoch's clock."""
        self._started = time.perf_counter()

    def record(self, epoch: int, max_epochs: int, metrics: dict[str, float], lr: float) -> None:
        """Writes an epoch down.

        Args:
            epoch: from 0.
            max_epochs: for the line in the log.
            metrics: of the epoch, by name of history column.
            lr: learning rate of its last step.

        Raises:
            DivergedError: its loss is NaN or infinite: it is not written down, for its scores mean nothing.
        """
        if what := divergence(metrics):
            raise DivergedError(epoch, what)
        row = {"epoch": float(epoch), **metrics, "lr": lr, "seconds": time.perf_counter() - self._started}
        self.rows.append(row)
        write_history(self.rows, self.folder / "history.csv")
        self.board.epoch(row, epoch)
        log.info(
            "epoch %2d/%d  loss %.3f  acc %.3f  | val loss %.3f  acc %.3f  macro-F1 %.3f  | bn_gap %+.3f  %.1f s",
            epoch + 1,
            max_epochs,
            row.get("train/loss", float("nan")),
            row.get("train/acc", float("nan")),
            row["val/loss"],
            row["val/acc"],
            row["val/macro_f1"],
            row["bn_gap"],
            row["seconds"],
        )
        if self.on_epoch is not None:
            self.on_epoch(epoch, row)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self.start()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the epoch down."""
        assert isinstance(pl_module, ArmModule)
        lr = float(trainer.optimizers[0].param_groups[0]["lr"])
        self.record(trainer.current_epoch, trainer.max_epochs or 0, pl_module.epoch_metrics, lr)
