"""InceptionV3 (Szegedy et al. 2016), torchvision's: 94 BatchNorm layers, 2048 features."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn
from torchvision.models import Inception_V3_Weights, inception_v3

from seedsweep.backbones.base import MINUS_ONE_TO_ONE, Backbone, Source

WEIGHTS = Inception_V3_Weights.IMAGENET1K_V1
SOURCE = Source(url=WEIGHTS.url)

TAIL = ("avgpool", "dropout", "fc", "AuxLogits")


def build() -> Backbone:
    """Returns the trunk up to Mixed_7c, with random weights.

    The auxiliary classifier is left out. The weights want [-1, 1]; torchvision's ``transform_input=True`` only
    turns ImageNet-normalised input into that, so here the normalisation itself is mean = std = 0.5.
    """
    net = inception_v3(weights=None, aux_logits=True, transform_input=False, init_weights=False)
    trunk = nn.Sequential(OrderedDict((n, m) for n, m in net.named_children() if n not in TAIL))
    return Backbone(trunk, 2048, MINUS_ONE_TO_ONE, min_size=75)
