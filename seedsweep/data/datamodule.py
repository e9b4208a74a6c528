"""Feeds a prepared set of images to Lightning, the same way in every run and after every resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from seedsweep import cores
from seedsweep.data.epoch import epoch_order, epoch_seed, length
from seedsweep.data.manifest import ImageTable
from seedsweep.data.prepare import PreparedImages
from seedsweep.errors import SeedsweepError

Batch = dict[str, Tensor]
Fetch = Callable[[NDArray[np.int64]], Tensor]
EVAL_BATCH = 64  # a larger batch changes no number in eval mode


class Rows(Dataset[Any]):
    """Fetches whole batches by row.

    Args:
        fetch: table rows [B] to what the net reads, [B, ...].
        rows: of the table, in the order of positions.
    """

    def __init__(self, table: ImageTable, fetch: Fetch, rows: NDArray[np.int64]) -> None:
        self.labels = torch.from_numpy(table.labels)
        self.fetch = fetch
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, positions: list[int]) -> Batch | SeedsweepError:
        """Returns image (uint8 [B, 3, H, W] for pixels), label and index int64 [B] (index: row of the table).

        A loader's process returns its error as it is: raised there, it would arrive as the text of a traceback.
        """
        rows = self.rows[positions]
        index = torch.from_numpy(rows)
        try:
            return {"image": self.fetch(rows), "label": self.labels[index], "index": index}
        except SeedsweepError as error:
            if get_worker_info() is None:
                raise
            return error

    def __getitem__(self, position: int) -> Batch | SeedsweepError:
        return self.__getitems__([position])


class EpochShuffle(Sampler[int]):
    """A random order that is a pure function of (seed, epoch), so that a resumed run draws the same.

    Lightning calls ``set_epoch`` on any sampler that has it.
    """

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        self.n = n
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch's order."""
        self.epoch = epoch

    def __len__(self) -> int:
        return length(self.n, self.batch_size)

    def __iter__(self) -> Iterator[int]:
        yield from epoch_order(self.n, self.batch_size, self.seed, self.epoch).tolist()


def _as_is(batch: Any) -> Any:
    return batch


class ImageDataModule(pl.LightningDataModule):
    """Loaders over prepared images; augmentation happens on the device, to training batches alone.

    Args:
        workers: decoding processes where the pixels are not in memory; -1: one per core that is ours.
        augment: called with (images, rows, epoch), or None.
        mix: none | mixup | cutmix: how the images of a training batch are mixed with each other.
    """

    def __init__(
        self,
        prepared: PreparedImages,
        batch_size: int,
        seed: int,
        workers: int,
        augment: Callable[[Tensor, Tensor, int], Tensor] | None,
        mix: str = "none",
    ) -> None:
        super().__init__()
        self.prepared = prepared
        self.batch_size = batch_size
        self.seed = seed
        self.read_workers = workers
        decoding = cores.count() if workers < 0 else workers
        self.workers = 0 if prepared.pixels.keep else decoding
        self.augment = augment
        self.mix = mix

    def source(self, split: str) -> Fetch:
        """Returns where the images of a split come from."""
        return self.prepared.pixels.batch

    def _loader(self, split: str, batch_size: int, sampler: Sampler[int] | None = None) -> DataLoader[Any]:
        table = self.prepared.table
        return DataLoader(
            Rows(table, self.source(split), table.indices(split)),
            batch_size,
            sampler=sampler,
            collate_fn=_as_is,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )

    def prepare_data(self) -> None:
        """Decodes what was not yet needed, where it can be kept."""
        self.prepared.pixels.read_all(self.read_workers)

    def train_dataloader(self) -> DataLoader[Any]:
        """Returns shuffled training batches."""
        n = len(self.prepared.table.indices("train"))
        return self._loader("train", self.batch_size, EpochShuffle(n, self.batch_size, self.seed))

    def val_dataloader(self) -> DataLoader[Any]:
        """Returns validation batches in the table's order."""
        return self._loader("val", max(self.batch_size, EVAL_BATCH))

    def on_before_batch_transfer(self, batch: Batch | SeedsweepError, dataloader_idx: int) -> Batch:
        """Raises the error that a loader's process returned."""
        if isinstance(batch, SeedsweepError):
            raise batch
        return batch

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augments training batches; where images are mixed, ``target`` [B, N] is the share of each class."""
        trainer = self.trainer
        if trainer is None or not trainer.training:
            return batch
        if self.augment is not None:
            image = self.augment(batch["image"], batch["index"], trainer.current_epoch)
            batch = {**batch, "image": image}
        if self.mix == "none":
            return batch
        from seedsweep.data.random_policy import mix

        seed = epoch_seed(epoch_seed(self.seed, trainer.current_epoch), int(batch["index"][0]))
        classes = len(self.prepared.table.classes)
        image, target = mix(self.mix, classes, batch["image"].float(), batch["label"], seed)
        return {**batch, "image": image, "target": target}

    def logits(self, net: nn.Module, rows: Tensor, device: torch.device) -> Tensor:
        """Returns the logits [n, N] of ``net`` for the un-augmented images of ``rows`` (int64 [n])."""
        logits: Tensor = net(self.prepared.pixels.batch(rows.numpy()).to(device))
        return logits
