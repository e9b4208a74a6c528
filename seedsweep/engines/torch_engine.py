"""PyTorch itself: folded, channels last; compiled on a GPU."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from seedsweep.engines.base import Engine
from seedsweep.engines.fold import folded

log = logging.getLogger(__name__)

NAME, DEVICES, PRECISIONS, HINT = "torch", ("cpu", "cuda", "mps"), ("float32", "bfloat16"), ""


class TorchEngine:
    """Runs a folded copy of the net.

    Args:
        net: pixels to features.
        precision: float32 | bfloat16.
        device: where to compute.
    """

    name, at_once = NAME, 1

    def __init__(self, net: nn.Module, precision: str, device: torch.device) -> None:
        self.device = device
        self.bfloat16 = precision == "bfloat16"
        self.net = folded(net).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._compiled: nn.Module = self.net
        if device.type == "cuda":
            self._compiled = torch.compile(self.net, dynamic=False)  # type: ignore[assignment]

    def __call__(self, images: Tensor) -> Tensor:
        """Returns float32 features [B, ...] on the engine's device."""
        images = (
            images.to(self.device, non_blocking=True).float().contiguous(memory_format=torch.channels_last)
        )
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16),
        ):
            try:
                return self._run(self._compiled, images)
            except Exception as error:  # a compiler that this machine lacks
                if self._compiled is self.net:
                    raise
                log.info(
                    "torch.compile can't be used here (%s); going on without", str(error).splitlines()[0]
                )
                self._compiled = self.net
                return self._run(self.net, images)

    def _run(self, net: nn.Module, images: Tensor) -> Tensor:
        features: Tensor = net(images)
        return features.float()


def available() -> bool:
    """Always."""
    return True


def rank(net: nn.Module, size: tuple[int, int, int]) -> int:
    """Returns 0: it serves where no other does (see ``base``)."""
    return 0


def build(net: nn.Module, size: tuple[int, int, int], precision: str, device: torch.device) -> Engine:
    """Returns the engine (see ``base``)."""
    return TorchEngine(net, precision, device)
