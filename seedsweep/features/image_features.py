"""A run's images as features: what a data module is to pixels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn

from seedsweep.data.prepare import PreparedImages
from seedsweep.data.warp import Augment
from seedsweep.errors import SeedsweepError
from seedsweep.features.budget import enforce
from seedsweep.features.engines import Engine
from seedsweep.features.extract import extract
from seedsweep.features.rows import FeatureRows, MappedRows, MixedRows
from seedsweep.features.store import PLAIN, Space, View, view_name
from seedsweep.training.options import ArmSettings

log = logging.getLogger(__name__)


@dataclass
class Pass:
    """How features are made: the engine is built only if some are missing."""

    engine: Callable[[], Engine]
    batch_size: int
    dtype: str


class FeatureImages:
    """Features of a run's images, un-augmented for every split and augmented for the training images.

    Args:
        config: the whole configuration.
        prepared: table and pixels.
        space: the store's part for this net.
        how: the pass over images that have none yet.
        augment: of the training images, or None.

    Raises:
        OSError: the store can't be written.
    """

    def __init__(
        self, config: ArmSettings, prepared: PreparedImages, space: Space, how: Pass, augment: Augment | None
    ) -> None:
        self.config = config
        self.prepared = prepared
        self.space = space
        self.how = how
        self.augment = augment
        self.extracted = 0
        table = prepared.table
        self._row = {image: row for row, image in reversed(list(enumerate(table.digests)))}
        self.labels = torch.from_numpy(table.labels)
        self.train_rows = table.indices("train")
        self._train_images = [table.digests[row] for row in self.train_rows]
        plain = space.view(PLAIN)
        try:
            space.touch()
        except OSError:
            if plain.missing(table.digests):  # else it is a store that can be read, on a read-only disk
                raise
        self._plain_view = self._ready(plain, table.digests, None)
        self.plain = self._in_memory(MappedRows(self._plain_view, table.digests))
        self._epoch: tuple[int, FeatureRows] | None = None

    @property
    def views(self) -> int:
        """Augmented views in use; 0: none, for nothing is augmented."""
        if self.augment is None:
            return 0
        return self.config.features.views or self.config.trainer.max_epochs

    def logits(self, net: nn.Module, rows: Tensor, device: torch.device) -> Tensor:
        """Returns what the head of ``net``, a Classifier, answers to the plain features of ``rows``."""
        answer: Tensor = net.head(self.plain[rows].to(device))  # type: ignore[operator]
        return answer

    def training_features(self, epoch: int) -> FeatureRows:
        """Returns float32 features [n, ...] of the training images as an epoch sees them, row by ``train_rows``.

        With as many views as epochs, epoch e sees view e: exactly the online run. With fewer, the first round
        is the online run's, and in later rounds each image goes through its views from another start.
        """
        if self.augment is None:
            if self._epoch is None:
                plain = self.plain
                if isinstance(plain, Tensor):
                    self._epoch = (0, plain[torch.from_numpy(self.train_rows)])
                else:
                    self._epoch = (0, MappedRows(self._plain_view, self._train_images))
            return self._epoch[1]
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self._drawn(epoch))
        return self._epoch[1]

    def _in_memory(self, rows: MappedRows | MixedRows) -> FeatureRows:
        """Loads features where they take no more than data.cache_gib."""
        everything = torch.arange(len(rows))
        one = rows[everything[:1]].numel()
        fits = len(rows) * one * 4 <= self.config.data.cache_gib * 2**30
        return rows[everything] if fits else rows

    def _drawn(self, epoch: int) -> FeatureRows:
        cycle, first = divmod(epoch, self.views)
        if cycle == 0:
            return self._in_memory(MappedRows(self._view(first), self._train_images))
        seeds = np.asarray([int(image[16:24], 16) for image in self._train_images])
        choice = (first + (seeds * (2 * cycle + 1) >> 7)) % self.views
        views = {int(number): self._view(int(number)) for number in np.unique(choice)}
        return self._in_memory(MixedRows(views, choice, self._train_images))

    def _view(self, number: int) -> View:
        name = view_name(asdict(self.config.augment), self.config.seed, number)
        try:
            return self._ready(self.space.view(name), self._train_images, number)
        except OSError as error:  # in the middle of the run: it is too late to go online
            raise SeedsweepError(
                f"The features of the augmented images can't be written below {self.config.paths.cache} ({error}): "
                "make room there, or take a smaller features.views or features=off."
            ) from error

    def _ready(self, view: View, images: Sequence[str], epoch: int | None) -> View:
        """Extracts what a view lacks."""
        if view.missing(images):
            how = self.how

            def load(some: Sequence[str]) -> Tensor:
                rows = np.asarray([self._row[image] for image in some])
                pixels = self.prepared.pixels.batch(rows, as_decoded=True)
                if epoch is None or self.augment is None:
                    return pixels
                return self.augment(pixels, torch.from_numpy(rows), epoch)

            self.extracted += extract(view, images, load, how.engine, how.batch_size, how.dtype)
            enforce(self.space.folder.parent, self.config.features.budget_gib, keep=self.space.folder)
        return view
