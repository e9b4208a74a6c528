"""The same photographs as the net would see them otherwise, compared by a probe that has not seen their photograph."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedsweep.data.pixels import Pixels
from seedsweep.data.prepare import PreparedImages
from seedsweep.diagnosis.out_of_fold import components, outside_fold
from seedsweep.diagnosis.remedy import apply
from seedsweep.diagnosis.stored_features import EVAL_BATCH, drawn_by_class, feature_net
from seedsweep.diagnosis.subject import Subject
from seedsweep.stats import Comparison, compare
from seedsweep.training.assemble import backbone_as_set
from seedsweep.training.options import ArmSettings

MOST = 600  # images
STORED = ["batchnorm=inference"]  # recalibrated on one kind of inputs, the net would know that kind better


@dataclass(frozen=True)
class Tried:
    """What other inputs change.

    Attributes:
        before: accuracy of the probe on the images as they are, 0..1.
        after: on the images otherwise.
        change: of the accuracy, with its 95 % interval over photographs.
        n: images.
    """

    before: float
    after: float
    change: Comparison
    n: int

    @property
    def gain(self) -> float:
        """The change alone."""
        return self.change.difference.value

    def __str__(self) -> str:
        gain = self.change.difference
        return (
            f"{self.after:.0%} of {self.n} images right instead of {self.before:.0%} ({100 * gain.value:+.0f} points, "
            f"{100 * gain.low:+.0f} to {100 * gain.high:+.0f})"
        )

    def row(self, name: str) -> list[float | str]:
        """Returns the numbers for diagnosis.json: name, before, after, the interval, p and images."""
        gain = self.change.difference
        return [name, self.before, self.after, gain.low, gain.high, self.change.p, self.n]


@dataclass(frozen=True)
class Sample:
    """Some images of training and validation, and the corrected frozen net that sees them.

    Attributes:
        subject: whose they are.
        config: of the net: inputs as the weights expect, BatchNorm on stored statistics.
        rows: positions in ``subject.material.images``, [n].
    """

    subject: Subject
    config: ArmSettings
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, subject: Subject, most: int = MOST) -> Sample:
        """Draws up to ``most`` images, each class with its share."""
        labels = subject.material.images.table.labels
        share, rng = min(1.0, most / len(labels)), np.random.default_rng(0)
        rows = drawn_by_class(labels, lambda n: max(1, round(share * n)), rng)
        return cls(subject, apply(subject.clean_config, STORED), rows)

    def as_they_are(self, config: ArmSettings | None = None) -> Tensor:
        """Returns the features [n, C] of the images as ``config`` sees them; by default as the settings say."""
        config, material = config or self.config, self.subject.material
        if config.data.image_size == self.config.data.image_size:
            return material.features(config).plain[torch.from_numpy(self.rows)]
        height, width = config.data.image_size
        images, listed = material.images, self.rows.tolist()
        pixels = images.pixels.select(listed)
        resized = Pixels(pixels.paths, (height, width), False, pixels.seen, pixels.how)
        return material.plain(config, PreparedImages(images.table.part(listed), resized))

    def at(self, size: list[int]) -> Tensor:
        """Returns the features [n, C] of the images at [height, width] of ``size``, from the store."""
        return self.as_they_are(replace(self.config, data=replace(self.config.data, image_size=size)))

    @torch.no_grad()
    def passed(self, batches: Iterable[Tensor]) -> Tensor:
        """Returns the features [n, C] of other pixels, batches of [B, 3, H, W] with values 0..255."""
        net = feature_net(backbone_as_set(self.config)).eval()
        return torch.cat([net(part) for part in batches])

    def parts(self) -> list[NDArray[np.int64]]:
        """Returns the rows in batches."""
        return np.split(self.rows, range(EVAL_BATCH, len(self.rows), EVAL_BATCH))

    def compare(self, before: Tensor, after: Tensor) -> Tried:
        """Compares two kinds of features [n, C] of the images by a probe, cross-validated by photograph.

        Raises:
            SeedsweepError: there are too few photographs.
        """
        whole = self.subject.out_of_fold
        labels, groups = whole.labels[self.rows], [whole.groups[row] for row in self.rows]
        n_classes = len(self.subject.material.classes)
        was, now = (
            outside_fold(components(each.numpy()), labels, groups, n_classes).argmax(1) == labels
            for each in (before, after)
        )
        return Tried(float(was.mean()), float(now.mean()), compare(now, was, groups), len(labels))
