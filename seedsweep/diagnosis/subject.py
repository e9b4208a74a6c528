"""What is diagnosed: a finished run, a checkpoint, or a plan (data and settings, nothing trained yet)."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from seedsweep.diagnosis.audited import Audited
from seedsweep.diagnosis.beside_training import Compared, beside_training
from seedsweep.diagnosis.examined import Examined
from seedsweep.diagnosis.judged_parts import Parts
from seedsweep.diagnosis.nearness import Neighbours
from seedsweep.diagnosis.out_of_fold import OutOfFold, components, out_of_fold
from seedsweep.diagnosis.probes import Probe, fit_probe, probe_unseen
from seedsweep.diagnosis.rehearsals import LONG, Rehearsal, Rehearsals
from seedsweep.diagnosis.remedy import apply, completed
from seedsweep.diagnosis.stored_features import FrozenFeatures
from seedsweep.errors import SeedsweepError
from seedsweep.models.build import ArmBackbone
from seedsweep.models.weights import WeightsUnreachableError
from seedsweep.runs.csv_files import read_predictions
from seedsweep.stats.interval import Interval
from seedsweep.training.assemble import backbone_as_set
from seedsweep.training.options import ArmSettings

log = logging.getLogger(__name__)


@dataclass
class Subject(Examined):
    """A net or a plan that is examined. What takes time is computed when it is first asked for, and kept."""

    _compared: dict[str, Compared] = field(default_factory=dict)

    @cached_property
    def audited(self) -> Audited:
        """Facts about all images."""
        data, cache = self.config.data, self.config.cache_dir
        return Audited(
            self.prepared, data.group_regex, lambda: Neighbours.of(*self._looked_at), data.group, cache
        )

    @cached_property
    def _looked_at(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """:attr:`rows`, and components of the clean features of these images, [n, count]."""
        return self.rows, components(self.clean.plain.numpy())

    @cached_property
    def out_of_fold(self) -> OutOfFold:
        """Predictions for :attr:`material` by a probe and by neighbours.

        Raises:
            SeedsweepError: net, weights or store can't be had.
        """
        rows, parts = self._looked_at
        return out_of_fold(self.audited, parts, rows)

    def beside_training(self, split: str) -> Compared:
        """Returns how far the images of ``split`` (val or test) are from those of training.

        Raises:
            SeedsweepError: net, weights or store can't be had.
        """
        if split not in self._compared:
            self._compared[split] = beside_training(self.audited, self.material, self.clean_config, split)
        return self._compared[split]

    @cached_property
    def _frozen(self) -> tuple[ArmSettings, ArmBackbone]:
        config = apply(self.config, ["augment=none"])
        weights = config.backbone.weights
        if weights == "none":  # from scratch: the bar is what the pretrained net gives
            weights = "auto"
        config.backbone = replace(config.backbone, freeze=True, train_from=None, weights=weights)
        if config.batchnorm.train_affine:
            config = apply(config, ["batchnorm=inference"])
        try:
            return config, backbone_as_set(config)
        except WeightsUnreachableError:
            if self.kind == "plan" and self.config.backbone.weights != "none":
                raise  # what would be measured is another net than the one that was planned
            config.backbone = replace(config.backbone, weights="none")
            log.warning(
                "%s: its pretrained weights can't be reached: probes stand on a random net", self.kind
            )
            return config, backbone_as_set(config)

    @property
    def frozen_config(self) -> ArmSettings:
        """The settings as those of a frozen, pretrained net on the images as they are: what can be rehearsed."""
        return self._frozen[0]

    @property
    def backbone(self) -> ArmBackbone:
        """The net of :attr:`frozen_config`, to look at: whoever passes images leaves it as it was."""
        return self._frozen[1]

    @cached_property
    def clean_config(self) -> ArmSettings:
        """:attr:`frozen_config` with inputs as the weights expect, and BatchNorm on stored statistics."""
        remedy = ["preprocess=auto"]
        if self.frozen_config.batchnorm.training_statistics == "batch":
            remedy.append("batchnorm=inference")
        return apply(self.frozen_config, remedy)

    @property
    def clean(self) -> FrozenFeatures:
        """Features of the corrected frozen net."""
        return self.material.features(self.clean_config)

    @cached_property
    def probe(self) -> Probe:
        """The linear probe on :attr:`clean`."""
        return self.probe_on(self.clean_config)

    def probe_on(self, config: ArmSettings) -> Probe:
        """Returns the linear probe on the features of ``config``: fitted as training saw them, judged in eval mode."""
        features, material = self.material.features(config), self.material
        labels = material.train_labels.repeat(len(features.views))
        train = torch.cat([view[: material.n_train] for view in features.views])
        return fit_probe(train, labels, features.val, material.val_labels, len(material.classes))

    @cached_property
    def _rehearsals(self) -> Rehearsals:
        return Rehearsals(self.material)

    def rehearse(self, config: ArmSettings, max_steps: int = LONG) -> Rehearsal:
        """Trains the head of ``config``, made from :attr:`frozen_config`, on stored features, see
        :meth:`Rehearsals.whole`."""
        return self._rehearsals.whole(config, max_steps)

    @property
    def is_repeated(self) -> bool:
        """Whether a head that is trained anew on stored features, with the same settings, stands for the subject.

        Else there is only what the net that was trained predicts for the validation images.
        """
        if self.kind == "run" and self.is_frozen:
            return completed([], self.config, self.frozen_config) == []
        return self.is_rehearsed

    @cached_property
    def parts(self) -> Parts:
        """Which images measure what settings are worth: of training where a head stands for the subject, else of
        validation.

        Raises:
            SeedsweepError: too few groups.
        """
        return Parts.of_training(*self._divided) if self.is_repeated else self._val_parts

    @cached_property
    def _val_parts(self) -> Parts:
        return Parts.of_validation(*self._divided)

    @property
    def _divided(self) -> tuple[NDArray[np.int64], int, list[str]]:
        groups = [self.audited.groups[row] for row in self.rows]
        return self.material.labels.numpy(), self.material.n_train, groups

    def correct(self, config: ArmSettings) -> NDArray[np.float64]:
        """Returns 1 for each image of :attr:`parts` that a head with these settings classifies correctly, else 0, [N].

        Raises:
            SeedsweepError: too few groups.
        """
        return self._rehearsals.correct(config, self.parts)

    @cached_property
    def own_correct(self) -> NDArray[np.float64]:
        """As :meth:`correct`, of the subject as it is: with its own seed, for it is trained, or its seed is set.

        Raises:
            SeedsweepError: its predictions are not known.
        """
        if self.is_repeated:
            return self._rehearsals.correct(self.frozen_config, self.parts, repeated=False)
        return self._val_correct

    @cached_property
    def _val_correct(self) -> NDArray[np.float64]:
        if self.val_predictions is None:
            raise SeedsweepError("no predictions of this net are known.")
        predicted, labels = self.val_predictions
        every = (
            self.rows[self.material.n_train :] if self.is_rehearsed else self.prepared.table.indices("val")
        )
        if not np.array_equal(labels, self.prepared.table.labels[every]):
            raise SeedsweepError("the run's predictions.csv lists other images.")
        place = {row: number for number, row in enumerate(every.tolist())}
        judged = [place[row] for row in self.rows[self._val_parts.judged].tolist()]
        return np.asarray((predicted == labels)[judged], dtype=np.float64)

    def worth(self, config: ArmSettings) -> Interval | None:
        """Returns what a head with these settings gains over the subject on unseen images; None: it can't be
        measured."""
        try:
            return self.parts.interval(self.correct(config) - self.own_correct)
        except SeedsweepError:
            return None

    @cached_property
    def probe_correct(self) -> NDArray[np.float64]:
        """As :meth:`correct`, of the linear probe on :attr:`clean`."""
        return probe_unseen(self.probe, self.clean.plain, self.material.labels, self.parts)

    @cached_property
    def behind_probe(self) -> Interval:
        """What the linear probe gets more than the subject, on the same validation images.

        Raises:
            SeedsweepError: too few groups, or the subject's predictions are not known.
        """
        probe = probe_unseen(self.probe, self.clean.plain, self.material.labels, self._val_parts)
        return self._val_parts.interval(probe - self._val_correct)

    @property
    def rehearsed(self) -> Rehearsal:
        """The subject's own settings, rehearsed."""
        return self.rehearse(self.frozen_config)

    @property
    def is_rehearsed(self) -> bool:
        """Whether a head trained on a frozen net stands for the subject: a plan that trains no more than that.

        Not where the plan's net is random and what is examined is pretrained.
        """
        same = self.config.backbone.weights == self.frozen_config.backbone.weights
        return self.kind == "plan" and self.is_frozen and same

    @cached_property
    def val_acc(self) -> float | None:
        """Accuracy on the validation images: of the run, of the checkpoint, or rehearsed; None: not measured."""
        known = self._measured("val")
        return self.rehearsed.acc if known is None and self.is_rehearsed else known

    @cached_property
    def train_acc(self) -> float | None:
        """Accuracy on the un-augmented training images in eval mode; None: not measured."""
        known = self._measured("train")
        return self.rehearsed.train_acc if known is None and self.is_rehearsed else known

    def _measured(self, split: str) -> float | None:
        if self.metrics.get(split):
            return float(self.metrics[split]["acc"])
        return None if self.net is None else float((self.predicted(split) == self.labels(split)).mean())

    @cached_property
    def val_predictions(self) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Predictions behind :attr:`val_acc`, and the labels, [m] each; None: unknown."""
        if self.folder is not None:
            found = read_predictions(self.folder, ("val",)).get("val")
            if found is not None and found.classes == self.prepared.table.classes:
                return found.predicted, found.labels
        if self.net is not None:
            return self.predicted("val"), self.labels("val")
        return (self.rehearsed.predicted, self.material.val_labels.numpy()) if self.is_rehearsed else None

    @property
    def epochs(self) -> list[dict[str, float]]:
        """The history, or that of the rehearsal for a plan of a frozen net."""
        return self.history or (self.rehearsed.history if self.is_rehearsed else [])
