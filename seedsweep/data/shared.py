"""Memory that this process shares with its forks, and tensors that are handed over in it."""

from __future__ import annotations

import io
import logging
import math
import mmap
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)

SLOT_BYTES = 2**27  # room for a batch's tensors; a page that is never written takes none
ALIGNED = 64


_filled: Writer | None = None  # of the slot that this process fills


def shared_bytes(n: int) -> Tensor:
    """Returns uint8 [n], zeros, whose pages are those of every fork as well; they take room once they are written."""
    return torch.frombuffer(mmap.mmap(-1, max(n, 1)), dtype=torch.uint8)[:n]


def room(*shape: int) -> Tensor:
    """Returns uint8 memory of a shape, of any content: of the slot that is filled here, else one's own.

    What is made in the slot need not be copied there. The memory is this message's: who keeps it will find the next
    one's values in it.
    """
    there = _filled.room(math.prod(shape)) if _filled else None
    return torch.empty(shape, dtype=torch.uint8) if there is None else there.view(shape)


class Writer:
    """Room in a slot, given away from its start to its end."""

    def __init__(self, slot: Tensor) -> None:
        self._slot, self._used = slot, 0

    def room(self, n: int) -> Tensor | None:
        """Returns bytes [n] of it; None if there are not so many left."""
        start, end = self._used, self._used + n
        if end > len(self._slot):
            return None
        self._used = -(-end // ALIGNED) * ALIGNED
        return self._slot[start:end]

    def start(self, tensor: Tensor) -> int | None:
        """Returns where in the slot a tensor begins; None if it is elsewhere."""
        start = tensor.data_ptr() - self._slot.data_ptr()
        return start if 0 <= start < self._used else None


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

    def packed(self, slot: int, make: Callable[[], object]) -> bytes:
        """Returns a message without its tensors, which lie in the slot then; what has no room there stays in it.

        Args:
            slot: whose last message is no longer in use.
            make: makes the message; the :func:`room` that it asks for is the slot's, and not to be kept.
        """
        global _filled
        file, _filled = io.BytesIO(), Writer(self._slot(slot))
        try:
            _Pickler(file, _filled).dump(make())
        finally:
            _filled = None
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
    def __init__(self, file: io.BytesIO, writer: Writer) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._writer = writer

    def persistent_id(self, obj: object) -> tuple[Any, ...] | None:
        if type(obj) is not Tensor or obj.device.type != "cpu" or obj.layout != torch.strided:
            return None
        if not obj.numel():
            return 0, 0, obj.dtype, tuple(obj.shape), obj.stride()
        start = self._writer.start(obj)
        if start is None:
            like = torch.empty_like(obj)  # dense, in the same order
            there = self._writer.room(like.numel() * like.element_size())
            if there is None:
                return None
            there = there.view(obj.dtype).as_strided(obj.shape, like.stride())
            return self.persistent_id(there.copy_(obj.detach()))
        extent = sum((n - 1) * step for n, step in zip(obj.shape, obj.stride(), strict=True)) + 1
        return start, extent * obj.element_size(), obj.dtype, tuple(obj.shape), obj.stride()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, slot: Tensor) -> None:
        super().__init__(file)
        self._slot, self.used = slot, 0

    def persistent_load(self, pid: tuple[Any, ...]) -> Tensor:
        start, n, *_ = pid
        self.used = max(self.used, start + n)
        return _at(self._slot, *pid)


def _at(
    slot: Tensor, start: int, n: int, dtype: torch.dtype, shape: tuple[int, ...], stride: tuple[int, ...]
) -> Tensor:
    return slot[start : start + n].view(dtype).as_strided(shape, stride)


def _gpu_in_use() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
