"""Writes each epoch down: history.csv, TensorBoard, a line in the log; and how a training ended."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from seedsweep.errors import DivergedError
from seedsweep.runs.csv_files import write_history
from seedsweep.runs.switches import Switches
from seedsweep.training.heads import divergence
from seedsweep.training.module import ArmModule
from seedsweep.training.options import ArmSettings

log = logging.getLogger(__name__)

FOLDER = "tb"  # in the run's folder; short, for it is part of every name in TensorBoard's list of runs
TRAIN, VAL = "train", "val"
MODES = "2 diagnosis/train vs eval mode, training images"
CHARTS = {  # history column: (run, chart)
    "train/loss": (TRAIN, "1 learning/loss"),
    "val/loss": (VAL, "1 learning/loss"),
    "train/acc": (TRAIN, "1 learning/accuracy"),
    "val/acc": (VAL, "1 learning/accuracy"),
    "val/macro_f1": (VAL, "1 learning/macro_f1"),
    "train_images/acc_train_mode": (TRAIN, MODES),
    "train_images/acc_eval_mode": (VAL, MODES),
    "bn_gap": (VAL, "2 diagnosis/bn_gap"),
    "gap/generalisation": (VAL, "2 diagnosis/generalisation gap"),
}
RECALL = "val/recall/"
CARD_DPI = 90  # a card is about 360 px wide, and shrinks what is wider without smoothing it
OnEpoch = Callable[[list[dict[str, float]]], None]
LOGGED = ("train/loss", "train/acc", "val/loss", "val/acc", "val/macro_f1", "bn_gap", "seconds")


class RunTensorBoard:
    """TensorBoard's writers for one run.

    Curves that belong together share one chart: TensorBoard overlays equal tags of different runs, so train and val
    are two runs below the run's folder, and no more than two, for a grid of 24 jobs lists 48 of them. ``val`` has
    all else too: `val$` in TensorBoard's run filter leaves one line a job. Steps are epochs from 1, as in the log.

    Args:
        run_dir: the run's folder; events go into ``FOLDER`` below it.
    """

    def __init__(self, run_dir: Path) -> None:
        self.folder = run_dir / FOLDER
        self._purge_step: int | None = None
        self._writers: dict[str, SummaryWriter] = {}

    def resume(self, first_epoch: int) -> None:
        """Tells TensorBoard to forget what an interrupted run wrote from ``first_epoch`` (from 0) on."""
        self._purge_step = first_epoch + 1

    def start_anew(self) -> None:
        """Removes what an earlier attempt wrote."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _writer(self, run: str) -> SummaryWriter:
        if run not in self._writers:
            folder = str(self.folder / run)
            self._writers[run] = SummaryWriter(folder, purge_step=self._purge_step)  # type: ignore[no-untyped-call]
        return self._writers[run]

    def epoch(self, row: dict[str, float], epoch: int) -> None:
        """Writes a row of the history; ``epoch`` counts from 0."""
        for key, value in row.items():
            if key.startswith(RECALL):
                run, chart = VAL, f"3 recall/{key.removeprefix(RECALL)}"
            elif key in CHARTS:
                run, chart = CHARTS[key]
            else:
                continue
            self._writer(run).add_scalar(chart, value, epoch + 1)  # type: ignore[no-untyped-call]
        for writer in self._writers.values():
            writer.flush()  # type: ignore[no-untyped-call]

    def picture(self, name: str, made: Figure, epoch: int) -> None:
        """Writes a figure under the pictures."""
        made.set_dpi(CARD_DPI)
        self._writer(VAL).add_figure(f"4 pictures/{name}", made, epoch + 1)  # type: ignore[no-untyped-call]

    def run_ended(self, switches: Switches, label: str, seed: int, metrics: dict[str, float]) -> None:
        """Writes the run's row of the HPARAMS table: what it did, and ``metrics`` of its end."""
        settings = {
            "arm": label,
            "backbone": switches.backbone.name,
            "frozen": switches.backbone.freeze,
            "train_from": switches.backbone.train_from or "",
            "batchnorm": switches.batchnorm.policy,
            "preprocess": switches.preprocess.name,
            "augment": switches.augment.name,
            "batch_size": switches.trainer.batch_size,
            "lr": switches.optim.lr,
            "width": switches.head.width,
            "dropout": switches.head.dropout,
            "seed": seed,
        }
        self.hparams(settings, {f"final/{name}": value for name, value in metrics.items()})

    def hparams(self, hparams: dict[str, Any], metrics: dict[str, float]) -> None:
        """Writes a row of the HPARAMS table."""
        from torch.utils.tensorboard.summary import hparams as summary

        # torch would write True as 1.0000
        said = {
            key: str(value).lower() if isinstance(value, bool) else value for key, value in hparams.items()
        }
        writer = self._writer(VAL)
        file_writer = writer._get_file_writer()  # type: ignore[no-untyped-call]
        for part in summary(said, metrics):  # type: ignore[no-untyped-call]
            file_writer.add_summary(part)
        for name, value in metrics.items():
            writer.add_scalar(name, value, 0)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Closes all writers."""
        for writer in self._writers.values():
            writer.close()  # type: ignore[no-untyped-call]
        self._writers.clear()


class Recorder(pl.Callback):
    """Collects one row an epoch. Put it after the probe and before the checkpoint, whose file then holds it.

    Args:
        ends: says after each epoch whether the run ends there, see :class:`seedsweep.training.limit.RunLimit`.

    Attributes:
        early: what ``ends`` said; None: the run goes on to its end.
    """

    def __init__(
        self,
        folder: Path,
        board: RunTensorBoard,
        on_epoch: OnEpoch | None = None,
        ends: Callable[[list[dict[str, float]]], dict[str, str] | None] = lambda _: None,
    ) -> None:
        self.early: dict[str, str] | None = None
        self._ends = ends
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
        """Writes an epoch down: its number from 0, metrics by history column, learning rate of the last step.

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
            *(row.get(key, math.nan) for key in LOGGED),
        )
        if self.on_epoch is not None:
            self.on_epoch(self.rows)
        if early := self._ends(self.rows):
            self.early = early
            log.info("%s", early["text"])

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self.start()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the epoch down."""
        assert isinstance(pl_module, ArmModule)
        self.record(trainer.current_epoch, trainer.max_epochs or 0, pl_module.epoch_metrics, pl_module.lr)
        trainer.should_stop = trainer.should_stop or self.early is not None  # after its checkpoint is written


@dataclass(frozen=True)
class Fitting:
    """What a fit needs beside net and images."""

    config: ArmSettings  # of the run
    recorder: Recorder  # gets each epoch; checkpoints are written below its folder
    resume: bool = False  # go on from a checkpoint, if there is one
    # write checkpoints of the whole net, though its head alone is trained; a trial of a study does not
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
