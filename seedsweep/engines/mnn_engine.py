"""MNN: float32 convolutions by Winograd's algorithm; an extra (``pip install 'seedsweep[mnn]'``).

A 3x3 convolution of stride 1 then takes 2 to 5 times fewer products (Lavin and Gray 2016, arXiv 1509.09308) and
differs from the direct sum by rounding alone. That rounding grows with the tiles, so each engine is held against
PyTorch before it serves, and takes small tiles where large ones are not exact enough.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seedsweep import cores
from seedsweep.engines.base import Engine
from seedsweep.engines.fold import folded
from seedsweep.engines.side_by_side import AT_ONCE, SideBySide
from seedsweep.engines.winograd import winograd_share

log = logging.getLogger(__name__)

NAME, DEVICES, PRECISIONS = "mnn", ("cpu",), ("float32",)
HINT = "pip install 'seedsweep[mnn]'"

PACKAGES = ("MNN", "onnx", "onnxscript")
# from this share of Winograd's convolutions on it was as fast as OpenVINO or faster, without AVX-512;
# with it, it was slower with any share (benchmarks/engines.py)
PAYS = 0.3
IMAGES = 2  # a session's call: more leave the processor's cache
SESSIONS = 4  # at most: each holds the transformed weights, up to 7 times as large
TILES = 3, 2  # of MNN's hint WINOGRAD_MEMORY_LEVEL: outputs of up to 6x6, then of 2x2
HINT_TILES = 3  # that hint's number
# relative, of the features of PROBES images: what large tiles may cost (of photographs it was up to 13 times as
# large), and what no rounding comes to
ROUNDING, BROKEN = 1.5e-5, 1e-2
PROBES = 2

# MNN.tools is never imported: its module tries to install a package and to report to its makers.
CONVERT = "import sys, _tools; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"


class MnnEngine:
    """Runs a folded copy of the net in sessions side by side, each on its share of the cores.

    Args:
        net: pixels to features.
        size: (3, height, width).

    Raises:
        RuntimeError: MNN can't convert the net, or answers otherwise than PyTorch.
    """

    name, at_once, device = NAME, AT_ONCE, torch.device("cpu")

    def __init__(self, net: nn.Module, size: tuple[int, int, int]) -> None:
        threads = min(cores.count(), torch.get_num_threads())
        n = min(threads, SESSIONS)
        plain = folded(net)
        probes = _probes(size)
        with tempfile.TemporaryDirectory() as folder:
            model, truth = _convert(plain, size, Path(folder), probes)
            for tiles in TILES:
                lanes = [_Session(model, size, (threads + i) // n, tiles) for i in range(n)]
                self._run = SideBySide(lanes, IMAGES)
                error = _distance(self(probes).flatten(1), truth)
                log.debug("mnn: tiles %d, %.1e from PyTorch", tiles, error)
                if error <= ROUNDING:
                    return
        if not error <= BROKEN:  # NaN as well
            raise RuntimeError(f"its features would be {error:.1%} from PyTorch's")

    def __call__(self, images: Tensor) -> Tensor:
        """Returns float32 features [B, ...] on the CPU."""
        return self._run(images)


class _Session:
    """The net on ``threads`` threads, for ``IMAGES`` images at a time."""

    def __init__(self, model: Path, size: tuple[int, int, int], threads: int, tiles: int) -> None:
        with _silent():
            self.mnn: Any = importlib.import_module("MNN")
            # an interpreter each: sessions of one wait for one another
            self.net = self.mnn.Interpreter(str(model))
            self.net.setSessionHint(HINT_TILES, tiles)
            options = {"backend": "CPU", "precision": "high", "numThread": threads}
            self.session = self.net.createSession(options)
        self.input = self.net.getSessionInput(self.session)
        self.output = self.net.getSessionOutput(self.session)
        self.pixels = np.zeros((IMAGES, *size), dtype=np.float32)

    def __call__(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the features of at most ``IMAGES`` images."""
        self.pixels[: len(pixels)] = pixels
        self.input.copyFrom(self._host(self.pixels))
        self.net.runSession(self.session)
        features = np.empty(self.output.getShape(), dtype=np.float32)
        host = self._host(features)
        self.output.copyToHostTensor(host)
        found: NDArray[np.float32] = np.array(host.getNumpyData(), dtype=np.float32)
        return found.reshape(features.shape)[: len(pixels)]

    def _host(self, array: NDArray[np.float32]) -> Any:
        kind, order = self.mnn.Halide_Type_Float, self.mnn.Tensor_DimensionType_Caffe
        return self.mnn.Tensor(array.shape, kind, array, order)


def _distance(answer: Tensor, truth: Tensor) -> float:
    """Returns the largest relative difference of an image's features [B, C]; 0 where both are 0."""
    tiny = torch.finfo(truth.dtype).tiny
    return float(((answer - truth).norm(dim=1) / truth.norm(dim=1).clamp(min=tiny)).max())


def _probes(size: tuple[int, int, int]) -> Tensor:
    """Returns smooth patches, values 0..255: pixel noise would all look the same to a net."""
    coarse = torch.rand(PROBES, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 255
    return nn.functional.interpolate(coarse, size[1:], mode="bilinear")


def _convert(net: nn.Module, size: tuple[int, int, int], folder: Path, probes: Tensor) -> tuple[Path, Tensor]:
    """Writes ``net`` for MNN by way of ONNX.

    Returns:
        The file, and PyTorch's answer [B, C] to ``probes``, for which there is time meanwhile.

    Raises:
        RuntimeError: it can't be converted.
    """
    source, model = folder / "net.onnx", folder / "net.mnn"
    _write_onnx(net, size, source)
    # a process of its own: the converter prints, and ends its process where it meets what it does not know
    files = ["--modelFile", str(source), "--MNNModel", str(model)]
    command = [sys.executable, "-c", CONVERT, "-f", "ONNX", *files, "--bizCode", "seedsweep"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as converter:
        try:
            with torch.inference_mode():
                truth = net(probes).flatten(1)
            printed, errors = converter.communicate()
        except BaseException:
            converter.kill()  # its folder goes: it must write nothing more
            raise
    if converter.returncode or not model.is_file():
        last = (errors or printed).strip().splitlines()[-1:]
        raise RuntimeError(f"MNN's converter: {''.join(last) or 'no reason given'}")
    return model, truth


def _write_onnx(net: nn.Module, size: tuple[int, int, int], path: Path) -> None:
    """Writes ``net`` by PyTorch's older exporter, 1.5 s for InceptionV3, and what that can't by the newer one, 7 s.

    The older one follows the net for one input: where its way depends on the values it is stopped, and the newer one
    says what it makes of that.
    """
    for name in ("onnxscript", "onnx_ir", "torch.onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    example = torch.zeros(IMAGES, *size)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", ".*to a Python (boolean|float)")  # a TracerWarning
        try:
            torch.onnx.export(net, (example,), path, dynamo=False)
        except Exception as error:
            log.debug("mnn: exported by way of torch.export: %s", error)
            exported: Any = torch.onnx.export(
                torch.export.export(net, (example,)), dynamo=True, verbose=False
            )
            exported.save(path, external_data=False)


@contextmanager
def _silent() -> Iterator[None]:
    """MNN greets on the process' standard output, past ``sys.stdout``, through C's buffer."""
    sys.stdout.flush()
    _flush_c()
    kept = os.dup(1)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        _flush_c()  # while it still leads nowhere
        os.dup2(kept, 1)
        os.close(kept)


def _flush_c() -> None:
    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)


def available() -> bool:
    """Says whether MNN is installed, and what it needs to read a net of PyTorch."""
    return all(importlib.util.find_spec(name) is not None for name in PACKAGES)


def rank(net: nn.Module, size: tuple[int, int, int]) -> int:
    """Returns 20 for nets of many convolutions that Winograd's algorithm speeds up, else 5 (see ``base``).

    With AVX-512 it is 5 for all: OpenVINO's direct convolutions make more of it.
    """
    if torch.cpu.get_capabilities().get("avx512_f", False):
        return 5
    return 20 if winograd_share(net, size) >= PAYS else 5


def build(net: nn.Module, size: tuple[int, int, int], precision: str, device: torch.device) -> Engine:
    """Returns the engine (see ``base``)."""
    return MnnEngine(net, size)
