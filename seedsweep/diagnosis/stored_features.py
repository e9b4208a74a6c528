"""Features that the checks share: each image passes the net once, then probes and heads cost seconds."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedsweep.batchnorm.batches import check_single_images
from seedsweep.batchnorm.policy import depends_on_batch
from seedsweep.data.epoch import epoch_order
from seedsweep.data.manifest import ImageTable
from seedsweep.data.prepare import PreparedImages
from seedsweep.errors import SeedsweepError
from seedsweep.models.build import ArmBackbone
from seedsweep.models.classifier import FeatureNet
from seedsweep.training.assemble import backbone_as_set, backbone_of
from seedsweep.training.options import ArmSettings
from seedsweep.training.predict import Source
from seedsweep.training.stored import open_features

VIEWS = 3  # passes in train mode: a head that saw one draw of its batches only would learn that draw
EVAL_BATCH = 64


@dataclass(frozen=True)
class Answers:
    """What a frozen net answers to the images, as a head meets it.

    Attributes:
        views: of the training images as training saw them, [n, C] each; several where batch statistics normalise.
        train: of the same images in eval mode, [n, C].
        val: of the validation images in eval mode, [m, C].
    """

    views: list[Tensor]
    train: Tensor
    val: Tensor


def some_rows(table: ImageTable, split: str, limit: int, seed: int) -> NDArray[np.int64]:
    """Returns up to ``limit`` rows of a split, chosen by ``seed``, with each class's share kept."""
    rows = table.indices(split)
    if len(rows) <= limit:
        return rows
    rng = np.random.default_rng(seed)
    share = limit / len(rows)
    chosen = []
    for label in range(len(table.classes)):
        of_class = rng.permutation(rows[table.labels[rows] == label])
        chosen.append(of_class[: max(1, round(share * len(of_class)))])
    return np.sort(np.concatenate(chosen))


def part_of(prepared: PreparedImages, rows: NDArray[np.int64]) -> PreparedImages:
    """Returns the images of ``rows`` alone, in their order."""
    table = prepared.table
    listed = rows.tolist()
    part = ImageTable(
        table.root,
        table.classes,
        [table.paths[row] for row in listed],
        table.labels[rows],
        table.splits[rows],
        [table.groups[row] for row in listed],
        [table.digests[row] for row in listed],
    )
    return PreparedImages(part, prepared.pixels.select(listed))


class Material:
    """Images of training and validation, up to a limit of each, and the features of frozen nets for them.

    Args:
        prepared: all images of the run.
        limit: training images, and validation images, that are looked at.
        seed: of the choice.
    """

    def __init__(self, prepared: PreparedImages, limit: int, seed: int) -> None:
        self.classes = prepared.table.classes
        train = some_rows(prepared.table, "train", limit, seed)
        val = some_rows(prepared.table, "val", limit, seed)
        self.images = part_of(prepared, np.concatenate([train, val]))
        self.n_train = len(train)
        labels = torch.from_numpy(self.images.table.labels)
        self.train_labels, self.val_labels = labels[: self.n_train], labels[self.n_train :]
        self._answers: dict[str, Answers] = {}

    def train_pixels(self, positions: Tensor) -> Tensor:
        """Returns uint8 [B, 3, H, W] of training images by position 0..n-1."""
        return self.images.pixels.batch(positions.numpy())

    def some_train(self, most: int) -> Tensor:
        """Returns up to ``most`` positions of training images, drawn: the table's first are of one class."""
        return torch.randperm(self.n_train, generator=torch.Generator().manual_seed(0))[:most]

    def answers(self, config: ArmSettings) -> Answers:
        """Returns what the frozen net of ``config`` answers, with its preprocessing and BatchNorm policy.

        Args:
            config: of a frozen backbone whose policy trains nothing; augmentation is left out.

        Raises:
            SeedsweepError: the net or its weights can't be had, or features can't be stored.
        """
        policy = config.batchnorm
        batchwise = policy.training_statistics == "batch"
        key = json.dumps(
            [
                asdict(config.backbone),
                asdict(config.preprocess),
                asdict(policy),
                config.data.image_size,
                config.data.batch_size if batchwise else 0,
            ],
            allow_nan=False,
        )
        if key not in self._answers:
            made = self._batchwise(config) if batchwise else None
            self._answers[key] = made or self._stored(config)
        return self._answers[key]

    def _stored(self, config: ArmSettings) -> Answers:
        try:
            features: Source = open_features(config, self.images, backbone_of(config, self.images))
        except OSError as error:
            raise SeedsweepError(
                f"the features can't be written below {config.paths.cache} ({error}): make room there, or give "
                "another paths.cache."
            ) from error
        every = features.plain[torch.arange(len(self.images.table.paths))]  # type: ignore[attr-defined]
        train, val = every[: self.n_train], every[self.n_train :]
        return Answers([train], train, val)

    def _batchwise(self, config: ArmSettings) -> Answers | None:
        """Passes the training images in training's batches, and then all images in eval mode."""
        backbone = backbone_as_set(config)
        if not depends_on_batch(backbone.net):
            return None
        check_single_images(backbone.net, config.data.image_size, config.data.batch_size, self.n_train)
        net = feature_net(backbone)
        views = []
        for view in range(VIEWS):
            order = epoch_order(self.n_train, config.data.batch_size, config.seed, view)
            features = torch.full((self.n_train, backbone.net.num_features), torch.nan)
            net.train()
            for positions in torch.split(order, config.data.batch_size):
                features[positions] = net(self.train_pixels(positions))
            views.append(features)
        net.eval()
        every = torch.arange(len(self.images.table.paths))
        plain = torch.cat(
            [net(self.images.pixels.batch(rows.numpy())) for rows in torch.split(every, EVAL_BATCH)]
        )
        train, val = plain[: self.n_train], plain[self.n_train :]
        for features in views:  # a last image by itself has no batch statistics, and is left out of its epoch
            features.copy_(torch.where(features.isnan(), train, features))
        return Answers(views, train, val)


class _Features(FeatureNet):
    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).clone()


def feature_net(backbone: ArmBackbone) -> FeatureNet:
    """Returns pixels to pooled features, without gradients, in the fastest memory layout."""
    return _Features(backbone.preprocess, backbone.net).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
