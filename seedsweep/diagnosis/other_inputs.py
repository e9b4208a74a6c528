"""The same photographs as the net would see them otherwise, compared by a probe that has not seen their photograph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedsweep.data.pixels import Pixels
from seedsweep.data.prepare import PreparedImages
from seedsweep.diagnosis.finding import in_points
from seedsweep.diagnosis.out_of_fold import components, outside_fold
from seedsweep.diagnosis.remedy import apply
from seedsweep.diagnosis.stored_features import EVAL_BATCH, drawn_by_class, feature_net
from seedsweep.diagnosis.subject import Subject
from seedsweep.models.classifier import FeatureNet
from seedsweep.stats import Comparison, compare
from seedsweep.training.assemble import backbone_as_set
from seedsweep.training.options import ArmSettings

MOST = 600  # images
STORED = ["batchnorm=inference"]  # recalibrated on one kind of inputs, the net would know that kind better


@dataclass(frozen=True)
class Tried:
    """What other inputs change."""

    before: float  # accuracy of the probe on the images as they are, 0..1
    after: float  # on the images otherwise
    change: Comparison  # of the accuracy, with its 95 % interval over photographs
    n: int  # images

    @property
    def gain(self) -> float:
        """The change alone."""
        return self.change.difference.value

    def __str__(self) -> str:
        return (
            f"{self.after:.0%} of {self.n} images right instead of {self.before:.0%}, "
            f"{in_points(self.change.difference)}"
        )

    def row(self, name: str) -> list[float | str]:
        """Returns the numbers for diagnosis.json: name, before, after, the interval, p and images."""
        gain = self.change.difference
        return [name, self.before, self.after, gain.low, gain.high, self.change.p, self.n]


@dataclass(frozen=True)
class Sample:
    """Some images of training and validation, and the corrected frozen net that sees them."""

    subject: Subject  # whose they are
    config: ArmSettings  # of the net: inputs as the weights expect, BatchNorm on stored statistics
    rows: NDArray[np.int64]  # positions in ``subject.material.images``, [n]

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

    def pixels(self) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Yields the images in batches: positions [B] in ``subject.material.images``, and uint8 [B, 3, H, W]."""
        for rows in np.split(self.rows, range(EVAL_BATCH, len(self.rows), EVAL_BATCH)):
            yield rows, self.subject.material.images.pixels.batch(rows)

    @torch.no_grad()
    def passed(self, batches: Iterable[Tensor], net: FeatureNet | None = None) -> Tensor:
        """Returns the features [n, C] of pixels [B, 3, H, W], 0..255, in the order of the rows; ``net`` None:
        ``config``'s."""
        net = (feature_net(backbone_as_set(self.config)) if net is None else net).eval()
        return torch.cat([net(part) for part in batches])

    def compare(self, before: Tensor, after: Tensor, learned: Sequence[Tensor] = ()) -> Tried:
        """Compares two kinds of features [n, C] of the images by a probe, cross-validated by photograph.

        Args:
            learned: what the probe learns from in the place of ``before``, which it is judged on; empty: the same.

        Raises:
            SeedsweepError: there are too few photographs.
        """
        return self.tried(self.right(before, learned), self.right(after))

    def right(self, features: Tensor, learned: Sequence[Tensor] = ()) -> NDArray[np.bool_]:
        """Says which images [n] a probe classifies correctly, by features [n, C], that has not seen their
        photograph."""
        labels, groups = self._judged
        parts, *views = np.split(components(torch.cat([features, *learned]).numpy()), 1 + len(learned))
        found = outside_fold(parts, labels, groups, int(labels.max()) + 1, views=views)
        return np.asarray(found.argmax(1) == labels)

    def tried(self, was: NDArray[np.bool_], now: NDArray[np.bool_]) -> Tried:
        """Compares what :meth:`right` says of two kinds of features."""
        return Tried(float(was.mean()), float(now.mean()), compare(now, was, self._judged[1]), len(was))

    @property
    def _judged(self) -> tuple[NDArray[np.int64], list[str]]:
        """The labels and photographs of the images, [n] each."""
        whole = self.subject.out_of_fold
        return whole.labels[self.rows], [whole.groups[row] for row in self.rows]
