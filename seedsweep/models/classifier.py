"""The net of every arm: preprocessing, backbone, global average pooling, dense head."""

from __future__ import annotations

from torch import Tensor, nn

from seedsweep.models.cut import Cut
from seedsweep.models.dropout import Dropout
from seedsweep.models.options import HeadConfig


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


class Classifier(nn.Module):
    """Pixels to logits.

    Args:
        preprocess: maps pixels 0..255 to what the backbone reads.
        backbone: maps [B, 3, H, W] to a feature map [B, C, h, w].
        head: maps pooled features [B, C] to logits [B, N].
    """

    def __init__(self, preprocess: nn.Module, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.backbone = backbone
        self.head = head

    def features(self, images: Tensor) -> Tensor:
        """Returns globally averaged features [B, C] of images [B, 3, H, W] with values 0..255."""
        features: Tensor = self.backbone(self.preprocess(images))
        return features.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits [B, N] of images [B, 3, H, W] with values 0..255."""
        logits: Tensor = self.head(self.features(images))
        return logits


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

    def forward(self, images: Tensor) -> Tensor:
        """Returns globally averaged features [B, C] of images [B, 3, H, W] with values 0..255."""
        features: Tensor = self.backbone(self.preprocess(images))
        return features.mean(dim=(2, 3))


class UpperClassifier(Classifier):
    """A :class:`Classifier` that reads the activations at a cut where the other reads images.

    It holds the whole net, so that its checkpoint is the whole net's.

    Args:
        whole: shares its modules.
        cut: of its backbone.
    """

    def __init__(self, whole: Classifier, cut: Cut) -> None:
        super().__init__(whole.preprocess, whole.backbone, whole.head)
        self.cut = cut

    def features(self, images: Tensor) -> Tensor:
        """Returns globally averaged features [B, C] of activations [B, ...] at the cut."""
        return self.cut.finish(images).mean(dim=(2, 3))
