"""The net of every arm: preprocessing, backbone, global average pooling, dense head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seedsweep.models.cut import Cut
from seedsweep.models.options import HeadConfig

LEVELS = 2**16  # of the numbers that dropout draws


class Dropout(nn.Dropout):
    """Inverted dropout, as ``nn.Dropout``, with masks from :class:`Mask`.

    ``nn.Dropout`` takes no generator, so heads trained side by side could not draw the masks that each would
    draw alone; and on a CPU it spends some 10 ns on a number, here it is 1 ns.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Returns ``input`` with a share ``p`` set to zero and the rest scaled up; unchanged in eval mode."""
        if not self.training or not self.p:
            return input
        mask = Mask(torch.empty_like(input), self.p)
        return input * mask.draw().mul_(mask.scale)


class Mask:
    """Draws ones, and zeros in a share ``p`` of the places.

    A random number has 16 bits, four of them from one 64-bit number, so ``p`` is rounded to a multiple of 2**-16.
    ``scale`` makes up for what is dropped: the mean of scale x mask is 1.

    Args:
        kept: floats of any shape, where the mask is written.
        p: 0 to 0.99.
        generator: of the device of ``kept``; none: the device's own.
    """

    def __init__(self, kept: Tensor, p: float, generator: torch.Generator | None = None) -> None:
        dropped = round(p * LEVELS)
        self.scale = LEVELS / (LEVELS - dropped)
        self._kept = kept
        self._first = dropped - LEVELS // 2
        self._generator = generator
        self._words = torch.empty((kept.numel() + 3) // 4, dtype=torch.int64, device=kept.device)
        self._numbers = self._words.view(torch.int16)[: kept.numel()].view(kept.shape)

    def draw(self) -> Tensor:
        """Returns a new mask; the next call overwrites it."""
        self._words.random_(-(2**63), None, generator=self._generator)
        return torch.ge(self._numbers, self._first, out=self._kept)


class Head(nn.Sequential):
    """Dense(width), ReLU, Dropout, Linear; with ``width=0`` Dropout and Linear alone."""

    def __init__(self, features: int, classes: int, config: HeadConfig) -> None:
        layers: list[nn.Module] = []
        if config.width:
            layers += [nn.Linear(features, config.width), nn.ReLU(inplace=True)]
        layers += [Dropout(config.dropout), nn.Linear(config.width or features, classes)]
        super().__init__(*layers)

    @property
    def hidden(self) -> nn.Linear | None:
        """The first of two dense layers."""
        return self[0] if isinstance(self[0], nn.Linear) else None

    @property
    def dropout(self) -> float:
        """Share of the hidden units (or features) that are dropped."""
        layer = self[-2]
        assert isinstance(layer, Dropout)
        return layer.p

    @property
    def output(self) -> nn.Linear:
        """The last layer."""
        last = self[-1]
        assert isinstance(last, nn.Linear)
        return last


class FeatureNet(nn.Module):
    """Pixels to features: a :class:`Classifier` without its head.

    Args:
        preprocess: maps pixels 0..255 to what the backbone reads.
        backbone: maps [B, 3, H, W] to a feature map [B, C, h, w].
    """

    def __init__(self, preprocess: nn.Module, backbone: nn.Module) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.backbone = backbone

    def features(self, images: Tensor) -> Tensor:
        """Returns globally averaged features [B, C] of images [B, 3, H, W] with values 0..255."""
        features: Tensor = self.backbone(self.preprocess(images))
        return features.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Returns what :meth:`features` does."""
        return self.features(images)


class Classifier(FeatureNet):
    """Pixels to logits.

    Args:
        head: maps pooled features [B, C] to logits [B, N].
    """

    def __init__(self, preprocess: nn.Module, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__(preprocess, backbone)
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits [B, N] of images [B, 3, H, W] with values 0..255."""
        logits: Tensor = self.head(self.features(images))
        return logits


class UpperClassifier(Classifier):
    """A :class:`Classifier` that reads the activations at a cut where the other reads images.

    It holds the whole net, so that its checkpoint is the whole net's.

    Args:
        whole: shares its modules.
    """

    def __init__(self, whole: Classifier, cut: Cut) -> None:
        super().__init__(whole.preprocess, whole.backbone, whole.head)
        self.cut = cut

    def features(self, images: Tensor) -> Tensor:
        """Returns globally averaged features [B, C] of activations [B, ...] at the cut."""
        return self.cut.finish(images).mean(dim=(2, 3))
