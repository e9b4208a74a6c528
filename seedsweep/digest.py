"""The digests by which a file's content and a net's weights are known."""

from __future__ import annotations

import errno
import hashlib
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def digest_of(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hex.

    Raises:
        OSError: it can't be read, or is no regular file: a pipe or a device may have no end.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "no regular file", str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_net(net: nn.Module) -> str:
    """Returns the SHA-256 of all parameters and buffers by name, and of what modules say they do otherwise, in hex."""
    import torch  # it takes a second to import, and digests of files need none of it

    digest = hashlib.sha256()
    for name, module in net.named_modules():
        if otherwise := getattr(module, "differs", ""):  # equal tensors, other outputs
            digest.update(f"{name} {otherwise}".encode())
    state = net.state_dict()
    rest = {
        name: buffer for name, buffer in net.named_buffers() if name not in state
    }  # not kept in checkpoints
    for name, tensor in {**state, **rest}.items():
        if not isinstance(tensor, torch.Tensor):  # of a module's get_extra_state
            digest.update(f"{name} {tensor!r}".encode())
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
