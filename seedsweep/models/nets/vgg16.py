"""VGG16 (Simonyan and Zisserman 2015), torchvision's: no BatchNorm, 512 features."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import VGG16_Weights, vgg16

from seedsweep.models.backbone import IMAGENET, Backbone, InputSpec, Source
from seedsweep.models.keras_twin import KerasTwin

WEIGHTS = VGG16_Weights.IMAGENET1K_V1
SOURCE = Source(url=WEIGHTS.url)


def build() -> Backbone:
    """Returns the convolutional part, with random weights, drawn as torchvision draws them."""
    with torch.device("meta"):  # its three Dense layers, not used here, would take half a gigabyte and 1.8 s
        features = vgg16(weights=None, init_weights=False).features
    features.to_empty(device="cpu")
    for module in features.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
    net = nn.Sequential()
    net.add_module("features", features)
    return Backbone(net, 512, IMAGENET, min_size=32)


def in_keras_order(net: nn.Module, numbered: bool) -> list[str]:
    """Returns the names of the convolutions: they form one chain, so both orders are equal."""
    return [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d)]


# Keras' weights read blue, green, red from 0 to 255 less ImageNet's mean, as Caffe's did
KERAS = KerasTwin(
    InputSpec((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)),
    in_keras_order,
    bgr=True,
)
