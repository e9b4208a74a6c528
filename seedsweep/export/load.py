"""Builds the trained net that a checkpoint of ours holds, from the file alone."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seedsweep.data.value_ranges import Ranges
from seedsweep.digest import digest_of
from seedsweep.errors import DamagedError, SeedsweepError
from seedsweep.export.options import MOST_MISTAKES, ExportConfig, PredictConfig
from seedsweep.models.backbone_builder import rebuild_backbone
from seedsweep.models.called import preprocess_called
from seedsweep.models.checkpoint import CARD, not_finite, read_checkpoint
from seedsweep.models.classifier import Classifier, Head
from seedsweep.models.input_scaling import Preprocess
from seedsweep.models.options import HeadConfig, PreprocessConfig
from seedsweep.models.validated import Validated
from seedsweep.runs.record import read_metrics
from seedsweep.stats.promise import Promise

log = logging.getLogger(__name__)

PREFIX = "classifier."  # of the net's keys in the checkpoint


@dataclass(frozen=True)
class Trained:
    """A trained net with its classes and the size of its images."""

    # in eval mode; pixels 0..255 [B, 3, H, W] to logits [B, N]. No BatchNorm policy is on it: outside
    # training all of them mean the stored statistics.
    net: Classifier
    classes: list[str]  # N names, in the order of the logits
    image_size: tuple[int, int]  # (height, width) in pixels
    card: dict[str, Any]  # all that the checkpoint tells
    path: Path  # of the file
    digest: str  # its SHA-256, in hex
    validated: Validated | None = None  # what it tells of its validation images; None: nothing
    temperature: float = 1.0  # that ``net`` divides its logits by
    promise: Promise | None = None  # from which confidence on it answers; None: always

    @property
    def ranges(self) -> Ranges:
        """Returns how images of more than 8 bits were scaled in training; empty if there were none."""
        return Ranges.from_dict(self.card.get("values") or {})

    @property
    def described(self) -> str:
        """Returns what it is, in a line."""
        height, width = self.image_size
        about = self.card["backbone"]
        scaling = preprocess_called(PreprocessConfig(**self.card["preprocess"]))
        return (
            f"{self.card['experiment']}, {about['name']} ({about['weights']}), {len(self.classes)} classes, "
            f"{height}x{width}, inputs as preprocess={scaling} scales them"
        )


def load_trained(path: Path) -> Trained:
    """Builds the net that a checkpoint holds.

    No code that the file may hold is run, and no pretrained weights are looked for.

    Raises:
        SeedsweepError: it is no checkpoint, damaged, an older one without a card, a head without its backbone, or
            its weights are not finite.
    """
    content = read_checkpoint(path)
    if not content.get("whole", True):
        raise SeedsweepError(
            f"{path} is of a study's trial and holds the head alone: train the winner "
            "(+experiment=best_of_STUDY) and take its checkpoint."
        )
    card = content.get(CARD)
    if not card:
        raise SeedsweepError(
            f"{path} was written by an earlier version of seedsweep, without its classes and settings: train the run "
            "again."
        )
    try:
        net = _build(card)
        state = {k.removeprefix(PREFIX): v for k, v in content["state_dict"].items() if k.startswith(PREFIX)}
        net.load_state_dict(state)
        validated = Validated.from_checkpoint(content)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SeedsweepError(f"{path} can't be used by this version of seedsweep ({reason}).") from error
    if name := not_finite(net.state_dict()):
        raise SeedsweepError(
            f"{path} can't be used: its weights are not finite ({name} holds NaN or infinity). Train the run again, "
            "with a smaller optim.lr for instance."
        )
    height, width = card["image_size"]
    digest = digest_of(path)
    _compare_with_record(path, digest)
    return Trained(net.eval(), list(card["classes"]), (height, width), card, path, digest, validated)


def load_answering(path: Path, options: PredictConfig | ExportConfig, section: str) -> Trained:
    """Builds the net that a checkpoint holds, as the settings have it answer, and says what it is.

    Raises:
        SeedsweepError: it is no such file, or its validation images can't promise so few mistakes.
    """
    trained = load_trained(path)
    log.info("%s: %s", path, trained.described)
    trained = at_temperature(trained, options.temperature, f"{section}.temperature")
    return with_promise(trained, options.max_error, f"{section}.max_error")


def at_temperature(trained: Trained, setting: str, key: str) -> Trained:
    """Has the net divide its logits by a temperature (``auto``: its own), within its last layer; its classes stay."""
    known = trained.validated
    if setting != "auto":
        temperature = float(setting)
    elif known is None:
        temperature = 1.0
        log.info("%s tells no temperature (an earlier version wrote it): %s=1 is taken", trained.path, key)
    else:
        temperature = known.temperature
        log.info(
            "confidence is scaled: logits are divided by %.3g, as fitted on %d validation images (%s=1 leaves them)",
            temperature, len(known.labels), key,
        )  # fmt: skip
    assert isinstance(trained.net.head, Head)
    last = trained.net.head.output
    with torch.no_grad():
        last.weight.div_(temperature)
        last.bias.div_(temperature)
    return replace(trained, temperature=temperature)


def with_promise(trained: Trained, max_error: float | None, key: str) -> Trained:
    """Has a net answer only where validation promises that at most ``max_error`` of its answers are wrong.

    Raises:
        SeedsweepError: the checkpoint tells nothing of validation, or its validation images can't promise that.
    """
    if max_error is None:
        return trained
    if trained.validated is None:
        raise SeedsweepError(
            f"{key} goes by the validation images, and {trained.path} tells nothing of those (an earlier version wrote "
            "it): train the run again."
        )
    made = trained.validated.promise(max_error, trained.temperature)
    of = f"{made.images} validation images"
    if made.groups < made.images:
        of += f" in {made.groups} groups ({made.effect:.3g} images count as one: mistakes come together)"
    if made.threshold is None:
        least = math.ceil(1000 * made.smallest) / 1000
        can = f"give {key}={least:g}, the least that they carry, or " if least <= MOST_MISTAKES else ""
        raise SeedsweepError(
            f"{key}={max_error:g} can't be promised by {of}: {can}train with more photographs in validation "
            "(data.val_fraction)."
        )
    log.info(
        "at most %.3g %% of the answers may be wrong: by %s the net answers from a confidence of %.4f on; %.0f %% of "
        "them are left to a person",
        100 * max_error, of, made.threshold, 100 * made.left,
    )  # fmt: skip
    return replace(trained, promise=made)


def _compare_with_record(path: Path, digest: str) -> None:
    """Warns where the best.ckpt of a run is not the file that the run's record speaks of."""
    if path.name != "best.ckpt" or path.parent.name != "checkpoints":
        return
    try:
        known = (read_metrics(path.absolute().parents[1]).get("digests") or {}).get("checkpoint")
    except DamagedError as error:  # the net needs nothing of it
        log.warning("%s So it can't be said whether %s is the file that it speaks of.", error, path)
        return
    if known and known != digest:
        log.warning(
            "%s is not the file that this run's metrics.json speaks of: the accuracies there are not this net's",
            path,
        )


def _build(card: dict[str, Any]) -> Classifier:
    about = card["backbone"]
    backbone = rebuild_backbone(about["name"], about["library"], about["keras"])
    preprocess: nn.Module = Preprocess(PreprocessConfig(**card["preprocess"]), backbone.input_spec)
    head = Head(backbone.num_features, len(card["classes"]), HeadConfig(**card["head"]))
    return Classifier(preprocess, backbone, head)
