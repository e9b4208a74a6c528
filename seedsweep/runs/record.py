"""The record of a run, metrics.json: made once, at the run's end, and read here, without torch."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from seedsweep import __version__
from seedsweep.errors import DamagedError, DivergedError, SeedsweepError
from seedsweep.overrides import key_of
from seedsweep.runs.label_gain import LabelGain
from seedsweep.runs.switches import Switches
from seedsweep.runs.unseen import Unseen
from seedsweep.whole import read_json, write_json

NAME = "metrics.json"
VERSION = 2
SPLITS = ("train", "val", "test")
METRICS = {"macro_f1": "macro-F1", "acc": "accuracy"}  # of the validation images, and how they are called
PACKAGES = (
    "torch", "torchvision", "pytorch-lightning", "timm", "hydra-core", "optuna", "numpy", "pillow",
)  # fmt: skip
FINISHED, INTERRUPTED, DIVERGED = "finished", "interrupted", "diverged"
TIME, BEHIND = "time", "behind"  # why a run of a grid with a budget ended before its last epoch


@dataclass(frozen=True)
class Digests:
    """SHA-256 in hex."""

    split: str | None = None  # of which file is of which class and in which split
    images: str | None = None  # of the content of all files
    weights: str | None = None  # of the file that the net began with; None: it began with random ones
    checkpoint: str | None = None  # of checkpoints/best.ckpt


@dataclass(frozen=True)
class FeaturesUsed:
    """How the images reached the head."""

    stored: bool  # whether their features (or activations at a cut) were computed once and kept
    reason: str | None  # why not; None: they were
    engine: str | None = None  # that computed them; None: PyTorch, in every epoch
    precision: str | None = None  # of that pass
    dtype: str | None = None  # of the stored arrays
    views: int = 0  # augmented views of each training image; 0: none
    space: str | None = None  # of the store


@dataclass(frozen=True)
class RunRecord:
    """Everything that a run says of itself."""

    experiment: str  # what the user called it
    departures: list[str]  # settings that the run has otherwise than the experiment's file, as overrides
    label: str  # the arm's name in tables
    seed: int  # of the run
    status: str  # finished | interrupted | diverged
    switches: Switches  # what it really did
    weights: dict[str, Any]  # where the net's weights came from: source, path, digest, note, keras
    backbone_fallback: str | None  # why the net stands in for another; None: it doesn't
    image_size: list[int]  # height and width in pixels
    features: FeaturesUsed  # how the images reached the head
    trained_in: str  # float32 | bfloat16 | float16
    images: dict[str, dict[str, int]]  # numbers of images, by split and class
    digests: Digests  # of what went in and came out
    epochs: int  # that were trained
    best_epoch: int | None  # whose weights were kept, from 0; None: it diverged before any were
    scores: dict[str, dict[str, Any] | None]  # by split; None where it was not met
    # accuracies in train mode and in eval mode, and bn_gap; None: no epoch was finished
    train_images: dict[str, float] | None
    versions: dict[str, str]  # of libraries
    wall_seconds: float = 0.0  # it took
    # of images of more than 8 bits, the lowest and the highest, which became 0 and 255, by kind
    values: dict[str, list[float]] = field(default_factory=dict)
    # in which epoch its loss became NaN or infinite, and what was seen; None: it did not
    diverged: DivergedError | None = None
    # what data.corrections did to it; None: it has none, or did not finish
    corrections: LabelGain | None = None
    # why a budget ended it before its last epoch: ``why`` (time | behind) and a ``text``; None: no
    ended_early: dict[str, str] | None = None
    temperature: float | None = None  # that its checkpoint tells, fitted on validation; None: it tells none
    # what its accuracy owes to photographs that the split tears; None: it tears none, or nothing looked
    unseen: Unseen | None = None
    # of ``data.folds``: its ``number``, ``of`` how many it is, and how they were dealt; None: there are none
    fold: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns what metrics.json holds: the switches, and names of theirs that are true for readers of one word."""
        switches, own = self.switches, asdict(self)
        scores = own.pop("scores")
        return {
            "version": VERSION,
            **own,
            "diverged_at": self.diverged.epoch + 1 if self.diverged else None,
            "diverged": self.diverged.what if self.diverged else None,
            "backbone": switches.backbone.name,
            "frozen": switches.backbone.freeze,
            "train_from": switches.backbone.train_from,
            "batchnorm": switches.batchnorm.policy,
            "norm_layers": switches.batchnorm.layers,
            "preprocess": switches.preprocess.name,
            "augment": switches.augment.name,
            "batch_size": switches.trainer.batch_size,
            **scores,
        }


def write_record(folder: Path, record: RunRecord) -> dict[str, Any]:
    """Writes metrics.json; returns what it holds."""
    content = record.as_dict()
    write_json(folder / NAME, content)
    return content


def read_metrics(folder: Path) -> dict[str, Any]:
    """Returns what a run's metrics.json holds; empty if there is none."""
    return read_json(folder / NAME)


def read_record(folder: Path) -> RunRecord:
    """Reads the record of a run that has ended.

    Raises:
        SeedsweepError: there is none, or an earlier version wrote it.
        DamagedError: it is damaged.
    """
    content = read_metrics(folder)
    if content.get("version") != VERSION:
        found = f"is of version {content.get('version', 1)}" if content else "is missing"
        raise SeedsweepError(
            f"{folder / NAME} {found}, and a record of version {VERSION} is read here: train the run again."
        )
    made = {field.name: content[field.name] for field in fields(RunRecord) if field.name in content}
    try:
        return RunRecord(
            **made
            | {
                "switches": Switches.from_dict(content["switches"]),
                "features": FeaturesUsed(**content["features"]),
                "digests": Digests(**content["digests"]),
                "scores": {split: content[split] for split in SPLITS},
                "backbone_fallback": content["backbone_fallback"],
                "diverged": divergence_of(content),
                "corrections": LabelGain.from_dict(gain) if (gain := content.get("corrections")) else None,
                "unseen": Unseen(**each) if (each := content.get("unseen")) else None,
            }
        )
    except (KeyError, TypeError, AttributeError, SeedsweepError) as error:
        raise DamagedError(f"{folder / NAME} is damaged ({error}): put back a copy of it.") from error


def divergence_of(metrics: dict[str, Any]) -> DivergedError | None:
    """Returns in which epoch a run diverged, and what was seen; None: it did not."""
    if metrics.get("status") != DIVERGED:
        return None
    return DivergedError(int(metrics["diverged_at"]) - 1, str(metrics["diverged"]))


def add_test_scores(folder: Path, scores: dict[str, Any]) -> None:
    """Adds the scores of the test images to a finished run's record: a study's winner meets them late."""
    write_json(folder / NAME, read_json(folder / NAME) | {"test": scores})


def has_scores(folder: Path) -> bool:
    """Says whether the run in ``folder`` has a result, if only of the epochs that a budget gave it."""
    return read_json(folder / NAME).get("status") == FINISHED


def is_finished(folder: Path) -> bool:
    """Says whether the run in ``folder`` went to its end: nothing of it is left to train."""
    content = read_json(folder / NAME)
    return content.get("status") == FINISHED and early_of(content).get("why") != TIME


def early_of(metrics: dict[str, Any]) -> dict[str, str]:
    """Returns why a budget ended a run before its last epoch (``why`` and ``text``); empty: it did not."""
    return metrics.get("ended_early") or {}


def with_departures(name: str, departed: list[str], *, code: bool = False) -> str:
    """Returns ``name``, and the settings that the experiment's file says otherwise, but for those that it tells."""
    words = name.split()
    groups = {key_of(word) for word in words if "=" in word}
    further = " ".join(s for s in departed if s not in words and key_of(s).split(".")[0] not in groups)
    mark = "`" if code else ""
    return f"{mark}{name}{mark}" + (f" (with {mark}{further}{mark})" if further else "")


@cache
def versions() -> dict[str, str]:
    """Returns the version of Python and of each library that can move a result."""
    found = {"python": platform.python_version(), "seedsweep": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
