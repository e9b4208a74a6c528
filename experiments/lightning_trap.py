"""The BatchNorm trap in a plain LightningModule with a plain DataLoader, and its one-line cure.

A net is trained on one kind of generated images. Its frozen backbone then serves a new head for images of another
kind. ``BaseFinetuning.freeze(backbone, train_bn=False)`` freezes what it says, but lets BatchNorm normalise with each
batch in training. At inference the stored statistics normalise, so the head meets features that it never saw.
``BatchNormCallback("inference", "backbone")`` makes both the same.

    python experiments/lightning_trap.py
"""

from __future__ import annotations

import argparse
import logging
import math
import warnings

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BaseFinetuning
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import seedsweep as ss

CLASSES, SIZE, BATCH = 4, 24, 32


def stripes(n: int, seed: int, contrast: float, brightness: float) -> TensorDataset:
    """Draws ``n`` images [3, SIZE, SIZE] of stripes in noise; the class is their direction."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (n,), generator=random)
    angle = (labels * math.pi / CLASSES).view(-1, 1, 1)
    phase = torch.rand(n, 1, 1, generator=random) * 2 * math.pi
    down, across = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    waves = torch.sin((across * torch.cos(angle) + down * torch.sin(angle)) * 1.2 + phase)
    noise = torch.randn(n, 3, SIZE, SIZE, generator=random)
    return TensorDataset(brightness + contrast * (waves.unsqueeze(1) + noise), labels)


def convolutions() -> nn.Sequential:
    """Builds a small backbone with BatchNorm: images [B, 3, SIZE, SIZE] to features [B, 32]."""
    layers: list[nn.Module] = []
    for channels, out in ((3, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(channels, out, 3, stride=2, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Classifier(pl.LightningModule):
    """A LightningModule as anybody writes it: it knows nothing of seedsweep."""

    def __init__(self, backbone: nn.Module, *, frozen: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(32, CLASSES)
        if frozen:
            BaseFinetuning.freeze(self.backbone, train_bn=False)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits [B, CLASSES]."""
        logits: Tensor = self.head(self.backbone(images))
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
        """Returns the loss of a batch."""
        images, labels = batch
        return functional.cross_entropy(self(images), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Trains what is not frozen."""
        return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=1e-2)


class Gap(pl.Callback):
    """Measures what BatchNorm's two modes answer to the training images, at the end of training."""

    def __init__(self, images: TensorDataset) -> None:
        self.loader = DataLoader(images, batch_size=BATCH, shuffle=True)
        self.found: ss.BnGap | None = None

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measures; the model is left as it was."""
        self.found = ss.bn_gap(pl_module, self.loader)


def train(model: Classifier, images: TensorDataset, epochs: int, callbacks: list[pl.Callback]) -> None:
    """Trains a model with a plain Trainer."""
    trainer = pl.Trainer(
        max_epochs=epochs,
        callbacks=callbacks,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(images, batch_size=BATCH, shuffle=True, drop_last=True))


def run(n: int = 512, epochs: int = 8) -> dict[str, ss.BnGap | None]:
    """Trains a head twice on the same frozen backbone, without and with the callback.

    Args:
        n: training images of each kind.
        epochs: of each training.

    Returns:
        By name, the accuracy on the same training images in train mode and in eval mode.
    """
    pl.seed_everything(0, verbose=False)
    first = Classifier(convolutions(), frozen=False)
    train(first, stripes(n, 1, contrast=0.5, brightness=0.0), epochs, [])
    weights = first.backbone.state_dict()

    images = stripes(n, 2, contrast=0.4, brightness=1.0)  # paler and brighter than those of the backbone
    found = {}
    for name, callbacks in (
        ("freeze(train_bn=False)", []),
        ("and BatchNormCallback", [ss.BatchNormCallback("inference", submodule="backbone")]),
    ):
        pl.seed_everything(1, verbose=False)
        backbone = convolutions()
        backbone.load_state_dict(weights)
        model = Classifier(backbone, frozen=True)
        gap = Gap(images)
        train(model, images, epochs, [*callbacks, gap])
        found[name] = gap.found
    return found


def main() -> None:
    """Prints what :func:`run` found."""
    parser = argparse.ArgumentParser(description="The BatchNorm trap in Lightning, and its one-line cure.")
    parser.add_argument("--images", type=int, default=512, help="training images of each kind")
    parser.add_argument("--epochs", type=int, default=8, help="of each training")
    options = parser.parse_args()
    torch.set_num_threads(1)  # for a net as small as this one more would only wait for each other
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    print(f"{'accuracy on the training images':32}  train mode  eval mode     gap")
    for name, gap in run(options.images, options.epochs).items():
        assert gap is not None
        told = f"{gap.gap:+.3f} ± {gap.standard_error:.3f}"
        print(f"{name:32}       {gap.train_mode:.3f}      {gap.eval_mode:.3f}  {told}")


if __name__ == "__main__":
    main()
