"""OpenVINO: direct convolutions at the speed of the processor; an extra (``pip install 'seedsweep[openvino]'``).

A batch is computed in small pieces, each on one core or a few. All cores on one batch would wait for one another at the
end of every layer, a decoder that needs a core for a moment would stop them all, and what a layer hands to the next
would leave the processor's cache.
"""

from __future__ import annotations

import importlib
import importlib.util
import queue
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seedsweep import cores
from seedsweep.features.torch_engine import folded

NAME, DEVICES, PRECISIONS = "openvino", ("cpu",), ("float32", "bfloat16")
HINT = "pip install 'seedsweep[openvino]'"

# Measured on two cores at 224x224, against both cores on one batch of 32: EfficientNet-Lite0 1.2 times faster,
# MobileNetV3 1.2, ConvNeXt-T 1.1; InceptionV3, InceptionV4, VGG16 and ResNet50 the same or up to .03 faster.
IMAGES = 2  # of a piece
COPIES = 16  # at most: a batch of 32 has a piece for each

Copy = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class SideBySide:
    """Computes with several copies of a net; may be called from several threads.

    Args:
        copies: of the net: float32 pixels [b, 3, H, W], contiguous, to features [b, ...] in memory of their own; each
            is called by one thread at a time, and computes outside Python's lock.
        piece: images of a call; the last of a batch may have fewer.
    """

    def __init__(self, copies: Sequence[Copy], piece: int) -> None:
        self.piece = piece
        # for as long as the engine lives: OpenVINO gives each thread that ever called it a place among its streams
        self._pool = ThreadPoolExecutor(len(copies))
        self._free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for copy in copies:
            self._free.put(copy)

    def __call__(self, images: Tensor) -> Tensor:
        """Returns float32 features [B, ...] of images [B, 3, H, W], uint8 or float32, on the CPU."""
        pixels = images.cpu().numpy()
        parts = [pixels[at : at + self.piece] for at in range(0, len(pixels), self.piece)]
        return torch.from_numpy(np.concatenate(list(self._pool.map(self._compute, parts))))

    def _compute(self, part: NDArray[np.generic]) -> NDArray[np.float32]:
        copy = self._free.get()
        try:
            return copy(np.ascontiguousarray(part, dtype=np.float32))
        finally:
            self._free.put(copy)


class OpenVinoEngine:
    """Runs a folded copy of the net, converted once, on pieces of a batch side by side.

    Args:
        net: pixels to features.
    """

    name = NAME
    at_once = 2  # a copy that is idle at the end of one call serves the next

    def __init__(self, net: nn.Module, size: tuple[int, int, int], precision: str) -> None:
        threads = min(cores.count(), torch.get_num_threads())
        copies = min(threads, COPIES)
        compiled = _compile(folded(net), size, precision, threads, copies)
        self._run = SideBySide([_copy(compiled) for _ in range(copies)], IMAGES)

    def __call__(self, images: Tensor) -> Tensor:
        """Returns float32 features [B, ...] on the CPU."""
        return self._run(images)


@cache
def _core() -> Any:
    """Returns OpenVINO's core: one for the process, which stays until its end.

    Its CPU plugin gives the thread that makes it a stack for signals, and at its own end gives back the one before, if
    that is there or not: of two cores whose first goes first, the second leaves the first one's, and the next Ctrl-C or
    ended child process is a segmentation fault (plugin.cpp, SigAltStackSetup; seen with OpenVINO 2026.4.1).
    """
    return importlib.import_module("openvino").Core()


def _compile(net: nn.Module, size: tuple[int, int, int], precision: str, threads: int, copies: int) -> Any:
    ov: Any = importlib.import_module("openvino")  # its stubs lack what it exports
    with torch.no_grad(), warnings.catch_warnings():
        for kind in (FutureWarning, torch.jit.TracerWarning):  # type: ignore[attr-defined]
            warnings.simplefilter("ignore", kind)  # of torch.jit.trace; the size of images is fixed here, too
        model = ov.convert_model(net, example_input=torch.zeros(2, *size), input=[-1, *size])
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        "NUM_STREAMS": copies,
        "INFERENCE_NUM_THREADS": threads,
    }
    return _core().compile_model(model, "CPU", options)


def _copy(compiled: Any) -> Copy:
    request = compiled.create_infer_request()

    def compute(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        features: NDArray[np.float32] = request.infer({0: pixels}, share_inputs=True)[0]  # a copy
        return features

    return compute


def available() -> bool:
    """Says whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def build(net: nn.Module, size: tuple[int, int, int], precision: str, device: torch.device) -> OpenVinoEngine:
    """Returns an engine for ``net``, pixels to features (see ``engines``)."""
    return OpenVinoEngine(net, size, precision)
