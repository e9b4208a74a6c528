"""What is written when training ends: scores of the best checkpoint, pictures, metrics.json."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedsweep.data.manifest import some
from seedsweep.digest import digest_of
from seedsweep.errors import SeedsweepError
from seedsweep.models.build import BuiltModel
from seedsweep.runs.csv_files import write_predictions
from seedsweep.runs.record import (
    DIVERGED,
    FINISHED,
    INTERRUPTED,
    Digests,
    RunRecord,
    versions,
    write_record,
)
from seedsweep.runs.switches import Switches
from seedsweep.stats.scores import score
from seedsweep.training.hparams import write_finished
from seedsweep.training.module import ArmModule
from seedsweep.training.options import ArmSettings
from seedsweep.training.outcome import Outcome
from seedsweep.training.predict import predict
from seedsweep.training.route import Images
from seedsweep.training.tensorboard import RunTensorBoard

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
GALLERY = 24  # worst mistakes shown


@dataclass(frozen=True)
class ToDraw:
    """What the pictures of a run are drawn from: its history and its predictions of the N validation images.

    Attributes:
        folder: of the run.
        label: the arm's name in tables.
        seed: of the run.
        history: a row an epoch.
        best_epoch: whose weights were kept, from 0.
        classes: names, in the order of their numbers.
        labels: [N] class numbers.
        predicted: [N] class numbers.
        confidence: [N] probability of the predicted class, 0..1.
        worst: numbers of the most confident mistakes among the N.
        images: their pixels, uint8 [3, H, W] each.
    """

    folder: Path
    label: str
    seed: int
    history: list[dict[str, float]]
    best_epoch: int
    classes: list[str]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float32]
    worst: list[int]
    images: list[NDArray[np.uint8]]


Draw = Callable[[ToDraw], "dict[str, Figure]"]  # writes the files, returns figures for TensorBoard by name


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
        board: TensorBoard's writers; closed at the end.
        started: ``time.perf_counter()`` at the start of the run.
        pictures: draw them with ``draw``, and write the net's graph.
        meet_test: score the test images.
        draw: draws the pictures; None: nothing does.
    """

    config: ArmSettings
    folder: Path
    label: str
    module: ArmModule
    built: BuiltModel
    switches: Switches
    images: Images
    departures: list[str]
    board: RunTensorBoard
    started: float
    pictures: bool = True
    meet_test: bool = True
    draw: Draw | None = None


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
        logits = predict(module, images.source, torch.from_numpy(indices), max(config.data.batch_size, 64))
        logits_of[split] = logits
        scores[split] = score(logits, torch.from_numpy(table.labels[indices]), table.classes).as_dict()
        predictions += _prediction_rows(images, split, indices, logits)
    write_predictions(run.folder / "predictions.csv", predictions)
    record = _record(run, rows, outcome, status, scores)
    write_finished(run.board, record, rows[-1]["bn_gap"])
    metrics = write_record(run.folder, record)  # before the pictures, which may fail
    if run.pictures:
        if run.draw is not None:
            for name, figure in run.draw(_to_draw(run, rows, best, logits_of["val"])).items():
                run.board.picture(name, figure, best)
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
        features=run.images.used,
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


def _to_draw(run: ArmRun, rows: list[dict[str, float]], best_epoch: int, logits: Tensor) -> ToDraw:
    """Returns what the pictures are drawn from; ``logits`` [N, C] are those of the validation images."""
    prepared = run.images.prepared
    table = prepared.table
    indices = table.indices("val")
    labels = table.labels[indices]
    probabilities = logits.softmax(1)
    predicted = probabilities.argmax(1).numpy()
    confidence = probabilities.max(1).values.numpy()
    wrong = np.flatnonzero(predicted != labels)
    worst: list[int] = []
    pixels: list[NDArray[np.uint8]] = []
    missing: list[str] = []
    for at in wrong[np.argsort(-confidence[wrong])][:GALLERY].tolist():
        try:
            pixels.append(prepared.pixels.batch(indices[at : at + 1])[0].numpy())
            worst.append(at)
        except SeedsweepError:  # stored features need the file no more
            missing.append(str(table.paths[indices[at]]))
    if missing:
        log.warning(
            "%d of the %d worst mistakes are left out of the gallery, for their files were removed or changed (%s)",
            len(missing), len(worst) + len(missing), some(missing),
        )  # fmt: skip
    return ToDraw(
        run.folder,
        run.label,
        run.config.seed,
        rows,
        best_epoch,
        table.classes,
        labels,
        predicted,
        confidence,
        worst,
        pixels,
    )
