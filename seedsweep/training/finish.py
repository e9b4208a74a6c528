"""What is written when training ends: scores of the best checkpoint, pictures, metrics.json."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seedsweep.data.manifest import some
from seedsweep.digest import digest_of
from seedsweep.errors import SeedsweepError
from seedsweep.features.image_features import FeatureImages
from seedsweep.models.build import BuiltModel
from seedsweep.report.confusion_picture import draw_confusion
from seedsweep.report.curves_picture import draw_curves
from seedsweep.runs.predictions import write_predictions
from seedsweep.runs.record import (
    DIVERGED,
    FINISHED,
    INTERRUPTED,
    Digests,
    FeaturesUsed,
    RunRecord,
    write_record,
)
from seedsweep.runs.switches import Switches
from seedsweep.runs.versions import versions
from seedsweep.stats.scores import score
from seedsweep.training.hparams import write_finished
from seedsweep.training.module import ArmModule
from seedsweep.training.options import ArmSettings
from seedsweep.training.outcome import Outcome
from seedsweep.training.predict import Images, predict
from seedsweep.training.tensorboard import RunTensorBoard

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
GALLERY = 24  # worst mistakes shown


@dataclass(frozen=True)
class ArmRun:
    """A run on its way to the end.

    Attributes:
        config: the whole configuration.
        folder: of the run.
        label: the arm's name in tables.
        module: what is trained.
        built: the net's origin.
        switches: what the run does.
        images: the data.
        departures: settings that the experiment's file says otherwise.
        reason: why the images go online; None: their features are stored.
        board: TensorBoard's writers; closed at the end.
        started: ``time.perf_counter()`` at the start of the run.
        pictures: draw them, and write the net's graph.
        meet_test: score the test images.
    """

    config: ArmSettings
    folder: Path
    label: str
    module: ArmModule
    built: BuiltModel
    switches: Switches
    images: Images
    departures: list[str]
    reason: str | None
    board: RunTensorBoard
    started: float
    pictures: bool = True
    meet_test: bool = True

    @property
    def features(self) -> FeaturesUsed:
        """How the images reach the head."""
        stored = getattr(self.images, "features", self.images)  # those at a cut stand in a data module
        if not isinstance(stored, FeatureImages):
            return FeaturesUsed(False, self.reason)
        about = stored.space.about
        return FeaturesUsed(
            True, None, about["engine"], about["precision"], about["dtype"], stored.views, stored.space.key
        )


def finish_run(run: ArmRun, rows: list[dict[str, float]], outcome: Outcome) -> dict[str, Any]:
    """Scores the checkpoint chosen on validation on every split, once, and writes the results.

    A run that was interrupted, or diverged, never meets the test images. One that diverged in its first epoch has no
    checkpoint, and no scores.

    Args:
        run: its module has the weights of that checkpoint.
        rows: the history.
        outcome: how the training ended.

    Returns:
        What ``metrics.json`` holds.
    """
    config, module, images, best = run.config, run.module, run.images, outcome.best_epoch
    status = INTERRUPTED if outcome.interrupted else DIVERGED if outcome.diverged else FINISHED
    if best < 0:
        run.board.close()
        return write_record(run.folder, _record(run, rows, outcome, status, dict.fromkeys(SPLITS)))
    module.eval()
    table = images.prepared.table
    scores: dict[str, Any] = {}
    predictions: list[dict[str, Any]] = []
    logits_of: dict[str, Tensor] = {}
    for split in SPLITS:
        indices = table.indices(split)
        if len(indices) == 0 or (split == "test" and not (run.meet_test and status == FINISHED)):
            scores[split] = None
            continue
        logits = predict(module, images, torch.from_numpy(indices), max(config.data.batch_size, 64))
        logits_of[split] = logits
        scores[split] = score(logits, torch.from_numpy(table.labels[indices]), table.classes).as_dict()
        predictions += _prediction_rows(images, split, indices, logits)
    write_predictions(run.folder / "predictions.csv", predictions)
    record = _record(run, rows, outcome, status, scores)
    write_finished(run.board, record, rows[-1]["bn_gap"])
    metrics = write_record(run.folder, record)  # before the pictures, which may fail
    if run.pictures:
        draw_curves(rows, run.folder / "curves.png", f"{run.label}, seed {config.seed}", best)
        _pictures(run.folder, images, logits_of, run.label, run.board, best)
        height, width = config.data.image_size
        run.board.graph(module.classifier, torch.zeros(1, 3, height, width, device=module.device))
        record = replace(record, wall_seconds=time.perf_counter() - run.started)
        metrics = write_record(run.folder, record)
    run.board.close()
    log.info(
        "best epoch %d: val acc %.3f, macro-F1 %.3f%s, bn_gap %+.3f  ->  %s",
        best + 1,
        scores["val"]["acc"],
        scores["val"]["macro_f1"],
        f", test acc {scores['test']['acc']:.3f}" if scores["test"] else "",
        rows[best]["bn_gap"],
        run.folder,
    )
    return metrics


def _record(
    run: ArmRun, rows: list[dict[str, float]], outcome: Outcome, status: str, scores: dict[str, Any]
) -> RunRecord:
    config, built, table = run.config, run.built, run.images.prepared.table
    best = run.folder / "checkpoints" / "best.ckpt"
    known = outcome.best_epoch >= 0
    modes = rows[outcome.best_epoch] if known else None
    return RunRecord(
        experiment=config.experiment.name,
        departures=run.departures,
        label=run.label,
        seed=config.seed,
        status=status,
        switches=run.switches,
        weights=asdict(built.backbone.weights),
        backbone_fallback=built.backbone.fallback,
        image_size=list(config.data.image_size),
        features=run.features,
        trained_in=outcome.trained_in,
        images=table.counts(),
        digests=Digests(
            table.split_digest(),
            table.images_digest(),
            built.backbone.weights.digest,
            digest_of(best) if known and best.is_file() else None,
        ),
        epochs=len(rows),
        best_epoch=outcome.best_epoch if known else None,
        scores=scores,
        train_images={
            "acc_train_mode": modes["train_images/acc_train_mode"],
            "acc_eval_mode": modes["train_images/acc_eval_mode"],
            "bn_gap": modes["bn_gap"],
            # in the trap the best epoch is often the first, its gap still small
            "bn_gap_last": rows[-1]["bn_gap"],
        }
        if modes
        else None,
        versions=versions(),
        wall_seconds=time.perf_counter() - run.started,
        values=run.images.prepared.pixels.how.ranges.as_dict(),
        diverged=outcome.diverged,
    )


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
    shown: list[Tensor] = []
    missing: list[str] = []
    for at in worst:
        try:
            shown.append(images.prepared.pixels.batch(indices[at : at + 1]))
        except SeedsweepError:  # stored features need the file no more
            missing.append(str(table.paths[indices[at]]))
    if missing:
        log.warning(
            "%d of the %d worst mistakes are left out of the gallery, for their files were removed or changed (%s)",
            len(missing), len(worst), some(missing),
        )  # fmt: skip
        worst = np.asarray(
            [at for at in worst if str(table.paths[indices[at]]) not in missing], dtype=np.int64
        )
    if shown:
        board.mistakes(
            torch.cat(shown),
            labels[worst],
            predicted[worst],
            confidence[worst],
            table.classes,
            epoch,
        )
