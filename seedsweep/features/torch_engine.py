"""PyTorch itself: the net with its BatchNorm folded, channels last.

BatchNorm with stored statistics folds into the convolution before it: ``scale * (conv(x) - mean) / std + shift`` is
itself a convolution with other weights and a bias (e.g. Jacob et al. 2018, section 3.2), so that an inference pass
touches each feature map once less.
"""

from __future__ import annotations

import copy
import logging
import sys
import threading
from collections import Counter
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, fx, nn
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
    once. A net that can't be traced is copied as it is: slower, with the same results.
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
    times = Counter(id(modules[node.target]) for node in calls)  # by object: one may stand under two names
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


NAME, DEVICES, PRECISIONS, HINT = "torch", ("cpu", "cuda", "mps"), ("float32", "bfloat16"), ""


class TorchEngine:
    """Runs a folded copy of the net.

    Args:
        net: pixels to features.
    """

    name = NAME

    def __init__(self, net: nn.Module, precision: str, device: torch.device) -> None:
        # a GPU computes one batch while another one is fetched
        self.at_once = 2 if device.type == "cuda" else 1
        self._device = device
        self._bfloat16 = precision == "bfloat16"
        self._net = folded(net).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._largest: int | None = None  # images that fit into memory together; None: as many as are given
        self._lock = threading.Lock()  # for the flags of cuDNN, which are the process'

    def __call__(self, images: Tensor) -> Tensor:
        """Returns float32 features [B, ...] on the engine's device.

        Where memory is too small for the batch, it is computed in halves, and so are all batches after it.

        Raises:
            torch.OutOfMemoryError: there is no room for a single image.
        """
        while True:
            most = self._largest or len(images)
            try:
                parts = [self._features(part) for part in torch.split(images, most)]
                return parts[0] if len(parts) == 1 else torch.cat(parts)
            except torch.OutOfMemoryError:
                if min(most, len(images)) == 1:
                    raise
                self._largest = min(most, len(images)) // 2
            torch.cuda.empty_cache()

    def _features(self, images: Tensor) -> Tensor:
        """Computes in float32 where that is asked for: cuDNN would round products to TF32's 10 bits (8e-4 measured).

        The flags are the process': who trains at the same time does so in float32, too.
        """
        pixels = images.to(self._device).float().contiguous(memory_format=torch.channels_last)
        kind, cudnn = self._device.type, torch.backends.cudnn
        flags = (
            cudnn.flags(enabled=True, benchmark=True, allow_tf32=False) if kind == "cuda" else nullcontext()
        )
        mixed = torch.autocast(kind, dtype=torch.bfloat16, enabled=self._bfloat16)
        with self._lock, torch.inference_mode(), mixed, flags:
            features: Tensor = self._net(pixels)
            return features.float()


def available() -> bool:
    """Returns True: PyTorch is always installed."""
    return True


def build(net: nn.Module, size: tuple[int, int, int], precision: str, device: torch.device) -> TorchEngine:
    """Returns an engine for ``net``, pixels to features (see ``engines``)."""
    return TorchEngine(net, precision, device)
