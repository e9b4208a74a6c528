"""Training on stored features: one trial against a plain loop and against plain Lightning on the same features, one arm
against the same arm online, and the memory that many features take (in a process of its own).
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytorch_lightning as pl
import torch
from shared import Row, cache_dir, config, empty_store, interleaved, quotients, rounds, small
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from seedsweep.data.prepare import prepare_images
from seedsweep.models.classifier import Head
from seedsweep.models.input_scaling import flush_denormals
from seedsweep.models.options import HeadConfig
from seedsweep.training.heads import HeadData, HeadFit, HeadSchedule, takes_bfloat16
from seedsweep.training.options import OptimConfig
from seedsweep.training.run import train

CLASSES = 7
EPOCHS = 25
# photographs, features, width, batch; 256 is the middle of the study's space, 32 its batch
# against the plain loop, on one thread: photographs, features, width, batch, goal
LOOPS = (
    (14_000, 2048, 512, 256, ">= 1.1"),
    (1_400, 1280, 512, 32, ">= 1.8"),
    (1_400, 1280, 64, 32, ">= 1.8"),
    (1_400, 1280, 512, 4, ">= 1.8"),
    (1_400, 1280, 64, 4, ">= 1.8"),
)
TRIALS = ((14_000, 2048, 512, 256), (1_400, 2048, 512, 32), (1_400, 2048, 256, 32), (1_400, 1280, 256, 32))


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
    found = torch.randn(n, width, generator=generator).mul_(3)
    for label in range(CLASSES):  # in place: the memory of this figure is measured, too
        found[labels == label] += centres[label]
    return found.relu_(), labels


def lightning(
    x: Tensor, y: Tensor, head: HeadConfig, batch: int, epochs: int, accelerator: str = "cpu"
) -> float:
    cut = len(x) * 3 // 4
    started = time.perf_counter()
    module = PlainModule(Head(x.shape[1], CLASSES, head), 1e-3)
    trainer = pl.Trainer(
        max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator=accelerator,
    )  # fmt: skip
    trainer.fit(
        module,
        DataLoader(TensorDataset(x[:cut], y[:cut]), batch, shuffle=True),
        DataLoader(TensorDataset(x[cut:], y[cut:]), 256),
    )
    return time.perf_counter() - started


def ours(
    x: Tensor,
    y: Tensor,
    head: HeadConfig,
    optim: OptimConfig,
    batch: int,
    epochs: int,
    precision: str = "float32",
) -> float:
    """With everything a trial reports: train and validation metrics, macro-F1, probe, the best epoch's weights."""
    cut = len(x) * 3 // 4
    started = time.perf_counter()
    names = [str(c) for c in range(CLASSES)]
    bfloat16 = takes_bfloat16(precision, x.device, batch)
    data = HeadData(lambda _: x[:cut], y[:cut], x[cut:], y[cut:], x[:512], y[:512], names)
    net = Head(x.shape[1], CLASSES, head).to(x.device)
    fit = HeadFit(net, data, optim, HeadSchedule(epochs, 0, batch, 1, bfloat16))
    while not fit.done:
        fit.epoch()
    return time.perf_counter() - started


def plain_loop(x: Tensor, y: Tensor, head: HeadConfig, batch: int, epochs: int) -> None:
    """What a tutorial would write without Lightning, with the fused optimiser: it reports the validation accuracy."""
    cut = len(x) * 3 // 4
    net = nn.Sequential(
        nn.Linear(x.shape[1], head.width),
        nn.ReLU(),
        nn.Dropout(head.dropout),
        nn.Linear(head.width, CLASSES),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    for _ in range(epochs):
        net.train()
        for rows in torch.randperm(cut).split(batch):
            loss = functional.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            (net(x[cut:]).argmax(1) == y[cut:]).float().mean().item()


def cpu_seconds(side: Callable[[], object]) -> float:
    started = time.process_time()
    side()
    return time.process_time() - started


def loop(n: int, width: int, units: int, batch: int, goal: str) -> Iterator[Row]:
    x, y = features(n, width)
    head, optim, epochs = HeadConfig(width=units, dropout=0.3), config("optim=adam").optim, 2
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    theirs, own = interleaved(
        lambda: cpu_seconds(lambda: plain_loop(x, y, head, batch, epochs)),
        lambda: cpu_seconds(lambda: ours(x, y, head, optim, batch, epochs)),
        n=rounds(5),
    )
    torch.set_num_threads(threads)
    what = f"{n:,} x {width:,} features, Dense {units}, batch {batch}, {epochs} epochs"
    yield Row(
        f"one head, CPU seconds on one thread: a plain loop / ours, {what}", goal, quotients(theirs, own)
    )


def trial(n: int, width: int, units: int, batch: int, epochs: int) -> Iterator[Row]:
    x, y = features(n, width)
    head = HeadConfig(width=units, dropout=0.3)
    optim = config("optim=adam").optim
    exact, study, theirs = interleaved(
        lambda: ours(x, y, head, optim, batch, epochs),
        lambda: ours(x, y, head, optim, batch, epochs, "auto"),
        lambda: lightning(x, y, head, batch, epochs),
        n=rounds(3),
    )
    what = f"{n:,} x {width:,} features, Dense {units}, batch {batch}, {epochs} epochs"
    in_study = "bfloat16" if takes_bfloat16("auto", x.device, batch) else "float32"
    yield Row(
        f"one head trial: plain Lightning / a study's ({in_study}), {what}", ">= 3", quotients(theirs, study)
    )
    yield Row("the same / a run's (float32)", ">= 3", quotients(theirs, exact))


def arm(mode: str, epochs: int) -> float:
    """Seconds of one frozen arm on the demo, into an empty store: features and pictures included."""
    with empty_store() as folder:
        cfg = config(
            "+experiment=frozen_bn", "backbone=efficientnet_lite0", f"features={mode}", f"paths.cache={folder}/cache",
            f"trainer.max_epochs={epochs}", "trainer.patience=0", "trainer.progress_bar=false", "data.batch_size=32",
        )  # fmt: skip
        started = time.perf_counter()
        train(cfg, folder / "run")
        return time.perf_counter() - started


def memory() -> None:
    """Prints the peak of this process, GiB.

    The kernel's ``ru_maxrss`` would begin with the peak of the process that started this one.
    """
    x, y = features(14_000, 2048)
    ours(x, y, HeadConfig(width=512, dropout=0.3), config("optim=adam").optim, 256, 2)
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    print(int(peak.split()[1]) / 2**20)


def figures() -> Iterator[Row]:
    logging.disable(logging.WARNING)
    flush_denormals()
    for n, width, units, batch, goal in LOOPS:
        yield from loop(n // 10 if small() else n, width, units, batch, goal)
    for n, width, units, batch in TRIALS:
        yield from trial(n // 10 if small() else n, width, units, batch, 2 if small() else EPOCHS)
    text = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True).stdout
    yield Row("peak memory, 14,000 images x 2,048 features, GiB", "< 1.5", [float(text.split()[-1])])
    prepare_images(config().data, cache_dir())  # draws the photographs
    arm("required", 1)  # what a process does once
    epochs = 2 if small() else EPOCHS
    stored, online = interleaved(lambda: arm("required", epochs), lambda: arm("off", epochs), n=rounds(1))
    what = f"EfficientNet-Lite0 128x128, 1,400 photographs, {epochs} epochs"
    yield Row(f"one frozen arm, {what}: online / ours", ">= 20", quotients(online, stored))


if __name__ == "__main__":
    memory()
