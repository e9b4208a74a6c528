"""What is written when training ends: scores of the best checkpoint, pictures, metrics.json; later, test scores."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedsweep.data.pin import Pin
from seedsweep.data.prepare import pinned_images
from seedsweep.digest import digest_of
from seedsweep.errors import SeedsweepError
from seedsweep.models.build import BuiltModel
from seedsweep.models.checkpoint import BEST, read_checkpoint
from seedsweep.models.familiar import Familiar, features_noted
from seedsweep.models.input_scaling import flush_denormals
from seedsweep.models.validated import Validated
from seedsweep.runs.csv_files import add_predictions, write_predictions
from seedsweep.runs.record import (
    DIVERGED,
    FINISHED,
    INTERRUPTED,
    SPLITS,
    Digests,
    RunRecord,
    add_test_scores,
    read_metrics,
    versions,
    write_record,
)
from seedsweep.runs.switches import Switches
from seedsweep.runs.unseen import Unseen
from seedsweep.stats.scores import score
from seedsweep.training.assemble import backbone_of, build_module
from seedsweep.training.label_gain_of import label_gain_of
from seedsweep.training.module import ArmModule, predict
from seedsweep.training.options import ArmSettings
from seedsweep.training.recorder import Outcome, Recorder
from seedsweep.training.route import Images, images_of
from seedsweep.training.to_draw import Draw, to_draw

log = logging.getLogger(__name__)

UnseenOf = Callable[[Images, dict[str, Tensor]], Unseen | None]  # logits [n, N] by held-out split


@dataclass(frozen=True)
class ArmRun:
    """A run on its way to the end."""

    config: ArmSettings  # of the run
    label: str  # the arm's name in tables
    module: ArmModule  # what is trained
    built: BuiltModel  # the net's origin
    switches: Switches  # what the run does
    images: Images  # the data
    recorder: Recorder  # has the run's folder and history; its TensorBoard is closed at the end
    departures: list[str]  # settings that the experiment's file says otherwise
    started: float  # ``time.perf_counter()`` at the start of the run
    meet_test: bool = True  # score the test images
    pictures: bool = True  # write the pictures, if there is ``draw``
    draw: Draw | None = None  # draws the pictures; None: nothing does
    unseen: UnseenOf | None = None  # estimates the accuracy on unseen photographs; None: nothing does


def finish_run(run: ArmRun, outcome: Outcome) -> dict[str, Any]:
    """Scores the checkpoint chosen on validation on every split, once, and writes the results.

    A run that was interrupted, or diverged, has no test scores. One that diverged in its first epoch has no checkpoint,
    and no scores at all.

    Returns:
        What ``metrics.json`` holds.
    """
    module, recorder, best = run.module, run.recorder, outcome.best_epoch
    board, rows, folder = recorder.board, recorder.rows, recorder.folder
    status = INTERRUPTED if outcome.interrupted else DIVERGED if outcome.diverged else FINISHED
    scores: dict[str, Any] = dict.fromkeys(SPLITS)
    if best < 0:
        board.close()
        return write_record(folder, _record(run, outcome, status, scores))
    module.eval()
    predictions: list[dict[str, Any]] = []
    logits: dict[str, Tensor] = {}
    features: dict[str, Tensor] = {}
    for split in SPLITS:
        indices = run.images.prepared.table.indices(split)
        if len(indices) and (split != "test" or (run.meet_test and status == FINISHED)):
            with features_noted(module.classifier.head) if run.pictures else nullcontext() as noted:
                logits[split], scores[split] = _scored(run.config, module, run.images, indices)
            if noted is not None:
                features[split] = torch.cat(noted)
            predictions += _prediction_rows(run.images, split, indices, logits[split])
    write_predictions(folder / "predictions.csv", predictions)
    checkpoint = folder / "checkpoints" / BEST
    kept = run.pictures and checkpoint.is_file()
    validated = _validated(run.images, logits["val"], features) if kept else None
    if validated is not None:
        validated.keep_in(checkpoint)  # before its digest is noted
    record = replace(
        _record(run, outcome, status, scores), temperature=validated.temperature if validated else None
    )
    if status == FINISHED:
        held_out = {split: logits[split] for split in logits if split != "train"}
        gain = label_gain_of(run.config, run.images, run.built.backbone, held_out, measure=run.pictures)
        record = replace(record, corrections=gain)
        if run.unseen is not None:
            record = replace(record, unseen=run.unseen(run.images, held_out))
    board.run_ended(run.switches, run.label, run.config.seed, at_the_end(scores, rows[-1]["bn_gap"]))
    metrics = write_record(folder, record)  # before the pictures, which may fail
    if run.pictures:
        if run.draw is not None:
            drawn = run.draw(
                to_draw(recorder, run.label, run.config.seed, best, run.images.prepared, logits["val"])
            )
            for name, figure in drawn.items():
                board.picture(name, figure, best)
        record = replace(record, wall_seconds=time.perf_counter() - run.started)
        metrics = write_record(folder, record)
    board.close()
    log.info(
        "best epoch %d: val acc %.3f, macro-F1 %.3f%s, bn_gap %+.3f  ->  %s",
        best + 1,
        scores["val"]["acc"],
        scores["val"]["macro_f1"],
        f", test acc {scores['test']['acc']:.3f}" if scores["test"] else "",
        rows[best]["bn_gap"],
        folder,
    )
    if record.corrections is not None and run.pictures:
        log.info("corrections: %s", record.corrections.sentence)
    return metrics


def score_test(config: ArmSettings, run_dir: Path, pin: Pin) -> dict[str, Any] | None:
    """Scores the test images with a finished run's checkpoint, and adds the scores to its metrics.json.

    A run that has such scores keeps them: they are measured once.

    Returns:
        The scores, or None if there is no test split.

    Raises:
        SeedsweepError: the run is not there, or not finished, or its images are not there any more.
    """
    checkpoint = run_dir / "checkpoints" / BEST
    if not (run_dir / "metrics.json").is_file() or not checkpoint.is_file():
        raise SeedsweepError(
            f"{run_dir} has no finished run: its metrics.json and checkpoints/best.ckpt are needed."
        )
    if known := read_metrics(run_dir).get("test"):
        return dict(known)
    flush_denormals()
    prepared = pinned_images(config.data, config.cache_dir, pin)
    rows = prepared.table.indices("test")
    if len(rows) == 0:
        return None
    saved = read_checkpoint(checkpoint)
    whole = bool(saved.get("whole", True))  # of a trial on stored features the head alone is kept
    backbone = backbone_of(config, prepared, calibrated=not whole)
    images = images_of(config, prepared, backbone)
    module, _ = build_module(config, prepared, backbone)
    wrong = module.load_state_dict(saved["state_dict"], strict=whole)
    if wrong.unexpected_keys or any(".head." in key for key in wrong.missing_keys):
        raise SeedsweepError(f"{checkpoint} does not fit the run's configuration.")
    module.eval()
    logits, scores = _scored(config, module, images, rows)
    add_predictions(run_dir / "predictions.csv", _prediction_rows(images, "test", rows, logits))
    add_test_scores(run_dir, scores)  # last: it says that all is done
    return scores


def _scored(
    config: ArmSettings, module: ArmModule, images: Images, rows: NDArray[np.int64]
) -> tuple[Tensor, dict[str, Any]]:
    """Returns logits [n, N] and scores of table rows [n]."""
    table = images.prepared.table
    logits = predict(module, images.source, torch.from_numpy(rows), max(config.data.batch_size, 64))
    return logits, score(logits, torch.from_numpy(table.labels[rows]), table.classes).as_dict()


def _validated(images: Images, logits: Tensor, features: dict[str, Tensor]) -> Validated | None:
    """Returns what the logits [n, N] of the validation images show, and the features [m, D] of each split."""
    table = images.prepared.table
    groups = {split: [table.groups[row] for row in table.indices(split)] for split in ("train", "val")}
    familiar = Familiar.of(features["train"], groups["train"], features["val"])
    labels = torch.from_numpy(table.labels[table.indices("val")])
    return Validated.of(logits, labels, groups["val"], familiar)


def at_the_end(scores: dict[str, Any], bn_gap: float) -> dict[str, float]:
    """Returns what TensorBoard's table of runs shows; ``bn_gap`` is the last."""
    values = {
        "val_acc": scores["val"]["acc"],
        "val_macro_f1": scores["val"]["macro_f1"],
        "train_acc": scores["train"]["acc"],
        "bn_gap": bn_gap,
    }
    return values | ({"test_acc": scores["test"]["acc"]} if scores.get("test") else {})


def _record(run: ArmRun, outcome: Outcome, status: str, scores: dict[str, Any]) -> RunRecord:
    config, backbone, table = run.config, run.built.backbone, run.images.prepared.table
    rows, checkpoint = run.recorder.rows, run.recorder.folder / "checkpoints" / BEST
    best, modes = outcome.best_epoch if outcome.best_epoch >= 0 else None, None
    if best is not None:
        modes = {
            "acc_train_mode": rows[best]["train_images/acc_train_mode"],
            "acc_eval_mode": rows[best]["train_images/acc_eval_mode"],
            "bn_gap": rows[best]["bn_gap"],
            # in the trap the best epoch is often the first, its gap still small
            "bn_gap_last": rows[-1]["bn_gap"],
        }
    return RunRecord(
        experiment=config.experiment.name,
        departures=run.departures,
        label=run.label,
        seed=config.seed,
        status=status,
        switches=run.switches,
        weights=asdict(backbone.weights),
        backbone_fallback=backbone.fallback,
        image_size=list(config.data.image_size),
        features=run.images.used,
        trained_in=outcome.trained_in,
        images=table.counts(),
        digests=Digests(
            table.split_digest(),
            table.images_digest(),
            backbone.weights.digest,
            digest_of(checkpoint) if best is not None and checkpoint.is_file() else None,
        ),
        epochs=len(rows),
        best_epoch=best,
        scores=scores,
        train_images=modes,
        versions=versions(),
        wall_seconds=time.perf_counter() - run.started,
        values=run.images.prepared.pixels.how.ranges.as_dict(),
        diverged=outcome.diverged,
        ended_early=run.recorder.early if status == FINISHED else None,
        fold=config.data.dealt,
    )


def _prediction_rows(
    images: Images, split: str, rows: NDArray[np.int64], logits: Tensor
) -> list[dict[str, Any]]:
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
        for row, guess, p in zip(rows.tolist(), predicted, probabilities.tolist(), strict=True)
    ]
