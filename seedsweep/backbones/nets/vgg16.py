"""VGG16 (Simonyan and Zisserman 2015), torchvision's: no BatchNorm, 512 features."""

from __future__ import annotations

from torch import nn
from torchvision.models import VGG16_Weights, vgg16

from seedsweep.backbones.base import IMAGENET, Backbone, Source

WEIGHTS = VGG16_Weights.IMAGENET1K_V1
SOURCE = Source(url=WEIGHTS.url)


def build() -> Backbone:
    """Returns the convolutional trunk, with random weights."""
    trunk = nn.Sequential()
    trunk.add_module("features", vgg16(weights=None).features)
    return Backbone(trunk, 512, IMAGENET, min_size=32)
