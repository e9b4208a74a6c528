"""What is diagnosed: a finished run, a checkpoint, or a plan (data and settings, nothing trained yet)."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seedsweep.data.prepare import PreparedImages
from seedsweep.diagnosis.audited import Audited, OutOfFold, out_of_fold
from seedsweep.diagnosis.rehearse import LONG, QUICK, Rehearsal, epochs_within, rehearse
from seedsweep.diagnosis.remedy import CommandLine, apply
from seedsweep.diagnosis.ridge import Probe, fit_probe
from seedsweep.diagnosis.stored_features import EVAL_BATCH, Answers, Material
from seedsweep.models.build import ArmBackbone
from seedsweep.models.classifier import Classifier
from seedsweep.models.weights import WeightsUnreachableError
from seedsweep.runs.answers import read_answers
from seedsweep.training.assemble import backbone_as_set
from seedsweep.training.options import ArmSettings

log = logging.getLogger(__name__)


@dataclass
class Subject:
    """A net or a plan that is examined. What takes time is computed when it is first asked for, and kept.

    Attributes:
        kind: run | checkpoint | plan.
        config: of the run, or of the command line.
        prepared: all images, split as the run's were.
        net: the trained net; None for a plan.
        last_net: the net after the last epoch, where it was kept; else ``net``.
        history: a row an epoch; empty where unknown.
        metrics: metrics.json; empty where unknown.
        folder: of the run; None otherwise.
        limit: training images, and validation images, that are looked at.
        given_manifest: the user's manifest, which makes the split; None: data.group_regex or folders make it. A run's
            own manifest.csv, with which ``config`` repeats its split, is not meant.
        said: the command line that a remedy is added to; None: not known.
    """

    kind: str
    config: ArmSettings
    prepared: PreparedImages
    net: Classifier | None = None
    last_net: Classifier | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    limit: int = 1000
    given_manifest: str | None = None
    said: CommandLine | None = None
    _rehearsals: dict[str, Rehearsal] = field(default_factory=dict)
    _backbone: ArmBackbone | None = None

    @cached_property
    def material(self) -> Material:
        """The images that are looked at."""
        return Material(self.prepared, self.limit, self.config.data.split_seed)

    @cached_property
    def frozen_config(self) -> ArmSettings:
        """The settings as those of a frozen, pretrained net on the images as they are: what can be rehearsed."""
        config = apply(self.config, ["augment=none"])
        weights = config.backbone.weights
        if weights == "none":  # from scratch: the bar is what the pretrained net gives
            weights = "auto"
        config.backbone = replace(config.backbone, freeze=True, train_from=None, weights=weights)
        if config.batchnorm.train_affine:
            config = apply(config, ["batchnorm=inference"])
        try:
            self._backbone = backbone_as_set(config)
        except WeightsUnreachableError:
            if self.kind == "plan" and self.config.backbone.weights != "none":
                raise  # what would be measured is another net than the one that was planned
            config.backbone = replace(config.backbone, weights="none")
            log.warning(
                "%s: its pretrained weights can't be reached: probes stand on a random net", self.kind
            )
        return config

    @property
    def backbone(self) -> ArmBackbone:
        """The net of :attr:`frozen_config`, to look at: whoever passes images leaves it as it was."""
        config = self.frozen_config
        if self._backbone is None:
            self._backbone = backbone_as_set(config)
        return self._backbone

    @cached_property
    def clean_config(self) -> ArmSettings:
        """:attr:`frozen_config` with inputs as the weights expect, and BatchNorm on stored statistics."""
        remedy = ["preprocess=auto"]
        if self.frozen_config.batchnorm.training_statistics == "batch":
            remedy.append("batchnorm=inference")
        return apply(self.frozen_config, remedy)

    @cached_property
    def audited(self) -> Audited:
        """Facts about all images."""
        return Audited(self.prepared, self.config.data.group_regex)

    @cached_property
    def out_of_fold(self) -> OutOfFold:
        """Predictions for :attr:`material` by a probe and by neighbours.

        Raises:
            SeedsweepError: net, weights or store can't be had.
        """
        return out_of_fold(self.audited, self.clean, self.material.images.table)

    @property
    def clean(self) -> Answers:
        """Features of the corrected frozen net."""
        return self.material.answers(self.clean_config)

    @cached_property
    def probe(self) -> Probe:
        """The linear probe on :attr:`clean`."""
        return self.probe_on(self.clean_config)

    def probe_on(self, config: ArmSettings) -> Probe:
        """Returns the linear probe on the features of ``config``: fitted as training saw them, judged in eval mode."""
        answers, material = self.material.answers(config), self.material
        train = torch.cat(answers.views)
        labels = material.train_labels.repeat(len(answers.views))
        return fit_probe(train, labels, answers.val, material.val_labels, len(material.classes))

    def rehearse(self, config: ArmSettings) -> Rehearsal:
        """Trains the head of ``config`` on stored features; ``config`` is made from :attr:`frozen_config`."""
        return self._rehearse([config], LONG)[0]

    def rehearse_all(self, configs: list[ArmSettings]) -> list[Rehearsal]:
        """Trains heads that differ in ``head`` and ``optim`` alone, each for fewer steps than :meth:`rehearse`."""
        return self._rehearse(configs, QUICK)

    def _rehearse(self, configs: list[ArmSettings], max_steps: int) -> list[Rehearsal]:
        keys = [f"{self._epochs(config, max_steps)} {_key(config)}" for config in configs]
        missing = {
            key: config for key, config in zip(keys, configs, strict=True) if key not in self._rehearsals
        }
        if missing:
            answers = self.material.answers(configs[0])
            found = rehearse(list(missing.values()), self.material, answers, max_steps)
            self._rehearsals.update(zip(missing, found, strict=True))
        return [self._rehearsals[key] for key in keys]

    def _epochs(self, config: ArmSettings, max_steps: int) -> int:
        return epochs_within(config, self.material.n_train, max_steps)

    @cached_property
    def rehearsed(self) -> Rehearsal:
        """The subject's own settings, rehearsed."""
        return self.rehearse(self.frozen_config)

    @property
    def is_frozen(self) -> bool:
        """Whether only a head was trained."""
        return self.config.backbone.freeze and not self.config.batchnorm.train_affine

    @property
    def is_rehearsed(self) -> bool:
        """Whether a head trained on a frozen net stands for the subject: a plan that trains no more than that."""
        return self.kind == "plan" and self.is_frozen

    @cached_property
    def val_acc(self) -> float | None:
        """Accuracy on the validation images: of the run, of the checkpoint, or rehearsed; None: not measured."""
        if self.metrics.get("val"):
            return float(self.metrics["val"]["acc"])
        if self.net is None:
            return self.rehearsed.acc if self.is_rehearsed else None
        return float((self.predicted("val") == self.labels("val")).mean())

    @cached_property
    def val_answers(self) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Predictions behind :attr:`val_acc`, and the labels, [m] each; None: unknown."""
        if self.folder is not None:
            found = read_answers(self.folder, ("val",)).get("val")
            if found is not None and found.classes == self.prepared.table.classes:
                return found.predicted, found.labels
        if self.net is None:
            return (self.rehearsed.predicted, self.material.val_labels.numpy()) if self.is_rehearsed else None
        return self.predicted("val"), self.labels("val")

    @cached_property
    def train_acc(self) -> float | None:
        """Accuracy on the un-augmented training images in eval mode; None: not measured."""
        if self.metrics.get("train"):
            return float(self.metrics["train"]["acc"])
        if self.net is None:
            return self.rehearsed.train_acc if self.is_rehearsed else None
        return float((self.predicted("train") == self.labels("train")).mean())

    @property
    def n_val(self) -> int:
        """Validation images behind :attr:`val_acc`."""
        if self.net is None and not self.metrics.get("val"):
            return len(self.material.val_labels)
        return len(self.prepared.table.indices("val"))

    @property
    def epochs(self) -> list[dict[str, float]]:
        """The history, or that of the rehearsal for a plan of a frozen net."""
        return self.history or (self.rehearsed.history if self.is_rehearsed else [])

    def epoch_called(self, last: bool) -> str:
        """Returns which epoch's net is meant, to stand behind "the net"; nothing where there is but one.

        Args:
            last: of :attr:`last_net`; else of :attr:`net`, whose scores the run reports.
        """
        best, rows = self.metrics.get("best_epoch"), self.history
        if self.last_net is self.net or best is None or not rows or rows[-1].get("epoch", best) == best:
            return ""
        if last:
            return f" of epoch {int(rows[-1]['epoch']) + 1}, the last,"
        return f" of epoch {int(best) + 1}, the best,"

    def labels(self, split: str) -> NDArray[np.int64]:
        """Returns the labels of a split."""
        return self.prepared.table.labels[self.prepared.table.indices(split)]

    def predicted(self, split: str) -> NDArray[np.int64]:
        """Returns the classes that the net predicts for the images of a split, in eval mode."""
        assert self.net is not None
        rows = self.prepared.table.indices(split)
        self.net.eval()
        with torch.inference_mode():
            parts = [
                self.net(self.prepared.pixels.batch(part)).argmax(1).numpy()
                for part in np.split(rows, range(EVAL_BATCH, len(rows), EVAL_BATCH))
            ]
        return np.concatenate(parts)


def _key(config: ArmSettings) -> str:
    parts = (config.backbone, config.preprocess, config.batchnorm, config.head, config.optim, config.trainer)
    return repr((*parts, config.data.batch_size, config.data.image_size, config.seed))
