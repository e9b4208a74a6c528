"""InceptionV3 (Szegedy et al. 2016), torchvision's: 94 BatchNorm layers, 2048 features."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torchvision.models import Inception_V3_Weights, inception_v3
from torchvision.models.inception import BasicConv2d

from seedsweep.models.backbone import MINUS_ONE_TO_ONE, Backbone, Source
from seedsweep.models.keras_twin import KerasTwin

WEIGHTS = Inception_V3_Weights.IMAGENET1K_V1
SOURCE = Source(url=WEIGHTS.url)

TAIL = ("avgpool", "dropout", "fc", "AuxLogits")
POOL = 3  # side of the average pools inside the blocks; their stride is 1


def build() -> Backbone:
    """Returns the net up to Mixed_7c, with random weights.

    The auxiliary classifier is left out. The weights want [-1, 1]; torchvision's ``transform_input=True`` only
    turns ImageNet-normalised input into that, so here the normalisation itself is mean = std = 0.5.
    """
    net = inception_v3(weights=None, aux_logits=True, transform_input=False, init_weights=False)
    layers = nn.Sequential(OrderedDict((n, m) for n, m in net.named_children() if n not in TAIL))
    return Backbone(layers, 2048, MINUS_ONE_TO_ONE, min_size=75)


class PoolBranch(nn.Module):
    """The convolution behind an average pool that has counted the padding's zeros; here they no longer count.

    Args:
        block: a convolution, BatchNorm, ReLU unit of torchvision; its layers are used as they are.
    """

    differs = "padding not counted"  # part of the net's digest: the tensors are those of the usual branch

    def __init__(self, block: BasicConv2d) -> None:
        super().__init__()
        self.conv, self.bn = block.conv, block.bn

    def forward(self, pooled: Tensor) -> Tensor:
        """Returns [B, C, h, w] of the pool's output [B, D, h, w]."""
        return functional.relu(self.bn(self.conv(_without_padding(pooled))), inplace=True)


@fx.wrap  # shapes decide here: for a tracer it is one step
def _without_padding(pooled: Tensor) -> Tensor:
    """Divides by the pixels that were there where the pool divided by all 9."""
    for axis in (-2, -1):
        side = pooled.shape[axis]
        place = torch.arange(side, device=pooled.device)
        there = (place > 0).int() + 1 + (place < side - 1).int()
        factor = (POOL / there).to(pooled.dtype)
        pooled = pooled * (factor[:, None] if axis == -2 else factor)
    return pooled


def pool_as_keras(net: nn.Module) -> None:
    """Makes the blocks' average pools leave the padding out, as TensorFlow's do; parameter names stay."""
    for block in net.children():
        branch = getattr(block, "branch_pool", None)
        if isinstance(branch, BasicConv2d):
            block.branch_pool = PoolBranch(branch)


def in_keras_order(net: nn.Module, numbered: bool) -> list[str]:
    """Returns the names of the convolution units as Keras orders them.

    Keras' code makes them in the order in which torchvision's runs them. ``model.layers`` has those first that are
    farthest from the output, counted in layers on the longest way.
    """
    graph = _Units().trace(net)
    modules = dict(net.named_modules())
    units = {node for node in graph.nodes if isinstance(modules.get(str(node.target)), BasicConv2d)}
    distance: dict[fx.Node, int] = {}  # from a node's output to the net's
    for node in reversed(graph.nodes):
        # a unit is three layers of Keras: convolution, BatchNorm, ReLU
        distance[node] = max((distance[user] + (3 if user in units else 1) for user in node.users), default=0)
    in_order = [node for node in graph.nodes if node in units]
    if not numbered:
        in_order.sort(key=lambda node: -distance[node])  # stable: equals stay in the order they run
    return [str(node.target) for node in in_order]


class _Units(fx.Tracer):
    """Takes convolution, BatchNorm and ReLU as one."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, BasicConv2d) or super().is_leaf_module(m, module_qualified_name)


KERAS = KerasTwin(MINUS_ONE_TO_ONE, in_keras_order, adapt=pool_as_keras)
