"""A run's row of TensorBoard's HPARAMS table, for runs that finished and trials that were pruned alike."""

from __future__ import annotations

from typing import Any

from seedsweep.config.schema import Config
from seedsweep.models.build import BuiltModel
from seedsweep.tracking.tensorboard import RunTensorBoard


def write_finished(
    board: RunTensorBoard,
    config: Config,
    label: str,
    built: BuiltModel,
    scores: dict[str, Any],
    bn_gap: float,
) -> None:
    """Writes the row of a run whose best checkpoint was scored; ``scores`` are by split, ``bn_gap`` the last."""
    values = {
        "final/val_acc": scores["val"]["acc"],
        "final/val_macro_f1": scores["val"]["macro_f1"],
        "final/train_acc": scores["train"]["acc"],
        "final/bn_gap": bn_gap,
    }
    if scores["test"]:
        values["final/test_acc"] = scores["test"]["acc"]
    board.hparams(_settings(config, label, built), values)


def write_ended_early(
    board: RunTensorBoard, config: Config, label: str, built: BuiltModel, row: dict[str, float]
) -> None:
    """Writes the row of a run that was ended from outside; ``row`` is the last of its history."""
    values = {
        "final/val_acc": row["val/acc"],
        "final/val_macro_f1": row["val/macro_f1"],
        "final/bn_gap": row["bn_gap"],
    }
    board.hparams(_settings(config, label, built), values)


def _settings(config: Config, label: str, built: BuiltModel) -> dict[str, Any]:
    return {
        "arm": label,
        "backbone": built.backbone.name,
        "frozen": config.backbone.freeze,
        "train_from": built.train_from or "",
        "batchnorm": config.batchnorm.name,
        "preprocess": config.preprocess.name,
        "augment": config.augment.name,
        "batch_size": config.data.batch_size,
        "lr": config.optim.lr,
        "width": config.head.width,
        "dropout": config.head.dropout,
        "seed": config.seed,
    }
