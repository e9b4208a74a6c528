"""Feeds a prepared set of images to Lightning, the same way in every run and after every resume."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from seedsweep.data.pixels import Pixels
from seedsweep.data.prepare import PreparedImages
from seedsweep.data.table import ImageTable

Batch = dict[str, Tensor]
EVAL_BATCH = 64  # a larger batch changes no number in eval mode


class Rows(Dataset[Any]):
    """Fetches whole batches by row."""

    def __init__(self, table: ImageTable, pixels: Pixels, rows: NDArray[np.int64]) -> None:
        self.labels = torch.from_numpy(table.labels)
        self.pixels = pixels
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, positions: list[int]) -> Batch:
        """Returns image uint8 [B, 3, H, W], label and index int64 [B] (index: row of the table)."""
        rows = self.rows[positions]
        index = torch.from_numpy(rows)
        return {"image": self.pixels.batch(rows), "label": self.labels[index], "index": index}

    def __getitem__(self, position: int) -> Batch:
        return self.__getitems__([position])


class EpochShuffle(Sampler[int]):
    """A random order that is a pure function of (seed, epoch), so that a resumed run draws the same.

    Lightning calls ``set_epoch`` on any sampler that has it. The last image is left out where it would be a
    batch by itself: BatchNorm can't take batch statistics of one.
    """

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        self.n = n - 1 if batch_size > 1 and n > 1 and n % batch_size == 1 else n
        self.total = n
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch's order."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        yield from torch.randperm(self.total, generator=generator)[: self.n].tolist()


def _as_is(batch: Any) -> Any:
    return batch


class ImageDataModule(pl.LightningDataModule):
    """Loaders over prepared images; augmentation happens on the device, to training batches alone.

    Args:
        prepared: table and pixels.
        batch_size: of training.
        seed: of the order.
        workers: decoding processes where the pixels are not in memory; -1: one per core.
        augment: called with (images, rows, epoch), or None.
    """

    def __init__(
        self,
        prepared: PreparedImages,
        batch_size: int,
        seed: int,
        workers: int,
        augment: Callable[[Tensor, Tensor, int], Tensor] | None,
    ) -> None:
        super().__init__()
        self.prepared = prepared
        self.batch_size = batch_size
        self.seed = seed
        self.workers = 0 if prepared.pixels.memory is not None else workers
        if self.workers < 0:
            self.workers = os.cpu_count() or 1
        self.augment = augment

    def _loader(self, split: str, batch_size: int, sampler: Sampler[int] | None = None) -> DataLoader[Any]:
        rows = Rows(self.prepared.table, self.prepared.pixels, self.prepared.table.indices(split))
        return DataLoader(
            rows,
            batch_size,
            sampler=sampler,
            collate_fn=_as_is,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Returns shuffled training batches."""
        n = len(self.prepared.table.indices("train"))
        return self._loader("train", self.batch_size, EpochShuffle(n, self.batch_size, self.seed))

    def val_dataloader(self) -> DataLoader[Any]:
        """Returns validation batches in the table's order."""
        return self._loader("val", max(self.batch_size, EVAL_BATCH))

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augments training batches."""
        trainer = self.trainer
        if self.augment is None or trainer is None or not trainer.training:
            return batch
        return {**batch, "image": self.augment(batch["image"], batch["index"], trainer.current_epoch)}

    def probe_indices(self, n: int, seed: int) -> NDArray[np.int64]:
        """Returns up to ``n`` training rows, shuffled, fixed by ``seed``."""
        rows = self.prepared.table.indices("train")
        return np.random.default_rng(seed).permutation(rows)[:n]
