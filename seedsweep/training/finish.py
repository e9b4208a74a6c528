"""What is written when training ends: scores of the best checkpoint, pictures, metrics.json."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seedsweep.config.schema import Config
from seedsweep.models.build import BuiltModel
from seedsweep.reporting.confusion import draw_confusion
from seedsweep.reporting.curves import draw_curves
from seedsweep.reporting.predictions import write_predictions
from seedsweep.reporting.scores import score
from seedsweep.tracking.tensorboard import RunTensorBoard
from seedsweep.training.hparams import write_finished
from seedsweep.training.module import ArmModule
from seedsweep.training.predict import Images, predict
from seedsweep.versions import versions
from seedsweep.whole import write_json

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
GALLERY = 24  # worst mistakes shown


def finish_run(
    *,
    config: Config,
    run_dir: Path,
    label: str,
    module: ArmModule,
    images: Images,
    built: BuiltModel,
    rows: list[dict[str, float]],
    best_epoch: int,
    features: dict[str, Any],
    trained_in: str,
    board: RunTensorBoard,
    status: str,
    started: float,
    pictures: bool = True,
    meet_test: bool = True,
) -> dict[str, Any]:
    """Scores the checkpoint chosen on validation on every split, once, and writes the results.

    Args:
        config: the whole configuration.
        run_dir: the run's folder.
        label: the arm's name in tables.
        module: with the weights of the checkpoint chosen on validation.
        images: the data.
        built: the net's origin.
        rows: the history.
        best_epoch: of that checkpoint, from 0.
        features: how the images reached the head, for metrics.json.
        trained_in: the precision, likewise.
        board: TensorBoard's writers; closed here.
        status: finished | interrupted. An interrupted run never meets the test images.
        started: ``time.perf_counter()`` at the start of the run.
        pictures: draw them, and write the net's graph.
        meet_test: score the test images.

    Returns:
        What ``metrics.json`` holds.
    """
    module.eval()
    table = images.prepared.table
    scores: dict[str, Any] = {}
    predictions: list[dict[str, Any]] = []
    logits_of: dict[str, Tensor] = {}
    for split in SPLITS:
        indices = table.indices(split)
        if len(indices) == 0 or (split == "test" and not (meet_test and status == "finished")):
            scores[split] = None
            continue
        logits = predict(module, images, torch.from_numpy(indices), max(config.data.batch_size, 64))
        logits_of[split] = logits
        scores[split] = score(logits, torch.from_numpy(table.labels[indices]), table.classes).as_dict()
        predictions += _prediction_rows(images, split, indices, logits)
    probe = rows[best_epoch]
    metrics: dict[str, Any] = {
        "experiment": config.experiment.name,
        "label": label,
        "seed": config.seed,
        "status": status,
        "backbone": built.backbone.name,
        "backbone_fallback": built.backbone.fallback,
        "weights": asdict(built.backbone.weights),
        "frozen": config.backbone.freeze,
        "train_from": built.train_from,
        "batchnorm": config.batchnorm.name,
        "norm_layers": built.norm_layers,
        "preprocess": config.preprocess.name,
        "augment": config.augment.name,
        "image_size": list(config.data.image_size),
        "batch_size": config.data.batch_size,
        "features": features,
        "trained_in": trained_in,
        "images": table.counts(),
        "epochs": len(rows),
        "best_epoch": best_epoch,
        **scores,
        "train_images": {
            "acc_train_mode": probe["train_images/acc_train_mode"],
            "acc_eval_mode": probe["train_images/acc_eval_mode"],
            "bn_gap": probe["bn_gap"],
            "bn_gap_last": rows[-1][
                "bn_gap"
            ],  # in the trap the best epoch is often the first, its gap still small
        },
        "versions": versions(),
        "wall_seconds": time.perf_counter() - started,
    }
    write_predictions(run_dir / "predictions.csv", predictions)
    if pictures:
        draw_curves(rows, run_dir / "curves.png", f"{label}, seed {config.seed}", best_epoch)
        _pictures(run_dir, images, logits_of, label, board, best_epoch)
        height, width = config.data.image_size
        board.graph(module.classifier, torch.zeros(1, 3, height, width, device=module.device))
    write_finished(board, config, label, built, scores, rows[-1]["bn_gap"])
    board.close()
    metrics["wall_seconds"] = time.perf_counter() - started
    write_json(run_dir / "metrics.json", metrics)
    log.info(
        "best epoch %d: val acc %.3f, macro-F1 %.3f%s, bn_gap %+.3f  ->  %s",
        best_epoch + 1,
        scores["val"]["acc"],
        scores["val"]["macro_f1"],
        f", test acc {scores['test']['acc']:.3f}" if scores["test"] else "",
        probe["bn_gap"],
        run_dir,
    )
    return metrics


def _prediction_rows(images: Images, split: str, indices: np.ndarray, logits: Tensor) -> list[dict[str, Any]]:
    table = images.prepared.table
    names = [f"p_{name}" for name in table.classes]
    probabilities = logits.double().softmax(1)
    predicted = probabilities.argmax(1).tolist()
    return [
        {
            "path": str(table.paths[row]),
            "split": split,
            "label": table.classes[table.labels[row]],
            "predicted": table.classes[guess],
            **dict(zip(names, p, strict=True)),
        }
        for row, guess, p in zip(indices.tolist(), predicted, probabilities.tolist(), strict=True)
    ]


def _pictures(
    run_dir: Path,
    images: Images,
    logits_of: dict[str, Tensor],
    label: str,
    board: RunTensorBoard,
    epoch: int,
) -> None:
    """Draws the confusion matrix and the worst mistakes of the validation images."""
    table = images.prepared.table
    indices = table.indices("val")
    labels = table.labels[indices]
    probabilities = logits_of["val"].softmax(1)
    predicted = probabilities.argmax(1).numpy()
    draw_confusion(
        labels, predicted, table.classes, run_dir / "confusion_matrix.png", f"{label}: validation images"
    )
    board.confusion(labels, predicted, table.classes, epoch)
    confidence = probabilities.max(1).values.numpy()
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-confidence[wrong])][:GALLERY]
    if len(worst):
        board.mistakes(
            images.prepared.pixels.batch(indices[worst]),
            labels[worst],
            predicted[worst],
            confidence[worst],
            table.classes,
            epoch,
        )
