"""Feeds stored activations to Lightning in the place of images."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seedsweep.data.datamodule import Fetch, ImageDataModule
from seedsweep.features.image_features import FeatureImages
from seedsweep.models.classifier import Classifier, UpperClassifier
from seedsweep.models.cut import Cut
from seedsweep.training.options import ArmSettings


class ActivationDataModule(ImageDataModule):
    """An :class:`ImageDataModule` whose images are activations [C, h, w] at a cut, in the same order.

    Args:
        features: the activations; its views are the augmentation.
        cut: where they were taken.
        config: the whole configuration.
    """

    def __init__(self, features: FeatureImages, cut: Cut, config: ArmSettings) -> None:
        super().__init__(features.prepared, config.data.batch_size, config.seed, workers=0, augment=None)
        self.features = features
        self.cut = cut
        self.workers = 0  # nothing is decoded
        self.layout = torch.channels_last if config.trainer.channels_last else torch.contiguous_format

    def prepare_data(self) -> None:
        """Nothing: no pixel is needed."""

    def source(self, split: str) -> Fetch:
        """Returns where the activations of a split come from."""
        return self._drawn if split == "train" and self.features.augment is not None else self._plain

    def logits(self, net: nn.Module, rows: Tensor, device: torch.device) -> Tensor:
        """Returns what ``net``, a Classifier, answers to the un-augmented images of ``rows`` (int64 [n])."""
        assert isinstance(net, Classifier)
        answer: Tensor = UpperClassifier(net, self.cut)(self._plain(rows.numpy()).to(device))
        return answer

    def _plain(self, rows: NDArray[np.int64]) -> Tensor:
        return self._laid_out(self.features.plain[torch.from_numpy(rows)])

    def _drawn(self, rows: NDArray[np.int64]) -> Tensor:
        trainer = self.trainer
        assert trainer is not None
        drawn = self.features.training_features(trainer.current_epoch)
        return self._laid_out(drawn[torch.from_numpy(np.searchsorted(self.features.train_rows, rows))])

    def _laid_out(self, activations: Tensor) -> Tensor:
        return activations.contiguous(memory_format=self.layout) if activations.ndim == 4 else activations
