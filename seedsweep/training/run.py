"""One arm from config to metrics.json."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from seedsweep.batchnorm.batches import check_single_images
from seedsweep.data.epoch import length
from seedsweep.data.manifest import write_manifest
from seedsweep.data.pin import Pin, values_beside
from seedsweep.data.prepare import PreparedImages, pinned_images, prepare_images
from seedsweep.data.value_ranges import write_ranges
from seedsweep.data.walk import NAME as LEFT_OUT
from seedsweep.data.walk import write_left_out
from seedsweep.errors import RefusedError
from seedsweep.models.build import ArmBackbone, BuiltModel, add_head, write_model_summary
from seedsweep.models.input_scaling import flush_denormals
from seedsweep.runs.record import with_departures
from seedsweep.runs.switches import batchnorm_summary, random_and_frozen
from seedsweep.training.assemble import arm_module, backbone_of
from seedsweep.training.card import card_of
from seedsweep.training.effective import effective
from seedsweep.training.finish import ArmRun, finish_run
from seedsweep.training.hparams import write_ended_early
from seedsweep.training.options import ArmSettings
from seedsweep.training.outcome import Fitting
from seedsweep.training.recorder import Recorder
from seedsweep.training.route import Images, images_of
from seedsweep.training.shared_setup import NOTHING, Given
from seedsweep.training.tensorboard import RunTensorBoard

log = logging.getLogger(__name__)

OnEpoch = Callable[[int, dict[str, float]], None]


def train(
    config: ArmSettings,
    run_dir: Path,
    *,
    label: str = "",
    resume: bool = False,
    on_epoch: OnEpoch | None = None,
    pictures: bool = True,
    meet_test: bool = True,
    given: Given = NOTHING,
) -> dict[str, Any]:
    """Trains one arm and writes everything about it into ``run_dir``.

    Args:
        config: the whole configuration.
        run_dir: the run's own folder; made if missing.
        label: the arm's name in tables; default: the experiment's name.
        resume: go on from ``run_dir``'s last checkpoint, if there is one.
        on_epoch: called after each epoch with its number, from 0, and its row of the history (``val/acc``,
            ``val/macro_f1``, ``val/loss``, ...); what it raises ends the run and is raised here.
        pictures: draw curves, confusion matrix and gallery with ``given.draw``, and write the graph; a trial of a study
            goes without.
        meet_test: score the test images; a trial of a study must not (see ``meet_test`` in ``training/test_split``).
        given: what a grid or a study found before.

    Returns:
        What ``metrics.json`` holds; its ``status`` is "diverged" where the loss became NaN or infinite.

    Raises:
        SeedsweepError: bad input, before any training.
        KeyboardInterrupt: the user stopped the run; what was trained is saved.
    """
    started = time.perf_counter()
    label = label or config.experiment.name
    run_dir.mkdir(parents=True, exist_ok=True)
    with _log_file(run_dir / "run.log"):
        flush_denormals()
        pl.seed_everything(config.seed, verbose=False)
        prepared = given.prepared or _images(config, run_dir, given.pin, resume)
        write_left_out(prepared.left_out, prepared.table.root, run_dir / LEFT_OUT)
        write_ranges(prepared.pixels.how.ranges, values_beside(run_dir / "manifest.csv"))
        write_manifest(prepared.table, run_dir / "manifest.csv")
        log.info("%s", _what_was_read(prepared))
        # a checkpoint brings its own statistics, but only online: the stored route goes by the backbone
        backbone = backbone_of(config, prepared)
        n_train = len(prepared.table.indices("train"))
        check_single_images(
            backbone.net,
            config.data.image_size,
            config.data.batch_size,
            n_train,
            config.trainer.probe_images,
        )
        images = images_of(config, prepared, backbone)
        built = add_head(backbone, len(prepared.table.classes), config.head, config.seed)
        switches = effective(config, built)
        ranges = prepared.pixels.how.ranges.as_dict()
        module = arm_module(
            config, prepared, built, card_of(config, built, switches, prepared.table.classes, ranges)
        )
        height, width = config.data.image_size
        departed = list(given.departures)
        if pictures:
            write_model_summary(module.classifier, run_dir / "model_summary.txt", (3, height, width))
        log.info(
            "%s: %s (%s), %s, %s",
            with_departures(label, departed),
            built.backbone.name,
            built.backbone.weights.note or built.backbone.weights.source,
            batchnorm_summary(switches.batchnorm),
            _what_is_trained(config, built),
        )
        if length(n_train, config.data.batch_size) < n_train:
            log.info(
                "%d training images in batches of %d: in each epoch one image, drawn anew, is left out: it would be a "
                "batch of one", n_train, config.data.batch_size,
            )  # fmt: skip
        source = built.backbone.weights.source
        if warning := random_and_frozen(source, config.backbone.freeze, built.backbone.train_from):
            log.warning("!!! %s", warning)
        board = RunTensorBoard(run_dir)
        recorder = Recorder(run_dir, board, on_epoch)
        if images.used.reason:
            log.info("online, every epoch passes the images through the backbone: %s", images.used.reason)
        try:
            outcome = images.fit(module, Fitting(config, run_dir, recorder, resume, whole=pictures))
        except Exception:  # a trial that is pruned, above all
            if recorder.rows:
                write_ended_early(board, switches, label, config.seed, recorder.rows[-1])
            board.close()
            raise
        if given.prepared is None:  # else whoever found them looks
            prepared.warn_of_changes()
        if outcome.interrupted and (not recorder.rows or outcome.best_epoch < 0):
            board.close()
            raise KeyboardInterrupt
        if outcome.diverged:
            log.warning("training ends here: it %s", outcome.diverged)
        metrics = finish_run(
            ArmRun(
                config,
                run_dir,
                label,
                module,
                built,
                switches,
                images,
                departed,
                board,
                started,
                pictures,
                meet_test,
                given.draw,
            ),
            recorder.rows,
            outcome,
        )
        if outcome.interrupted:
            raise KeyboardInterrupt
        return metrics


def open_images(config: ArmSettings, prepared: PreparedImages) -> tuple[ArmBackbone, Images]:
    """Makes ready what ``config`` will train on: features that are to be stored are, with all cores of this process.

    Args:
        config: the whole configuration.
        prepared: the images.

    Returns:
        The net but for its head, and the images.

    Raises:
        SeedsweepError: bad input, as of :func:`train`.
    """
    flush_denormals()
    pl.seed_everything(config.seed, verbose=False)  # a net without weights is drawn
    backbone = backbone_of(config, prepared)
    return backbone, images_of(config, prepared, backbone)


def _images(config: ArmSettings, run_dir: Path, pin: Pin | None, resume: bool) -> PreparedImages:
    """Goes on with the images that the run began with, or else those that the runs beside it began with.

    Raises:
        RefusedError: it was trained, and nothing says any more with which split.
    """
    own = Pin.of_run(run_dir)
    trained = (run_dir / "metrics.json").is_file() or (run_dir / "checkpoints").is_dir()
    if resume and trained and own.path.is_file():
        return prepare_images(config.data, config.cache_dir, own)
    if pin is not None and (pin.path.is_file() or not (resume and trained)):
        return pinned_images(config.data, config.cache_dir, pin)
    if resume and trained and config.data.manifest is None:
        raise RefusedError(
            f"{own.path} is missing: a new split could put images into test that the run was trained on; put back a "
            f"copy of it, or {own.anew}."
        )
    return prepare_images(config.data, config.cache_dir)


def _what_was_read(prepared: PreparedImages) -> str:
    """Returns a line such as `142 train, 49 val, 49 test images of 4 classes, in 72 groups`."""
    table = prepared.table
    splits = ", ".join(
        f"{n} {split}" for split in ("train", "val", "test") if (n := len(table.indices(split)))
    )
    groups = len(set(table.groups))
    return f"{splits} images of {len(table.classes)} classes" + (
        f", in {groups} groups" if groups < len(table.paths) else ""
    )


def _what_is_trained(config: ArmSettings, built: BuiltModel) -> str:
    if config.backbone.freeze:
        affine = any(parameter.requires_grad for parameter in built.classifier.backbone.parameters())
        return "frozen but for BatchNorm's scale and shift" if affine else "frozen"
    return (
        f"trained from {built.backbone.train_from} on" if built.backbone.train_from else "all layers trained"
    )


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Copies the log of this run into a file."""
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
