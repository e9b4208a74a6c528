"""A run's row of TensorBoard's HPARAMS table, for runs that finished and trials that were pruned alike."""

from __future__ import annotations

from typing import Any

from seedsweep.runs.record import RunRecord
from seedsweep.runs.switches import Switches
from seedsweep.training.tensorboard import RunTensorBoard


def write_finished(
    board: RunTensorBoard,
    record: RunRecord,
    bn_gap: float,
) -> None:
    """Writes the row of a run whose best checkpoint was scored; ``bn_gap`` is the last."""
    scores: dict[str, Any] = record.scores
    values = {
        "final/val_acc": scores["val"]["acc"],
        "final/val_macro_f1": scores["val"]["macro_f1"],
        "final/train_acc": scores["train"]["acc"],
        "final/bn_gap": bn_gap,
    }
    if scores["test"]:
        values["final/test_acc"] = scores["test"]["acc"]
    board.hparams(_settings(record.switches, record.label, record.seed), values)


def write_ended_early(
    board: RunTensorBoard, switches: Switches, label: str, seed: int, row: dict[str, float]
) -> None:
    """Writes the row of a run that was ended from outside; ``row`` is the last of its history."""
    values = {
        "final/val_acc": row["val/acc"],
        "final/val_macro_f1": row["val/macro_f1"],
        "final/bn_gap": row["bn_gap"],
    }
    board.hparams(_settings(switches, label, seed), values)


def _settings(switches: Switches, label: str, seed: int) -> dict[str, Any]:
    return {
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
