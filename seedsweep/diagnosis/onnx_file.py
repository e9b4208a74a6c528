"""Opens an ONNX file of any origin that classifies images: what it reads, and what its classes are called."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seedsweep import cores
from seedsweep.errors import SeedsweepError

KINDS: dict[str, type[np.number[Any]]] = {
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
}
NAMES = ("classes", "names", "labels")  # of metadata that lists the classes
OURS = "checkpoint_sha256"  # metadata that task=export writes
MOST = 32  # images a pass, where their number is free


@dataclass(frozen=True)
class OnnxModel:
    """A model in a file."""

    path: Path  # of the file
    session: Any  # of onnxruntime
    kind: type[np.number[Any]]  # of the numbers that it reads
    channels_last: bool  # whether it reads [B, H, W, 3] instead of [B, 3, H, W]
    size: tuple[int, int] | None  # (height, width) that it reads; None: any
    batch: int | None  # images that it reads at once; None: any number
    metadata: Mapping[str, str]  # of the file

    @property
    def is_ours(self) -> bool:
        """Whether ``task=export`` wrote it: it reads pixels 0 to 255, its preprocessing inside."""
        return OURS in self.metadata

    @property
    def classes(self) -> list[str] | None:
        """The names that the file tells, in the order of its outputs; None: it tells none."""
        for key in NAMES:
            if (text := self.metadata.get(key)) is None:
                continue
            for read in (json.loads, ast.literal_eval):  # the second: a dictionary of Python, as YOLO writes
                try:
                    told = read(text)
                except (ValueError, SyntaxError):
                    continue
                if isinstance(told, dict):
                    told = [told[number] for number in sorted(told, key=int)]
                if isinstance(told, list):
                    return [str(name) for name in told]
        return None

    def scores(self, images: Tensor) -> NDArray[np.float32]:
        """Returns what the model gives for images [n, 3, H, W], float or uint8: [n, C], one column a class.

        Raises:
            SeedsweepError: the model can't compute it, or gives something else.
        """
        pixels = images.numpy().astype(self.kind)
        if self.channels_last:
            pixels = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
        step = self.batch or MOST
        made = []
        for start in range(0, len(pixels), step):
            part = pixels[start : start + step]
            fill = (self.batch or len(part)) - len(part)
            padded = np.concatenate([part, np.repeat(part[-1:], fill, 0)]) if fill else part
            try:
                given = self.session.run(None, {self.session.get_inputs()[0].name: padded})[0]
            except Exception as error:  # of onnxruntime: many kinds
                reason = str(error).strip().splitlines()[0]
                raise SeedsweepError(f"{self.path} can't compute {list(padded.shape)} ({reason}).") from error
            if len(given) != len(padded) or np.prod(given.shape[1:]) < 1:
                raise SeedsweepError(
                    f"{self.path} must give one row of scores an image, but gave {list(given.shape)} for {len(padded)}."
                )
            made.append(np.asarray(given, dtype=np.float32).reshape(len(padded), -1)[: len(part)])
        scores = np.nan_to_num(np.concatenate(made), nan=-np.inf)
        if scores.shape[1] > 1:
            return scores
        middle = 0.5 if scores.min() >= 0 and scores.max() <= 1 else 0.0  # a sigmoid, or its logit
        return np.concatenate([2 * middle - scores, scores], 1)


def open_onnx(path: Path) -> OnnxModel:
    """Opens the file that ``diagnose.model`` names.

    Raises:
        SeedsweepError: no such file, onnxruntime is missing, it is no ONNX file, or reads no images.
    """
    if not path.is_file():
        raise SeedsweepError(f"diagnose.model={path} is no file; give a model as ONNX.")
    if importlib.util.find_spec("onnxruntime") is None:
        raise SeedsweepError("diagnose.model needs onnxruntime: pip install 'seedsweep[export]'.")
    runtime: Any = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = cores.count()
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of onnxruntime: many kinds
        raise SeedsweepError(
            f"diagnose.model={path} can't be read as ONNX ({str(error).strip()})."
        ) from error
    inputs = session.get_inputs()
    shape = inputs[0].shape if inputs else []
    what = f"{len(inputs)} inputs, the first {inputs[0].type} {shape}" if inputs else "no input"
    channels = [place for place in (1, 3) if len(shape) == 4 and shape[place] == 3]
    if len(inputs) != 1 or not channels or inputs[0].type not in KINDS:
        raise SeedsweepError(
            f"diagnose.model={path} has {what}: a model that reads one batch of images, [B, 3, H, W] or [B, H, W, 3], "
            "as uint8 or float, can be examined."
        )
    sides = [side for place, side in enumerate(shape) if place not in (0, channels[0])]
    size = (sides[0], sides[1]) if all(isinstance(side, int) for side in sides) else None
    batch = shape[0] if isinstance(shape[0], int) else None
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    return OnnxModel(path, session, KINDS[inputs[0].type], channels[0] == 3, size, batch, metadata)
