"""Folds BatchNorm with stored statistics into the convolution before it.

``scale * (conv(x) - mean) / std + shift`` is itself a convolution with other weights and a bias (e.g. Jacob et
al. 2018, section 3.2), so that an inference pass touches each feature map once less.
"""

from __future__ import annotations

import copy
import logging
import sys
from typing import cast

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

log = logging.getLogger(__name__)

SAME = "timm.layers.conv2d_same"  # no net of others has such a layer: timm is not imported to ask, 1.3 s


class _Tracer(fx.Tracer):
    """Takes convolutions and BatchNorm layers, timm's with their activation inside as well, as units."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (nn.Conv2d, _BatchNorm)) or super().is_leaf_module(m, module_qualified_name)


def folded(net: nn.Module) -> nn.Module:
    """Returns a copy of ``net`` in eval mode with every BatchNorm folded that the data flow allows.

    A pair is folded where the convolution's output goes to the BatchNorm and nowhere else, and both are used
    once. A net that can't be traced is copied as it is: slower, and as right.
    """
    copied = copy.deepcopy(net).eval()
    with torch.no_grad():
        for conv_name, norm_name in _pairs(copied):
            conv = cast(nn.Conv2d, copied.get_submodule(conv_name))
            norm = cast(_BatchNorm, copied.get_submodule(norm_name))
            copied.set_submodule(conv_name, fuse_conv_bn_eval(conv, norm.eval()))
            copied.set_submodule(norm_name, _after(norm))
    return copied


def _pairs(net: nn.Module) -> list[tuple[str, str]]:
    try:
        graph = _Tracer().trace(net)
    except Exception as error:  # control flow that depends on values
        log.debug("not folded: %s", error)
        return []
    modules = dict(net.named_modules())
    calls = [node for node in graph.nodes if node.op == "call_module"]
    times: dict[int, int] = {}
    for node in calls:  # by object: one module may stand under two names
        times[id(modules[node.target])] = times.get(id(modules[node.target]), 0) + 1
    pairs = []
    for node in calls:
        norm = modules[node.target]
        before = node.args[0] if node.args else None
        if not isinstance(norm, _BatchNorm) or not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        conv = modules[str(before.target)]
        once = times[id(conv)] == times[id(norm)] == 1 and len(before.users) == 1
        if _folds(conv) and once and norm.running_mean is not None:
            pairs.append((str(before.target), str(node.target)))
    return pairs


def _folds(conv: nn.Module) -> bool:
    """Says whether it is a plain convolution, or timm's with TensorFlow's padding; other kinds may change weights."""
    same = sys.modules.get(SAME)
    return type(conv) is nn.Conv2d or (same is not None and type(conv) is same.Conv2dSame)


def _after(norm: _BatchNorm) -> nn.Module:
    """Returns what is left of a folded layer: timm's BatchNormAct2d applies ``drop`` and ``act``."""
    rest = [norm.get_submodule(name) for name in ("drop", "act") if hasattr(norm, name)]
    return nn.Sequential(*rest) if rest else nn.Identity()
