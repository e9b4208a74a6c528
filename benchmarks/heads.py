"""Heads on stored features: one trial / plain Lightning on the same features, one arm / the same arm online.

Goals on 2 cores: a trial at least 3 times, an arm of 25 epochs at least 20 times as fast. Peak memory of
14,000 x 2,048 features is measured in a process of its own: goal under 1.5 GiB.

    python benchmarks/heads.py
"""

from __future__ import annotations

import logging
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from shared import cache_dir, config, ratios, shown
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from seedsweep.config.schema import HeadConfig
from seedsweep.heads.fit import HeadData, HeadFit, HeadSchedule
from seedsweep.models.classifier import Head
from seedsweep.preprocess.scaling import flush_denormals
from seedsweep.training.run import train

ROUNDS = 3
CLASSES = 7


class PlainModule(pl.LightningModule):
    """What a tutorial would write."""

    def __init__(self, head: nn.Module, lr: float) -> None:
        super().__init__()
        self.head, self.lr = head, lr

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        loss = functional.cross_entropy(self.head(batch[0]), batch[1])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        logits = self.head(batch[0])
        self.log("val/acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def features(n: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (n,), generator=generator)
    centres = torch.randn(CLASSES, width, generator=generator)
    return (centres[labels] + 3 * torch.randn(n, width, generator=generator)).relu(), labels


def lightning(x: Tensor, y: Tensor, width: int, batch: int, epochs: int) -> float:
    cut = len(x) * 3 // 4
    started = time.perf_counter()
    module = PlainModule(Head(x.shape[1], CLASSES, HeadConfig(width=width, dropout=0.3)), 1e-3)
    trainer = pl.Trainer(
        max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    trainer.fit(
        module,
        DataLoader(TensorDataset(x[:cut], y[:cut]), batch, shuffle=True),
        DataLoader(TensorDataset(x[cut:], y[cut:]), 256),
    )
    return time.perf_counter() - started


def ours(x: Tensor, y: Tensor, width: int, batch: int, epochs: int) -> float:
    cut = len(x) * 3 // 4
    started = time.perf_counter()
    cfg = config("optim=adam")
    data = HeadData(
        lambda _: x[:cut], y[:cut], x[cut:], y[cut:], x[:512], y[:512], [str(c) for c in range(CLASSES)]
    )
    head = Head(x.shape[1], CLASSES, HeadConfig(width=width, dropout=0.3))
    fit = HeadFit(head, data, cfg.optim, HeadSchedule(epochs, 0, batch, 1))
    while not fit.done:
        fit.epoch()
    return time.perf_counter() - started


def arm(mode: str, epochs: int) -> float:
    """Seconds of one frozen arm on the demo, features included."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = config(
            "+experiment=frozen_bn", "backbone=efficientnet_lite0", f"features={mode}", f"paths.cache={folder}/c",
            f"trainer.max_epochs={epochs}", "trainer.patience=0", "data.batch_size=32",
        )  # fmt: skip
        (Path(folder) / "c").mkdir()
        (Path(folder) / "c" / "demo").symlink_to(cache_dir() / "demo")
        started = time.perf_counter()
        train(cfg, Path(folder) / "run")
        return time.perf_counter() - started


def memory() -> None:
    x, y = features(14_000, 2048)
    ours(x, y, 512, 256, 2)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def main() -> None:
    logging.disable(logging.WARNING)
    flush_denormals()
    print("| figure | result | goal |\n|---|---|---|")
    for n, batch, epochs in ((14_000, 256, 5), (1_400, 32, 5)):
        x, y = features(n, 2048)
        found = ratios(
            lambda: ours(x, y, 512, batch, epochs),
            lambda: lightning(x, y, 512, batch, epochs),
            ROUNDS,
        )
        print(
            f"| head trial, {n:,} x 2048, width 512, batch {batch}: plain Lightning / ours | {shown(found)} | >= 3 |",
            flush=True,
        )
    text = subprocess.run(
        [sys.executable, __file__, "memory"], capture_output=True, text=True, check=True
    ).stdout
    print(
        f"| peak memory, 14,000 x 2,048 features, GiB | {float(text.split()[-1]):.2f} | < 1.5 |", flush=True
    )
    prepared = arm("auto", 1)  # draws the demo and warms up
    found = [arm("off", 25) / arm("auto", 25)]
    print(
        f"| frozen arm, Lite0 128x128, 25 epochs: online / stored | {shown(found)} (one pair) | >= 20 |",
        flush=True,
    )
    del prepared


if __name__ == "__main__":
    memory() if sys.argv[1:] == ["memory"] else main()
