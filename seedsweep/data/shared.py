"""Memory that this process shares with its forks, and tensors that are handed over in it."""

from __future__ import annotations

import io
import logging
import mmap
import pickle
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)

SLOT_BYTES = 2**27  # room for a batch's tensors; a page that is never written takes none
ALIGNED = 64


def shared_bytes(n: int) -> Tensor:
    """Returns uint8 [n], zeros, whose pages are those of every fork as well; they take room once they are written."""
    return torch.frombuffer(mmap.mmap(-1, max(n, 1)), dtype=torch.uint8)[:n]


class Slots:
    """Messages whose tensors lie in shared memory; a slot holds those of one message at a time.

    Args:
        n: slots.

    Raises:
        OSError: there is not so much memory.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self._bytes = shared_bytes(n * SLOT_BYTES)
        self._pinned: dict[int, int] = {}  # by slot, how many of its bytes
        self._pins = True

    def packed(self, slot: int, message: object) -> bytes:
        """Returns ``message`` without its tensors, which are copied to the slot; what has no room there stays in it."""
        file = io.BytesIO()
        _Pickler(file, self._slot(slot)).dump(message)
        return file.getvalue()

    def unpacked(self, slot: int, content: bytes) -> Any:
        """Returns the message; its tensors are where they were put, until the slot is written again.

        A GPU, if there is one in use, fetches them from there by itself.
        """
        unpickler = _Unpickler(io.BytesIO(content), self._slot(slot))
        message = unpickler.load()
        self._pin(slot, unpickler.used)
        return message

    def unpin(self) -> None:
        """Gives back what was pinned; no tensor of a message may be in use."""
        for slot in list(self._pinned):
            self._release(slot)

    def _pin(self, slot: int, n: int) -> None:
        """Pins the first bytes of a slot, all that a message took: takes milliseconds, and seldom comes twice."""
        if n <= self._pinned.get(slot, 0) or not self._pins or not _gpu_in_use():
            return
        self._release(slot)
        self._pins = _registered(self._slot(slot), n)
        if self._pins:
            self._pinned[slot] = n

    def _release(self, slot: int) -> None:
        if self._pinned.pop(slot, 0):
            torch.cuda.cudart().cudaHostUnregister(self._slot(slot).data_ptr())  # type: ignore[no-untyped-call]

    def _slot(self, slot: int) -> Tensor:
        return self._bytes[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES]


def _registered(there: Tensor, n: int) -> bool:
    pages = -(-n // mmap.PAGESIZE) * mmap.PAGESIZE
    code = torch.cuda.cudart().cudaHostRegister(there.data_ptr(), pages, 0)  # type: ignore[no-untyped-call]
    if not int(code):
        return True
    log.debug("memory can't be pinned: %s", code)
    try:
        torch.zeros(1, device="cuda")  # else the next launch would be blamed for it
    except RuntimeError:
        log.debug("told", exc_info=True)
    return False


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, slot: Tensor) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._slot, self._used = slot, 0

    def persistent_id(self, obj: object) -> tuple[Any, ...] | None:
        if type(obj) is not Tensor or obj.device.type != "cpu" or obj.layout != torch.strided:
            return None
        n, like = obj.numel() * obj.element_size(), torch.empty_like(obj)  # dense, in the same order
        if self._used + n > len(self._slot):
            return None
        about = self._used, n, obj.dtype, tuple(obj.shape), like.stride()
        self._used += -(-n // ALIGNED) * ALIGNED
        _at(self._slot, *about).copy_(obj.detach())
        return about


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, slot: Tensor) -> None:
        super().__init__(file)
        self._slot, self.used = slot, 0

    def persistent_load(self, pid: tuple[Any, ...]) -> Tensor:
        start, n, *_ = pid
        self.used = start + n
        return _at(self._slot, *pid)


def _at(
    slot: Tensor, start: int, n: int, dtype: torch.dtype, shape: tuple[int, ...], stride: tuple[int, ...]
) -> Tensor:
    return slot[start : start + n].view(dtype).as_strided(shape, stride)


def _gpu_in_use() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
