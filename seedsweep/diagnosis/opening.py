"""Opens what is examined: a run, a checkpoint, or a plan."""

from __future__ import annotations

import logging
from operator import attrgetter
from pathlib import Path
from typing import Any

from seedsweep.data.checked import FileChecks
from seedsweep.data.pin import values_beside
from seedsweep.data.prepare import PreparedImages, prepare_images
from seedsweep.data.value_ranges import read_ranges
from seedsweep.diagnosis.options import check_checkpoint, check_run
from seedsweep.diagnosis.remedy import CommandLine, saved_settings
from seedsweep.diagnosis.subject import Subject
from seedsweep.errors import SeedsweepError
from seedsweep.models.checkpoint import read_checkpoint
from seedsweep.models.classifier import Classifier
from seedsweep.names import path_of
from seedsweep.overrides import key_of
from seedsweep.runs.csv_files import read_history
from seedsweep.runs.record import divergence_of, read_metrics
from seedsweep.training.assemble import backbone_as_set, backbone_of, build_module
from seedsweep.training.options import ArmSettings

log = logging.getLogger(__name__)

LOCAL = ("data.root", "data.file", "data.manifest", "paths", "trainer.accelerator")
"""What may differ between the machine of the training and this one; all else is the run's own."""


def local_settings(config: ArmSettings, overrides: list[str]) -> dict[str, Any]:
    """Picks the settings of this machine among the overrides of a command line.

    Returns:
        Values of ``LOCAL`` or below, by key.
    """
    given = [key_of(line) for line in overrides]
    keys = [key for key in given if any(f"{key}.".startswith(f"{local}.") for local in LOCAL)]
    return {key: attrgetter(key)(config) for key in keys}


def of_run(
    folder: Path,
    limit: int = 1000,
    here: dict[str, Any] | None = None,
    said: CommandLine | None = None,
    checks: FileChecks | None = None,
) -> Subject:
    """Opens a finished (or interrupted) run.

    Args:
        limit: training images, and validation images, that are looked at.
        here: settings that replace the run's own.
        said: the run's command line; None: not known.
        checks: holds the images that were read for the run before; None: nothing.

    Raises:
        SeedsweepError: no run, or its images have moved or changed.
    """
    metrics = read_metrics(folder)
    best, last = (folder / "checkpoints" / name for name in ("best.ckpt", "last.ckpt"))
    diverged = divergence_of(metrics)
    check_run(folder)
    config, prepared, given = _as_trained(folder, here, checks)
    if diverged:
        log.warning(
            "the run in %s %s: what is examined are the weights of epoch %d, the best before",
            folder, diverged, metrics["best_epoch"] + 1,
        )  # fmt: skip
    net = load_net(config, prepared, best)
    # in the BatchNorm fault the best epoch is often the first, and its gap small
    last_net = load_net(config, prepared, last) if last.is_file() else net
    history = folder / "history.csv"
    return Subject(
        "run",
        config,
        prepared,
        net,
        last_net,
        read_history(history) if history.is_file() else [],
        metrics,
        folder,
        limit,
        given,
        said,
    )


def of_checkpoint(
    path: Path,
    config: ArmSettings,
    limit: int = 1000,
    here: dict[str, Any] | None = None,
    said: CommandLine | None = None,
) -> Subject:
    """Opens a checkpoint: of a run of ours (with its own settings, where they lie beside it), or another.

    Args:
        config: of a checkpoint that no settings lie beside.

    Raises:
        SeedsweepError: no such file, or it doesn't fit the settings.
    """
    check_checkpoint(path)
    folder = path.resolve().parents[1]
    if (folder / ".hydra" / "config.yaml").is_file():
        config, prepared, given = _as_trained(folder, here)
    else:
        prepared, given = prepare_images(config.data, config.cache_dir), config.data.manifest
    net = load_net(config, prepared, path)
    return Subject("checkpoint", config, prepared, net, net, limit=limit, given_manifest=given, said=said)


def of_plan(config: ArmSettings, limit: int = 1000, said: CommandLine | None = None) -> Subject:
    """Takes settings: what would happen if they were trained.

    Raises:
        SeedsweepError: anything wrong with the images, or the net's weights can't be reached.
    """
    prepared = prepare_images(config.data, config.cache_dir)
    subject = Subject("plan", config, prepared, limit=limit, given_manifest=config.data.manifest, said=said)
    _ = subject.frozen_config  # now, before a minute of checks
    return subject


def load_net(config: ArmSettings, prepared: PreparedImages, checkpoint: Path) -> Classifier:
    """Builds the net of ``config`` and fills it from a checkpoint of ours, the head alone where that is all it has.

    No code that the file may hold is run.

    Raises:
        SeedsweepError: damaged, or it doesn't fit.
    """
    saved = read_checkpoint(checkpoint)
    whole = bool(saved.get("whole", True))
    backbone = backbone_as_set(config) if whole else backbone_of(config, prepared)
    module, built = build_module(config, prepared, backbone)
    refused = SeedsweepError(f"{checkpoint} does not fit {built.backbone.name} and the head's settings.")
    try:
        wrong = module.load_state_dict(saved["state_dict"], strict=False)
    except RuntimeError as error:
        raise refused from error
    if wrong.unexpected_keys or any(whole or ".head." in key for key in wrong.missing_keys):
        raise refused
    return built.classifier.eval()


def repeat_split(config: ArmSettings, folder: Path, here: dict[str, Any] | None) -> str | None:
    """Has a run's images split as they were, by the manifest.csv that it left, unless this machine's settings differ.

    Args:
        config: the run's own; changed in place.
        here: settings that replace the run's own, by key.

    Returns:
        The manifest that the user gave, now or to the run; None: the run made its split itself.
    """
    given, own = config.data.manifest, folder / "manifest.csv"
    if own.is_file():
        config.data.manifest = str(own)
    for key, value in (here or {}).items():
        section, _, name = key.rpartition(".")
        setattr(attrgetter(section)(config) if section else config, name, value)
    used = config.data.manifest
    if used is None or path_of(used).resolve() != own.resolve():
        return used
    config.data.corrections = None  # the labels there are as corrected
    return given


def _as_trained(
    folder: Path, here: dict[str, Any] | None, checks: FileChecks | None = None
) -> tuple[ArmSettings, PreparedImages, str | None]:
    """Returns a run's settings, its images with the split and the scaling that it had, and the user's manifest."""
    config = saved_settings(folder)
    given = repeat_split(config, folder, here)
    ranges = values_beside(folder / "manifest.csv")  # of images of more than 8 bits
    known = read_ranges(ranges) if ranges.is_file() else None
    return config, prepare_images(config.data, config.cache_dir, known=known, checks=checks), given
