"""A run's images as stored features of the whole backbone, or as stored activations at a cut."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seedsweep.data.datamodule import Fetch, ImageDataModule
from seedsweep.data.epoch import Augment
from seedsweep.data.prepare import PreparedImages
from seedsweep.errors import SeedsweepError
from seedsweep.features.budget import enforce
from seedsweep.features.engines import Engine
from seedsweep.features.extract import extract
from seedsweep.features.feature_store import PLAIN, FeatureRows, Space, StoredRows, View
from seedsweep.features.options import FeaturesConfig
from seedsweep.models.called import acting, augment_called
from seedsweep.models.classifier import Classifier, UpperClassifier
from seedsweep.models.cut import Cut

log = logging.getLogger(__name__)


class FeatureImages:
    """Features of a run's images, un-augmented for every split and augmented for the training images.

    Args:
        engine: makes what computes features; called if some are missing.
        views: augmented views of each training image, at least 1.
        memory_gib: features that take more stay on disk.

    Raises:
        OSError: the store can't be written.
    """

    def __init__(
        self,
        prepared: PreparedImages,
        space: Space,
        engine: Callable[[], Engine],
        options: FeaturesConfig,
        augment: Augment | None,
        views: int,
        memory_gib: float,
    ) -> None:
        self.prepared = prepared
        self.space = space
        self.augment = augment
        self.views = views if augment else 0
        self._engine = engine
        self._options = options
        self._memory_gib = memory_gib
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
        self.plain = self._in_memory(StoredRows.of_one(self._plain_view, table.digests))
        self._epoch: tuple[int, FeatureRows] | None = None

    def logits(self, net: nn.Module, rows: Tensor, device: torch.device) -> Tensor:
        """Returns the logits of the head of ``net``, a Classifier, for the plain features of ``rows``."""
        logits: Tensor = net.head(self.plain[rows].to(device))  # type: ignore[operator]
        return logits

    def training_features(self, epoch: int) -> FeatureRows:
        """Returns float32 features [n, ...] of the training images as an epoch sees them, row by ``train_rows``.

        With as many views as epochs, epoch e sees view e: exactly the online run. With fewer, the first round
        is the online run's, and in later rounds each image goes through its views from another start.
        """
        number = epoch if self.augment else 0
        if self._epoch is None or self._epoch[0] != number:
            self._epoch = (number, self._drawn(number))
        return self._epoch[1]

    def _in_memory(self, rows: StoredRows) -> FeatureRows:
        """Loads features where they fit into memory."""
        everything = torch.arange(len(rows))
        one = rows[everything[:1]].numel()
        fits = len(rows) * one * 4 <= self._memory_gib * 2**30
        return rows[everything] if fits else rows

    def _drawn(self, epoch: int) -> FeatureRows:
        images = self._train_images
        if self.augment is None:
            if isinstance(self.plain, Tensor):
                return self.plain[torch.from_numpy(self.train_rows)]
            return StoredRows.of_one(self._plain_view, images)
        cycle, first = divmod(epoch, self.views)
        seeds = np.asarray([int(image[16:24], 16) for image in images])
        start = seeds * (2 * cycle + 1) >> 7 if cycle else np.zeros_like(seeds)
        choice = (first + start) % self.views
        views = {number: self._view(self.augment, number) for number in np.unique(choice).tolist()}
        return self._in_memory(StoredRows(views, choice, images))

    def _view(self, augment: Augment, number: int) -> View:
        settings = json.dumps(acting(augment.config), sort_keys=True, allow_nan=False)
        digest = hashlib.sha256(settings.encode()).hexdigest()[:12]
        name = f"{augment_called(augment.config).partition(' ')[0]}-{digest}-s{augment.seed}-v{number:03d}"
        try:
            return self._ready(self.space.view(name), self._train_images, number)
        except OSError as error:  # in the middle of the run: it is too late to go online
            raise SeedsweepError(
                f"The features of the augmented images can't be written in {self.space.folder.parent} ({error}): "
                "make room there, or take a smaller features.views or features=off."
            ) from error

    def _ready(self, view: View, images: Sequence[str], epoch: int | None) -> View:
        """Extracts what a view lacks."""
        if view.missing(images):

            def load(some: Sequence[str]) -> Tensor:
                rows = np.asarray([self._row[image] for image in some])
                pixels = self.prepared.pixels.batch(rows, as_decoded=True)
                if epoch is None or self.augment is None:
                    return pixels
                return self.augment(pixels, torch.from_numpy(rows), epoch)

            options = self._options
            self.extracted += extract(view, images, load, self._engine, options.batch_size, options.dtype)
            enforce(self.space.folder.parent, options.budget_gib, keep=self.space.folder)
        return view


class ActivationDataModule(ImageDataModule):
    """An :class:`ImageDataModule` whose images are activations [C, h, w] at a cut, in the same order.

    Args:
        features: the activations; its views are the augmentation.
        channels_last: the memory layout of activations.
    """

    def __init__(
        self, features: FeatureImages, cut: Cut, batch_size: int, seed: int, channels_last: bool
    ) -> None:
        super().__init__(features.prepared, batch_size, seed, workers=0, augment=None)
        self.features = features
        self.cut = cut
        self.layout = torch.channels_last if channels_last else torch.contiguous_format

    def prepare_data(self) -> None:
        """Does nothing: no pixel is needed."""

    def source(self, split: str) -> Fetch:
        """Returns where the activations of a split come from."""
        return self._drawn if split == "train" and self.features.augment is not None else self._plain

    def logits(self, net: nn.Module, rows: Tensor, device: torch.device) -> Tensor:
        """Returns the logits of ``net``, a Classifier, for the un-augmented images of ``rows`` (int64 [n])."""
        assert isinstance(net, Classifier)
        logits: Tensor = UpperClassifier(net, self.cut)(self._plain(rows.numpy()).to(device))
        return logits

    def _plain(self, rows: NDArray[np.int64]) -> Tensor:
        return self._laid_out(self.features.plain[torch.from_numpy(rows)])

    def _drawn(self, rows: NDArray[np.int64]) -> Tensor:
        trainer = self.trainer
        assert trainer is not None
        drawn = self.features.training_features(trainer.current_epoch)
        return self._laid_out(drawn[torch.from_numpy(np.searchsorted(self.features.train_rows, rows))])

    def _laid_out(self, activations: Tensor) -> Tensor:
        return activations.contiguous(memory_format=self.layout) if activations.ndim == 4 else activations
