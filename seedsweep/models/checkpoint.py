"""Our checkpoints on disk: written whole or not at all, read without running code, refused when damaged.

Each file carries a SHA-256 of its content, which is compared whenever it is read. ``torch.load`` compares nothing: a
changed byte is another weight.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seedsweep.errors import DamagedError
from seedsweep.whole import replacing

log = logging.getLogger(__name__)

CARD = "seedsweep"  # key in the file: of what training/card.py says
DIGEST = "seedsweep_sha256"  # key in the file: of everything else that it holds
FORMAT = "checkpoint_format"  # key on the card: from 1 on there is a digest
BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "last-previous.ckpt"  # in a run's checkpoints/


def write_checkpoint(content: dict[str, Any], path: Path, *, durable: bool = True) -> None:
    """Writes ``content`` with its digest; when the process is killed, ``path`` stays as it was.

    Args:
        content: tensors, numbers, strings, None, and lists, tuples and dictionaries of them.
        path: of the file. The one before stays as last-previous.ckpt where it is called last.ckpt.
        durable: so that a loss of power leaves no empty file (see ``whole.replacing``).

    Raises:
        TypeError: ``content`` holds something else.
    """
    content = {key: value for key, value in content.items() if key != DIGEST}
    if isinstance(content.get(CARD), dict):
        content[CARD] = content[CARD] | {FORMAT: 1}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=durable) as part:
        torch.save(content | {DIGEST: digest_of_content(content)}, part)
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
    return verified(content, path)


def verified(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Returns what the file at ``path`` holds, less its digest.

    Raises:
        DamagedError: the digest is not that of the content, or is missing where the card says that there is one.
    """
    content = dict(content)
    digest = content.pop(DIGEST, None)
    card = content.get(CARD)
    if digest is None and not (isinstance(card, dict) and FORMAT in card):
        log.info("%s has no digest (an earlier version wrote it): its content can't be verified", path)
        return content
    try:
        whole = digest == digest_of_content(content)
    except TypeError:
        whole = False
    if not whole:
        raise _damaged(path, "is damaged (its content is not what was written)")
    return content


def digest_of_content(content: Any) -> str:
    """Returns the SHA-256, in hex, of all tensors and plain values, with their places.

    Raises:
        TypeError: there is something else in it.
    """
    digest = hashlib.sha256()
    _add(digest, content)
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous()
        digest.update(f"tensor {plain.dtype} {tuple(plain.shape)} ".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, dict):
        digest.update(f"dict {len(value)} ".encode())
        for key, each in value.items():
            _add(digest, key)
            _add(digest, each)
    elif isinstance(value, (list, tuple)):
        digest.update(f"{'list' if isinstance(value, list) else 'tuple'} {len(value)} ".encode())
        for each in value:
            _add(digest, each)
    elif type(value) is float:
        digest.update(b"float " + struct.pack("<d", value))
    elif type(value) is str:
        text = value.encode("utf-8", "surrogateescape")
        digest.update(f"str {len(text)} ".encode() + text)
    elif value is None or type(value) in (bool, int):
        digest.update(f"{type(value).__name__} {value} ".encode())
    else:
        raise TypeError(f"a checkpoint can't hold a {type(value).__name__}")


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
