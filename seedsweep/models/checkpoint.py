"""Our checkpoints on disk: written whole or not at all, read without running code, refused when damaged.

Each is a zip archive with a CRC-32 of every tensor, which is compared whenever it is read. ``torch.load`` compares
nothing: a changed byte is another weight.
"""

from __future__ import annotations

import errno
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seedsweep.errors import DamagedError
from seedsweep.whole import replacing

CARD = "seedsweep"  # key in the file: of what training/card.py says
BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "last-previous.ckpt"  # in a run's checkpoints/


def write_checkpoint(content: dict[str, Any], path: Path, *, durable: bool = True) -> None:
    """Writes ``content``; when the process is killed, ``path`` stays as it was.

    Args:
        content: tensors, numbers, strings, None, and lists, tuples and dictionaries of them.
        path: of the file. The one before stays as last-previous.ckpt where it is called last.ckpt.
        durable: so that a loss of power leaves no empty file (see ``whole.replacing``).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=durable) as part:
        torch.save(content, part)
        if path.name == LAST and path.is_file():
            path.replace(path.with_name(PREVIOUS))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Returns what a checkpoint holds, on the CPU. No code that the file may hold is run.

    Raises:
        DamagedError: it is no checkpoint, or its bytes changed after it was written.
        OSError: it can't be read.
        MemoryError: it is too large for this machine (RuntimeError, where torch says so).
    """
    with path.open("rb"):  # a missing file, or no right to read it, is no damage
        pass
    try:
        with zipfile.ZipFile(path) as archive:  # first: a wrong size would have torch read beyond its buffer
            damaged = archive.testzip()
        content = None if damaged else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of zipfile, zlib, pickle and torch: many kinds
        if _is_of_machine(error):
            raise
        raise _damaged(
            path, "can't be read as a checkpoint of seedsweep: it is damaged, or another kind of file"
        ) from error
    if damaged:
        raise _damaged(path, "is damaged (its checksums do not match)")
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise _damaged(path, "is no checkpoint of seedsweep")
    return content


def _is_of_machine(error: Exception) -> bool:
    """Says whether memory or a disk is to blame for ``error``, and not the content of the file."""
    if isinstance(error, OSError):
        return error.errno != errno.EINVAL  # zipfile went by a wrong place in the file
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _damaged(path: Path, what: str) -> DamagedError:
    near = [name for name in (BEST, LAST, PREVIOUS) if name != path.name and path.with_name(name).is_file()]
    other = " or ".join(str(path.with_name(name)) for name in near) or "the checkpoint of another run"
    return DamagedError(f"{path} {what}. Take {other}, or train this run again.")


def not_finite(state: dict[str, Tensor]) -> str | None:
    """Returns the name of a tensor that holds NaN or infinity; None if all values are finite."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            return name
    return None
