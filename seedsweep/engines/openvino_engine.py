"""OpenVINO: direct convolutions at the speed of the processor; an extra (``pip install 'seedsweep[openvino]'``)."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import torch
from torch import Tensor, nn

from seedsweep import cores
from seedsweep.engines.base import Engine
from seedsweep.engines.fold import folded

NAME, DEVICES, PRECISIONS = "openvino", ("cpu",), ("float32", "bfloat16")
HINT = "pip install 'seedsweep[openvino]'"


class OpenVinoEngine:
    """Runs a folded copy of the net, converted once.

    Args:
        net: pixels to features.
        size: (3, height, width).
        batch_size: usual number of images a call; a smaller last batch is answered as well.
        precision: float32 | bfloat16.
    """

    name = NAME

    def __init__(self, net: nn.Module, size: tuple[int, int, int], batch_size: int, precision: str) -> None:
        self.net = folded(net)
        self.size = size
        self.batch_size = batch_size
        self.precision = precision
        self._compiled = self._compile()

    def __call__(self, images: Tensor) -> Tensor:
        """Returns float32 features [B, ...] on the CPU."""
        answer = self._compiled(images.cpu().float().contiguous().numpy())[0]
        return torch.from_numpy(answer.copy())  # OpenVINO writes the next answer into the same memory

    def _compile(self) -> Any:
        ov: Any = importlib.import_module("openvino")  # its stubs lack what it exports
        with torch.no_grad():
            model = ov.convert_model(
                self.net, example_input=torch.zeros(2, *self.size), input=[-1, *self.size]
            )
        kind = "bf16" if self.precision == "bfloat16" else "f32"
        options = {
            "INFERENCE_PRECISION_HINT": kind,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": min(cores.count(), torch.get_num_threads()),
        }
        return ov.Core().compile_model(model, "CPU", options)


def available() -> bool:
    """Says whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def rank(net: nn.Module, size: tuple[int, int, int]) -> int:
    """Returns 10 for every net (see ``base``)."""
    return 10


def build(
    net: nn.Module, size: tuple[int, int, int], batch_size: int, precision: str, device: torch.device
) -> Engine:
    """Returns the engine (see ``base``)."""
    return OpenVinoEngine(net, size, batch_size, precision)
