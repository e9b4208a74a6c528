"""One arm from config to metrics.json."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.model_summary.model_summary import ModelSummary

from seedsweep.batchnorm.batches import check_single_images
from seedsweep.data.checked import FileChecks
from seedsweep.data.corrections import write_corrections
from seedsweep.data.epoch import length
from seedsweep.data.manifest import write_manifest
from seedsweep.data.pin import Pin, values_beside
from seedsweep.data.prepare import PreparedImages, pinned_images, prepare_images
from seedsweep.data.value_ranges import write_ranges
from seedsweep.data.walk import LEFT_OUT, write_left_out
from seedsweep.errors import RefusedError
from seedsweep.models.build import ArmBackbone, BuiltModel
from seedsweep.models.input_scaling import flush_denormals
from seedsweep.names import some
from seedsweep.runs.record import SPLITS, early_of, read_metrics, with_departures
from seedsweep.runs.switches import Switches, batchnorm_summary, random_and_frozen
from seedsweep.session import Session
from seedsweep.training.assemble import SharedBackbone, build_module
from seedsweep.training.effective import effective
from seedsweep.training.finish import ArmRun, UnseenOf, finish_run
from seedsweep.training.limit import RunLimit
from seedsweep.training.options import ArmSettings
from seedsweep.training.recorder import Fitting, OnEpoch, Recorder, RunTensorBoard
from seedsweep.training.route import images_of
from seedsweep.training.to_draw import Draw

log = logging.getLogger(__name__)

SUMMED = 4  # levels of modules in model_summary.txt
MOST_NAMES = 12  # of classes in the line that says what was read


@dataclass(frozen=True)
class Given:
    """What a run gets from its task, or from the grid or study that it belongs to."""

    prepared: PreparedImages | None = None  # the images, if they were found already
    pin: Pin | None = None  # the images that the runs beside this one began with, or where to write them
    departures: tuple[str, ...] = ()  # settings that the file of the experiment says otherwise, as overrides
    draw: Draw | None = None  # draws the run's pictures; None: nothing does
    # looks at the images before the training; None: nothing does
    audit: Callable[[PreparedImages], None] | None = None
    # estimates the accuracy on unseen photographs at the end; None: nothing does
    unseen: UnseenOf | None = None
    session: Session = field(default_factory=Session)  # shared with the runs before and after this one


def train(
    config: ArmSettings,
    run_dir: Path,
    *,
    label: str = "",
    resume: bool = False,
    on_epoch: OnEpoch | None = None,
    pictures: bool = True,
    meet_test: bool = True,
    given: Given | None = None,
) -> dict[str, Any]:
    """Trains one arm and writes everything about it into ``run_dir``.

    Args:
        run_dir: the run's own folder; made if missing.
        resume: go on from ``run_dir``'s last checkpoint, if there is one.
        on_epoch: called after each epoch with the history so far, a row an epoch (``epoch`` from 0, ``val/acc``,
            ``val/macro_f1``, ``val/loss``, ...); what it raises ends the run and is raised here.
        pictures: draw curves, confusion matrix and gallery with ``given.draw``; a trial of a study goes without.
        meet_test: score the test images; a trial of a study must not (see :func:`score_test`).
        given: what a grid or a study found before.

    Returns:
        What ``metrics.json`` holds; its ``status`` is "diverged" where the loss became NaN or infinite.

    Raises:
        SeedsweepError: bad input, before any training.
        KeyboardInterrupt: the user stopped the run; what was trained is saved.
    """
    started = time.perf_counter()
    label, given = label or config.experiment.name, given or Given()
    run_dir.mkdir(parents=True, exist_ok=True)
    # the seconds of a run are those of all its parts
    if resume and early_of(before := read_metrics(run_dir)):
        started -= float(before["wall_seconds"])
    with _log_file(run_dir / "run.log"):
        flush_denormals()
        pl.seed_everything(config.seed, verbose=False)
        prepared = given.prepared or _images(config, run_dir, given, resume)
        _write_what_was_read(prepared, run_dir)
        if given.audit is not None:
            given.audit(prepared)
        # a checkpoint brings its own statistics, but only online: the stored route goes by the backbone
        backbone = given.session.of(SharedBackbone).of(config, prepared)
        _check_batches(config, backbone, prepared)
        images = images_of(config, prepared, backbone)
        module, built = build_module(config, prepared, backbone)
        switches = effective(config, built)
        if pictures:
            summary = ModelSummary(module, max_depth=SUMMED)
            (run_dir / "model_summary.txt").write_text(f"{summary}\n", encoding="utf-8")
        weights = backbone.weights.note or backbone.weights.source
        named = with_departures(label, list(given.departures))
        norms, trained = batchnorm_summary(switches.batchnorm), _what_is_trained(config, built, switches)
        log.info("%s: %s (%s), %s, %s", named, backbone.name, weights, norms, trained)
        source, freeze = backbone.weights.source, config.backbone.freeze
        if warning := random_and_frozen(source, freeze, backbone.train_from):
            log.warning("!!! %s", warning)
        if images.used.reason:
            log.info("online, every epoch passes the images through the backbone: %s", images.used.reason)
        ends = _limit(config, prepared, given.session)
        recorder = Recorder(run_dir, RunTensorBoard(run_dir), on_epoch, ends)
        try:
            outcome = images.fit(module, Fitting(config, recorder, resume, whole=pictures))
        except Exception:  # a trial that is pruned, above all
            if recorder.rows:
                row = recorder.rows[-1]
                last = {
                    "val_acc": row["val/acc"],
                    "val_macro_f1": row["val/macro_f1"],
                    "bn_gap": row["bn_gap"],
                }
                recorder.board.run_ended(switches, label, config.seed, last)
            recorder.board.close()
            raise
        if given.prepared is None:  # else whoever found them looks
            prepared.warn_of_changes()
        if outcome.interrupted and (not recorder.rows or outcome.best_epoch < 0):
            recorder.board.close()
            raise KeyboardInterrupt
        if outcome.diverged:
            log.warning("training ends here: it %s", outcome.diverged)
        run = ArmRun(
            config,
            label,
            module,
            built,
            switches,
            images,
            recorder,
            list(given.departures),
            started,
            meet_test,
            pictures,
            given.draw,
            given.unseen,
        )
        metrics = finish_run(run, outcome)
        if outcome.interrupted:
            raise KeyboardInterrupt
        return metrics


def _limit(
    config: ArmSettings, prepared: PreparedImages, session: Session
) -> Callable[[list[dict[str, float]]], dict[str, str] | None]:
    """Returns what says after each epoch whether the run ends there."""
    table, limit = prepared.table, session.of(RunLimit)
    n_val = len({table.groups[row] for row in table.indices("val")})
    return lambda rows: limit.early(rows, config.trainer.max_epochs, n_val, config.optim.schedule)


def open_images(config: ArmSettings, prepared: PreparedImages, session: Session) -> None:
    """Makes ready what ``config`` will train on: features that are to be stored are, with all cores of this process."""
    flush_denormals()
    pl.seed_everything(config.seed, verbose=False)  # a net without weights is drawn
    images_of(config, prepared, session.of(SharedBackbone).of(config, prepared))


def _write_what_was_read(prepared: PreparedImages, run_dir: Path) -> None:
    """Writes the images' split, values and what was left out into the run's folder; says how many they are."""
    table, ranges = prepared.table, prepared.pixels.how.ranges
    write_left_out(prepared.left_out, table.root, run_dir / LEFT_OUT)
    write_corrections(prepared.corrected, Pin.of_run(run_dir).corrections)
    write_ranges(ranges, values_beside(run_dir / "manifest.csv"))
    write_manifest(table, run_dir / "manifest.csv")
    counts = [(len(table.indices(split)), split) for split in SPLITS]
    splits = ", ".join(f"{n} {split}" for n, split in counts if n)
    groups = len(set(table.groups))
    grouped = f", in {groups} groups" if groups < len(table.paths) else ""
    classes = some(table.classes, MOST_NAMES)
    log.info("%s images of %d classes (%s)%s", splits, len(table.classes), classes, grouped)


def _check_batches(config: ArmSettings, backbone: ArmBackbone, prepared: PreparedImages) -> None:
    """Refuses batches of one image that can't be trained on; says where an epoch leaves one out."""
    n_train, size = len(prepared.table.indices("train")), config.data.batch_size
    probed = config.trainer.probe_images
    check_single_images(backbone.net, config.data.image_size, size, n_train, probed)
    if length(n_train, size) < n_train:
        log.info(
            "%d training images in batches of %d: in each epoch one image, drawn anew, is left out: it would be a "
            "batch of one", n_train, size,
        )  # fmt: skip


def _images(config: ArmSettings, run_dir: Path, given: Given, resume: bool) -> PreparedImages:
    """Goes on with the images that the run began with, or else those that the runs beside it began with.

    Raises:
        RefusedError: it was trained, and the file of its split is gone.
    """
    own, pin, checks = Pin.of_run(run_dir), given.pin, given.session.of(FileChecks)
    trained = (run_dir / "metrics.json").is_file() or (run_dir / "checkpoints").is_dir()
    if resume and trained and own.path.is_file():
        return prepare_images(config.data, config.cache_dir, own, checks=checks)
    if pin is not None and (pin.path.is_file() or not (resume and trained)):
        return pinned_images(config.data, config.cache_dir, pin, checks)
    if resume and trained and config.data.manifest is None:
        raise RefusedError(
            f"{own.path} is missing: a new split could put images into test that the run was trained on; put back a "
            f"copy of it, or {own.anew}."
        )
    return prepare_images(config.data, config.cache_dir, checks=checks)


def _what_is_trained(config: ArmSettings, built: BuiltModel, switches: Switches) -> str:
    if config.backbone.freeze:
        affine = any(parameter.requires_grad for parameter in built.classifier.backbone.parameters())
        return "frozen but for BatchNorm's scale and shift" if affine else "frozen"
    cut = built.backbone.train_from
    held = " but BatchNorm" if switches.batchnorm.layers and not switches.batchnorm.train_affine else ""
    return f"trained from {cut} on{held and ','}{held}" if cut else f"all layers trained{held}"


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
