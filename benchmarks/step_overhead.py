"""What Lightning and our bookkeeping cost: a training epoch, ours / a bare PyTorch loop, same loader.

Both run in turn in one process on the same net, batches and optimiser.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytorch_lightning as pl
import torch
from shared import Row, cache_dir, config, interleaved, quotients, rounds, small
from torch.nn import functional

from seedsweep.data.datamodule import ImageDataModule
from seedsweep.data.prepare import prepare_images
from seedsweep.models.build import add_head
from seedsweep.models.input_scaling import flush_denormals
from seedsweep.training.assemble import backbone_as_set
from seedsweep.training.module import ArmModule


def epoch_bare(module: ArmModule, images: ImageDataModule) -> float:
    """The loop anyone would write; counts hits as ours does."""
    optimiser = module.configure_optimizers()
    module.train()
    started, hits, total = time.perf_counter(), 0, 0.0
    for batch in images.train_dataloader():
        logits = module(batch["image"])
        loss = functional.cross_entropy(logits, batch["label"])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.item()
        hits += int((logits.argmax(1) == batch["label"]).sum())
    return time.perf_counter() - started


class Clock(pl.Callback):
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = time.perf_counter() - self.started


def epoch_ours(module: ArmModule, images: ImageDataModule) -> float:
    """The training epoch as Lightning runs it, validation left out on both sides."""
    clock = Clock()
    trainer = pl.Trainer(
        max_epochs=1, limit_val_batches=0, num_sanity_val_steps=0, logger=False, callbacks=[clock],
        enable_checkpointing=False, enable_model_summary=False, accelerator="cpu",
        enable_progress_bar=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=images)
    return clock.seconds


def figures() -> Iterator[Row]:
    flush_denormals()
    for arm, batch_size in (("frozen_bn", 4), ("frozen_bn", 32), ("finetune_bn", 32)):
        cfg = config(
            f"+experiment={arm}",
            "backbone=efficientnet_lite0",
            f"data.batch_size={batch_size}",
            f"data.demo.n_images={70 if small() else 400}",
        )
        prepared = prepare_images(cfg.data, cache_dir())
        images = ImageDataModule(prepared, batch_size, cfg.seed, cfg.data.workers, None)
        built = add_head(backbone_as_set(cfg), len(prepared.table.classes), cfg.head, cfg.seed)
        module = ArmModule(built.classifier, cfg.optim, prepared.table.classes, cfg.seed)
        built.classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        epoch_bare(module, images), epoch_ours(module, images)
        ours, bare = interleaved(
            lambda m=module, i=images: epoch_ours(m, i),
            lambda m=module, i=images: epoch_bare(m, i),
            n=rounds(3),
        )
        yield Row(
            f"a training epoch, {arm}, batch {batch_size}: ours / a bare PyTorch loop",
            "<= 1.10",
            quotients(ours, bare),
        )
