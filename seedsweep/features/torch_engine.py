"""PyTorch itself: folded, channels last; on a GPU as CUDA graphs, compiled where that pays."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from seedsweep.features.engine import Engine
from seedsweep.features.fold import folded
from seedsweep.features.graphs import LANES, QUEUED, Lanes, Net

log = logging.getLogger(__name__)

NAME, DEVICES, PRECISIONS, HINT = "torch", ("cpu", "cuda", "mps"), ("float32", "bfloat16"), ""
RANK = 0  # it serves where no other does


class TorchEngine:
    """Runs a folded copy of the net.

    Args:
        net: pixels to features.
        precision: float32 | bfloat16.
        device: where to compute; not a CUDA GPU.
    """

    name, at_once = NAME, 1

    def __init__(self, net: nn.Module, precision: str, device: torch.device) -> None:
        self.device = device
        self._bfloat16 = precision == "bfloat16"
        self._net = _copied(net, device)

    def __call__(self, images: Tensor) -> Tensor:
        """Returns float32 features [B, ...] on the engine's device."""
        images = images.to(self.device).float().contiguous(memory_format=torch.channels_last)
        with _computing(self.device, self._bfloat16):
            features: Tensor = self._net(images)
            return features.float()


class CudaEngine:
    """Runs a folded copy of the net as CUDA graphs.

    ``torch.compile`` doubles the speed of most nets and takes as long as tens of thousands of images: on an H200 16 to
    22 s, in which InceptionV3 answers 100,000 at 227x454 as it is. So the net is compiled once it has computed for as
    long as that takes: who has few images never waits for it, and who has many waits once, at most twice as long as if
    it had been known beforehand (the ski rental rule, Karlin et al. 1988).

    Args:
        net: pixels to features.
        size: (3, height, width) of the images.
        precision: float32 | bfloat16.
        device: a CUDA GPU.
    """

    name, at_once = NAME, LANES * QUEUED
    compile_after = 20.0  # seconds

    def __init__(
        self, net: nn.Module, size: tuple[int, int, int], precision: str, device: torch.device
    ) -> None:
        self.device = device
        self._bfloat16 = precision == "bfloat16"
        self._net = _copied(net, device)
        self._lanes = Lanes(size, device)
        self._record(self._net)
        self._busy = 0.0  # seconds of all threads
        self._tried = False
        self._mutex = threading.Lock()

    def __call__(self, images: Tensor) -> Tensor:
        """Returns float32 features [B, ...] on the engine's device; may be called from several threads."""
        if not self._tried and self._busy > self.compile_after * self.at_once:
            self.compile()
        started = time.perf_counter()
        features = self._lanes(images)
        self._busy += time.perf_counter() - started
        return features

    def compile(self) -> None:
        """Compiles the net, once; where that can't be done, it goes on as it is."""
        with self._mutex:
            if self._tried:
                return
            self._tried, started = True, time.perf_counter()
            try:
                self._record(torch.compile(self._net, dynamic=False))
                log.info("features: the net is compiled (%.0f s)", time.perf_counter() - started)
            except Exception as error:  # a compiler that this machine lacks, or a net that it doesn't know
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                log.info("torch.compile can't be used here (%s); going on without", reason)

    def _record(self, net: Net) -> None:
        device, bfloat16 = self.device, self._bfloat16  # not self: a cycle would keep the GPU's memory

        def run(pixels: Tensor) -> Tensor:
            with _computing(device, bfloat16):
                features: Tensor = net(pixels)
                return features.float()

        with torch.inference_mode():
            self._lanes.record(run)


def _copied(net: nn.Module, device: torch.device) -> nn.Module:
    return folded(net).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


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
    """Always."""
    return True


def build(net: nn.Module, size: tuple[int, int, int], precision: str, device: torch.device) -> Engine:
    """Returns the engine (see ``base``)."""
    if device.type == "cuda":
        return CudaEngine(net, size, precision, device)
    return TorchEngine(net, precision, device)
