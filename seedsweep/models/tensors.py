"""Reads weight files as one flat table of tensors, without running any code that they may hold."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from seedsweep.errors import DamagedError, SeedsweepError
from seedsweep.models.checkpoint import CARD, DIGEST, verified

DEEPEST = 8  # dictionaries in one another
# what wrappers put between the names of a net: torch.compile, FSDP, activation checkpoints
WRAPPED = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
# what training scripts keep beside their tensors: settings and numbers, which run no code when they are read
PLAIN: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *(type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"),
]


@dataclass(frozen=True)
class WeightFile:
    """What a weight file holds.

    Attributes:
        path: of the file.
        tensors: by the names in the file; those inside dictionaries are called ``outer.inner.name``.
        card: what a checkpoint of ours tells about itself; None: the file is of another program.
        whole: False for a checkpoint of ours that holds a head alone.
    """

    path: Path
    tensors: dict[str, Tensor]
    card: dict[str, Any] | None = None
    whole: bool = True


def read_tensors(path: Path) -> WeightFile:
    """Reads a ``.safetensors`` file, or any file that ``torch.save`` wrote.

    Raises:
        SeedsweepError: it can't be read, or not without running code that it holds.
        DamagedError: a checkpoint of ours whose content is not what was written.
    """
    content: Any
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            _check_archive(path)
            with torch.serialization.safe_globals(PLAIN):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except SeedsweepError:
        raise
    except Exception as error:  # SafetensorError, UnpicklingError, EOFError, RuntimeError, ...
        raise SeedsweepError(f"{path} can't be read as weights: {_what_to_do(path, error)}.") from error
    if isinstance(content, Tensor):
        content = {"tensor": content}
    if not isinstance(content, Mapping):
        raise SeedsweepError(
            f"{path} can't be read as weights: it holds a {type(content).__name__}, and not tensors by name."
        )
    card = None
    if DIGEST in content or CARD in content:
        content = verified(dict(content), path)
        card = _card(content)
    whole = bool(content.get("whole", True))
    tensors = {_unwrapped(name): tensor for name, tensor in _flat(content, "", DEEPEST)}
    for name, tensor in tensors.items():
        if kind := _odd_kind(tensor):
            raise SeedsweepError(
                f"{path} can't be used as weights: {name} is {kind}; save a file whose tensors are dense numbers "
                "with their values."
            )
    return WeightFile(path, tensors, card, whole)


def _odd_kind(tensor: Tensor) -> str:
    """Returns what kind of tensor it is that no net can be filled from; nothing for an ordinary one."""
    if tensor.is_nested:
        return "a nested tensor"
    if tensor.is_meta:
        return "a meta tensor, a shape without values"
    if tensor.is_quantized:
        return "a quantised tensor"
    return "" if tensor.layout == torch.strided else "a sparse tensor"


def _check_archive(path: Path) -> None:
    """Compares the checksums of an archive before torch reads it: a wrong size has torch read beyond its buffer."""
    if not zipfile.is_zipfile(path):
        return  # of an older format
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except OSError:
        raise
    except Exception as error:  # of zipfile and zlib: many kinds
        raise DamagedError(f"{path} is damaged (its archive can't be read): get the file again.") from error
    if damaged:
        raise DamagedError(
            f"{path} is damaged (its checksums do not match), or was saved without checksums "
            "(torch.serialization.set_crc32_options): get or save the file again."
        )


def _card(content: Mapping[Any, Any]) -> dict[str, Any] | None:
    card = content.get(CARD)
    if "state_dict" not in content or not isinstance(card, Mapping):
        return None
    backbone = card.get("backbone")
    complete = isinstance(backbone, Mapping) and {"name", "library", "weights"} <= backbone.keys()
    return dict(card) if complete and {"experiment", "batchnorm", "preprocess"} <= card.keys() else None


def _what_to_do(path: Path, error: Exception) -> str:
    if "TorchScript" in str(error):
        return (
            "it is a TorchScript archive; save its tensors with torch.save(torch.jit.load(FILE).state_dict(), "
            "'weights.pth')"
        )
    if isinstance(error, pickle.UnpicklingError) and (classes := _classes(path)):
        return (
            f"beside tensors it holds Python objects ({', '.join(classes[:3])}), and to read those could run code; "
            "where you trust the file, load it yourself and save its tensors alone with "
            "torch.save(model.state_dict(), 'weights.pth')"
        )
    return "give a .safetensors file, or a .pt or .pth file that holds tensors by name"


def _classes(path: Path) -> list[str]:
    """Returns the names of the classes and functions that a file asks for and that may not be loaded."""
    try:
        with torch.serialization.safe_globals(PLAIN):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:  # of an older format, or no pickle at all
        return []


def _flat(content: Mapping[Any, Any], before: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    for key, value in content.items():
        name = f"{before}{key}"
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, argparse.Namespace):
            continue  # settings
        elif isinstance(value, Mapping) and depth:
            yield from _flat(value, f"{name}.", depth - 1)


def _unwrapped(name: str) -> str:
    for part in WRAPPED:
        name = name.replace(part, "")
    return name
