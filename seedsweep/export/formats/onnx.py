"""ONNX, by torch's own exporter; read back with onnxruntime."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seedsweep import cores
from seedsweep.errors import SeedsweepError
from seedsweep.export.formats.torch_export import program

NAME, SUFFIX = "onnx", ".onnx"
INPUT, OUTPUT = "pixels", "probabilities"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def check() -> None:
    """Raises SeedsweepError unless all that is needed is installed."""
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise SeedsweepError(
            f"export.format=onnx needs {', '.join(missing)}: pip install 'seedsweep[export]', or take "
            "export.format=torch_export."
        )


def write(net: nn.Module, example: Tensor, about: dict[str, str], path: Path) -> None:
    """Writes ``net`` as one file with a free number of images; ``about`` is its ``metadata_props``."""
    for name in ("onnxscript", "onnx_ir", "torch.onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    found: Any = torch.onnx.export(
        program(net, example), input_names=[INPUT], output_names=[OUTPUT], dynamo=True, verbose=False
    )
    found.model.metadata_props.update(about)
    found.save(path, external_data=False)


def reader(path: Path) -> Callable[[Tensor], Tensor]:
    """Returns what computes probabilities with the file alone."""
    runtime: Any = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = cores.count()
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def probabilities_of(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])

    return probabilities_of
