"""PyTorch itself: the net with its BatchNorm folded, channels last."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from seedsweep.features.fold import folded

NAME, DEVICES, PRECISIONS, HINT = "torch", ("cpu", "cuda", "mps"), ("float32", "bfloat16"), ""


class TorchEngine:
    """Runs a folded copy of the net.

    Args:
        net: pixels to features.
        precision: float32 | bfloat16.
        device: where to compute.
    """

    name = NAME

    def __init__(self, net: nn.Module, precision: str, device: torch.device) -> None:
        self.at_once = (
            2 if device.type == "cuda" else 1
        )  # a GPU computes one batch while another one is fetched
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
        pixels = images.to(self._device).float().contiguous(memory_format=torch.channels_last)
        with self._lock, _computing(self._device, self._bfloat16):
            features: Tensor = self._net(pixels)
            return features.float()


@contextmanager
def _computing(device: torch.device, bfloat16: bool) -> Iterator[None]:
    """Float32 means float32: cuDNN would round the products of its convolutions to TF32's 10 bits (8e-4 measured).

    Its flags are the process': who trains at the same time does so in float32, too.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16))
        if device.type == "cuda":
            flags = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
            stack.enter_context(flags)
        yield


def available() -> bool:
    """Returns True: PyTorch is always installed."""
    return True


def build(net: nn.Module, size: tuple[int, int, int], precision: str, device: torch.device) -> TorchEngine:
    """Returns an engine for ``net``, pixels to features (see ``engines``)."""
    return TorchEngine(net, precision, device)
