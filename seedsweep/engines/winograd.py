"""How much of a net's arithmetic Winograd's algorithm can shorten."""

from __future__ import annotations

import logging
from typing import cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call

log = logging.getLogger(__name__)

# a study wraps the same layers anew for each trial: by the first of them, their number and the size of the images
_known: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], float]] = WeakKeyDictionary()


def winograd_share(net: nn.Module, size: tuple[int, int, int]) -> float:
    """Returns the share of multiply-adds in 3x3 convolutions of stride 1 over whole channels, 0..1.

    Nothing is computed: only shapes go through the net (PyTorch's meta device), so it takes milliseconds. A net
    that can't be followed in this way has a share of 0.

    Args:
        net: left as it is.
        size: (3, height, width) of the images.
    """
    layers = [module for module in net.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    if not layers:
        return 0.0
    known, key = _known.setdefault(layers[0], {}), (len(layers), *size)
    if key not in known:
        known[key] = _share(net, layers, size)
    return known[key]


def _share(net: nn.Module, layers: list[nn.Conv2d | nn.Linear], size: tuple[int, int, int]) -> float:
    total = short = 0

    def count(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total, short
        if isinstance(module, nn.Conv2d):
            work = output[0].numel() * module.weight[0].numel()
            short += work * _is_short(module)
        else:
            work = output[0].numel() * cast(nn.Linear, module).in_features
        total += work

    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        state = {name: value.to("meta") for name, value in (*net.named_parameters(), *net.named_buffers())}
        with torch.no_grad():
            functional_call(net, state, (torch.empty(1, *size, device="meta"),))
    except Exception as error:  # control flow that depends on values
        log.debug("the shapes of the net can't be followed: %s", error)
        return 0.0
    finally:
        for hook in hooks:
            hook.remove()
    return short / total if total else 0.0


def _is_short(conv: nn.Conv2d) -> bool:
    return (
        conv.kernel_size == (3, 3) and conv.stride == (1, 1) and conv.dilation == (1, 1) and conv.groups == 1
    )
