"""Features that the checks share: each image passes the net once, then probes and heads cost seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedsweep.batchnorm.batches import check_single_images
from seedsweep.batchnorm.policy import depends_on_batch
from seedsweep.data.epoch import epoch_order
from seedsweep.data.manifest import SPLITS, ImageTable
from seedsweep.data.prepare import PreparedImages
from seedsweep.errors import SeedsweepError
from seedsweep.models.build import ArmBackbone
from seedsweep.models.classifier import FeatureNet
from seedsweep.training.assemble import backbone_as_set, backbone_of
from seedsweep.training.module import Source
from seedsweep.training.options import ArmSettings
from seedsweep.training.route import open_features

VIEWS = 3  # passes in train mode: a head that saw one draw of its batches only would learn that draw
EVAL_BATCH = 64


@dataclass(frozen=True)
class FrozenFeatures:
    """Features that a frozen net gives, as a head meets them."""

    # of all images as training sees them, [n + m, C] each; several where batch statistics normalise
    views: list[Tensor]
    plain: Tensor  # of the same images in eval mode, [n + m, C]: those of training, then those of validation
    n_train: int  # n

    @property
    def train(self) -> Tensor:
        """Of the training images in eval mode, [n, C]."""
        return self.plain[: self.n_train]

    @property
    def val(self) -> Tensor:
        """Of the validation images in eval mode, [m, C]."""
        return self.plain[self.n_train :]


def drawn_by_class(
    labels: NDArray[np.int64], count: Callable[[int], int], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draws ``count(n)`` of the n rows of each class among labels [N]; returns them in order."""
    parts = []
    for label in np.unique(labels):
        of_class = rng.permutation(np.flatnonzero(labels == label))
        parts.append(of_class[: count(len(of_class))])
    return np.sort(np.concatenate(parts))


def part_of(prepared: PreparedImages, rows: NDArray[np.int64]) -> PreparedImages:
    """Returns the images of ``rows`` alone, in their order."""
    listed = rows.tolist()
    return PreparedImages(prepared.table.part(listed), prepared.pixels.select(listed))


class Material:
    """Images of training and validation, up to a limit of each, and the features of frozen nets for them."""

    def __init__(self, prepared: PreparedImages, limit: int, seed: int) -> None:
        self.classes = prepared.table.classes
        train, val, test = (_looked_at(prepared.table, split, limit, seed) for split in SPLITS)
        self.images = part_of(prepared, np.concatenate([train, val]))
        self.test_images = part_of(prepared, test)
        self.n_train = len(train)
        self.labels = torch.from_numpy(self.images.table.labels)
        self.train_labels, self.val_labels = self.labels[: self.n_train], self.labels[self.n_train :]
        self._features: dict[str, FrozenFeatures] = {}

    def train_pixels(self, positions: Tensor) -> Tensor:
        """Returns uint8 [B, 3, H, W] of training images by position 0..n-1."""
        return self.images.pixels.batch(positions.numpy())

    def some_train(self, most: int) -> Tensor:
        """Returns up to ``most`` positions of training images, drawn: the table's first are of one class."""
        return torch.randperm(self.n_train, generator=torch.Generator().manual_seed(0))[:most]

    def features(self, config: ArmSettings) -> FrozenFeatures:
        """Returns the features that the frozen net of ``config`` gives, with its preprocessing and BatchNorm policy.

        Args:
            config: of a frozen backbone whose policy trains nothing; augmentation is left out.

        Raises:
            SeedsweepError: the net or its weights can't be had, or features can't be stored.
        """
        batchwise = config.batchnorm.training_statistics == "batch"
        parts = (config.backbone, config.preprocess, config.batchnorm, config.data.image_size)
        key = repr((*parts, config.data.batch_size if batchwise else 0))
        if key not in self._features:
            made = self._batchwise(config) if batchwise else None
            if made is None:
                every = self.plain(config, self.images)
                made = FrozenFeatures([every], every, self.n_train)
            self._features[key] = made
        return self._features[key]

    def test_features(self, config: ArmSettings) -> Tensor:
        """Returns the features of the test images in eval mode, [k, C]; as :meth:`features`."""
        return self.plain(config, self.test_images)

    def plain(self, config: ArmSettings, images: PreparedImages) -> Tensor:
        """Returns the features [n, C] of ``images`` in eval mode, from the store; as :meth:`features`."""
        try:
            # statistics that are recalibrated are those of the training images
            source: Source = open_features(config, images, backbone_of(config, self.images))
        except OSError as error:
            raise SeedsweepError(
                f"the features can't be written below {config.paths.cache} ({error}): make room there, or give "
                "another paths.cache."
            ) from error
        return source.plain[torch.arange(len(images.table.paths))]  # type: ignore[attr-defined,no-any-return]

    @torch.no_grad()
    def _batchwise(self, config: ArmSettings) -> FrozenFeatures | None:
        """Passes the images in training's batches, and then in eval mode.

        Those of validation pass with them, for each image in turn stands for an unseen one; no label is seen.
        """
        backbone = backbone_as_set(config)
        if not depends_on_batch(backbone.net):
            return None
        n = len(self.images.table.paths)
        check_single_images(backbone.net, config.data.image_size, config.data.batch_size, n)
        net = feature_net(backbone)
        views = []
        for view in range(VIEWS):
            order = epoch_order(n, config.data.batch_size, config.seed, view)
            features = torch.full((n, backbone.net.num_features), torch.nan)
            net.train()
            for positions in torch.split(order, config.data.batch_size):
                features[positions] = net(self.images.pixels.batch(positions.numpy()))
            views.append(features)
        net.eval()
        every = torch.split(torch.arange(n), EVAL_BATCH)
        plain = torch.cat([net(self.images.pixels.batch(rows.numpy())) for rows in every])
        for features in views:  # a last image by itself has no batch statistics, and is left out of its epoch
            features.copy_(torch.where(features.isnan(), plain, features))
        return FrozenFeatures(views, plain, self.n_train)


def _looked_at(table: ImageTable, split: str, limit: int, seed: int) -> NDArray[np.int64]:
    """Returns the rows of a split, about ``limit`` at most."""
    rows = table.indices(split)
    if (n := len(rows)) <= limit:
        return rows
    rng = np.random.default_rng(seed)
    return rows[drawn_by_class(table.labels[rows], lambda of_class: max(1, round(limit / n * of_class)), rng)]


def feature_net(backbone: ArmBackbone) -> FeatureNet:
    """Returns a net from pixels to pooled features, in the fastest memory layout."""
    return FeatureNet(backbone.preprocess, backbone.net).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
