"""CUDA graphs of a net, several side by side, each with a short queue: the GPU need not wait for Python.

A net of a hundred layers is launched by one call, so neither Python nor a small piece of a batch makes the GPU wait
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
"""

from __future__ import annotations

import logging
import queue
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

log = logging.getLogger(__name__)

IMAGES = 32  # of a piece; on an H200 four lanes of 32 were as fast as three of 64
LANES = 4
QUEUED = 2  # pieces a lane: one computes, one waits
WARM_UPS = 3  # passes before a graph is recorded: cuDNN chooses its kernels, Triton compiles its own

Net = Callable[[Tensor], Tensor]


class Lane:
    """One copy of the net's working memory, and a stream.

    Args:
        net: float32 pixels [images, 3, H, W] on the GPU to float32 features [images, ...].
        size: (3, H, W).
        images: that it answers at once.
        device: the GPU.
    """

    def __init__(self, net: Net, size: tuple[int, int, int], images: int, device: torch.device) -> None:
        self._net = net
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        pixels = torch.zeros(images, *size, device=device)
        self._pixels = pixels.contiguous(memory_format=torch.channels_last)
        torch.cuda.synchronize(device)  # also what lanes that go for this one still compute
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UPS):
                self._features = net(self._pixels)
        self._stream.synchronize()
        graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device)
        try:  # other threads may go on with the GPU meanwhile
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self._features = net(self._pixels)
            self._graph = graph
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a net that asks the GPU for a value on its way
            log.debug("no CUDA graph: %s", error)
            torch.cuda.set_stream(before)  # torch 2.11 leaves a failed one's
            torch.cuda.synchronize(device)

    @property
    def recorded(self) -> bool:
        """Whether the net is launched by one call, and may run beside another."""
        return self._graph is not None

    def enqueue(self, images: Tensor) -> tuple[Tensor, torch.cuda.Event]:
        """Asks for the features of up to as many images as it has room for; by one thread at a time.

        Returns:
            The features, and what to wait for until they are there.
        """
        n, device = len(images), self._pixels.device
        # blocking: a thread that waits spinning takes a core from a decoder
        done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        callers = torch.cuda.current_stream(device)
        if images.is_cuda:
            self._stream.wait_stream(callers)
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            there = images if images.is_cuda else images.pin_memory().to(device, non_blocking=True)
            self._pixels[:n].copy_(there)
            if self._graph is None:
                self._features = self._net(self._pixels)
            else:
                self._graph.replay()
            features = self._features[:n].clone()
            done.record(self._stream)
        features.record_stream(callers)  # who reads them there: until then their memory is not used again
        return features, done


class Lanes:
    """Answers with several lanes; may be called from several threads.

    Args:
        size: (3, H, W).
        device: the GPU.
    """

    def __init__(self, size: tuple[int, int, int], device: torch.device) -> None:
        self.images = IMAGES
        self._size = size
        self._device = device
        self._count = 0
        self._free: queue.SimpleQueue[Lane] = queue.SimpleQueue()

    def record(self, net: Net) -> None:
        """Takes a net in the place of the one before, as soon as no thread computes with that.

        Args:
            net: see :class:`Lane`.

        Raises:
            torch.OutOfMemoryError: the GPU has no room for it, a first one not even for one image's pass; the one
                before stays.
        """
        before = [self._free.get() for _ in range(self._count)]
        lanes = before
        try:
            lanes = self._made(net, smaller=not before)
        finally:
            self._count = len(lanes)
            for lane in lanes:
                self._free.put(lane)

    def _made(self, net: Net, smaller: bool) -> list[Lane]:
        """Returns as many lanes as there is room for; if there is none, with ``smaller`` pieces."""
        made: list[Lane] = []
        while len(made) < LANES:
            try:
                made.append(Lane(net, self._size, self.images, self._device))
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                if made:  # fewer lanes: a little slower
                    break
                if self.images == 1 or not smaller:  # threads hold pieces of the size that it has
                    raise
                self.images //= 2
                continue
            if not made[-1].recorded:
                break
        return made

    def __call__(self, images: Tensor) -> Tensor:
        """Returns float32 features [B, ...] on the GPU of images [B, 3, H, W], uint8 or float32, on CPU or GPU."""
        found: list[Tensor] = []
        under_way: deque[torch.cuda.Event] = deque()
        for part in torch.split(images, self.images):
            if len(under_way) == QUEUED:  # each keeps memory
                under_way.popleft().synchronize()
            features, done = self._enqueue(part)
            found.append(features)
            under_way.append(done)
        for done in under_way:
            done.synchronize()
        return found[0] if len(found) == 1 else torch.cat(found)

    def _enqueue(self, part: Tensor) -> tuple[Tensor, torch.cuda.Event]:
        lane = self._free.get()
        try:
            return lane.enqueue(part)
        finally:  # it is the next thread's turn, though the lane still computes
            self._free.put(lane)
