"""What is examined, as far as its records and its trained net tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seedsweep.data.corrections import Correction, read_corrections
from seedsweep.data.pin import Pin
from seedsweep.data.prepare import PreparedImages
from seedsweep.diagnosis.remedy import CommandLine
from seedsweep.diagnosis.stored_features import EVAL_BATCH, Material
from seedsweep.models.classifier import Classifier
from seedsweep.training.options import ArmSettings


@dataclass
class Examined:
    """A net or a plan that is examined."""

    kind: str  # run | checkpoint | plan
    config: ArmSettings  # of the run, or of the command line
    prepared: PreparedImages  # all images, split as the run's were
    net: Classifier | None = None  # the trained net; None for a plan
    last_net: Classifier | None = None  # the net after the last epoch, where it was kept; else ``net``
    history: list[dict[str, float]] = field(default_factory=list)  # a row an epoch; empty where unknown
    metrics: dict[str, Any] = field(default_factory=dict)  # metrics.json; empty where unknown
    folder: Path | None = None  # of the run; None otherwise
    limit: int = 1000  # training images, and validation images, that are looked at
    # the user's manifest, which makes the split; None: data.group_regex or folders make it. A run's own
    # manifest.csv, with which ``config`` repeats its split, is not meant.
    given_manifest: str | None = None
    said: CommandLine | None = None  # the command line that a remedy is added to; None: not known

    @cached_property
    def material(self) -> Material:
        """The images that are looked at."""
        return Material(self.prepared, self.limit, self.config.data.split_seed)

    @property
    def corrections(self) -> list[Correction]:
        """The corrected labels that the subject has already: of the run's record, or of the settings."""
        if self.prepared.corrected is not None:
            return self.prepared.corrected.corrections
        record = Pin.of_run(self.folder).corrections if self.folder is not None else None
        if record is None or not record.is_file():
            return []
        return read_corrections(record, str(record), self.prepared.table.root)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The rows [n] of :attr:`material` in the whole table."""
        place = {path: row for row, path in enumerate(self.prepared.table.paths)}
        return np.asarray([place[path] for path in self.material.images.table.paths], dtype=np.int64)

    @property
    def is_frozen(self) -> bool:
        """Whether only a head was trained."""
        return self.config.is_frozen

    @property
    def n_val(self) -> int:
        """Validation images behind :attr:`val_acc`."""
        if self.net is None and not self.metrics.get("val"):
            return len(self.material.val_labels)
        return len(self.prepared.table.indices("val"))

    def epoch_called(self, last: bool) -> str:
        """Returns which epoch's net is meant (of :attr:`last_net`, or :attr:`net`), to stand behind "the net"; may be
        empty."""
        best, rows = self.metrics.get("best_epoch"), self.history
        if self.last_net is self.net or best is None or not rows or rows[-1].get("epoch", best) == best:
            return ""
        if last:
            return f" of epoch {int(rows[-1]['epoch']) + 1}, the last,"
        return f" of epoch {int(best) + 1}, the best,"

    def labels(self, split: str) -> NDArray[np.int64]:
        """Returns the labels of a split."""
        return self.prepared.table.labels[self.prepared.table.indices(split)]

    def predicted(self, split: str) -> NDArray[np.int64]:
        """Returns the classes that the net predicts for the images of a split, in eval mode."""
        assert self.net is not None
        rows = torch.from_numpy(self.prepared.table.indices(split))
        self.net.eval()
        with torch.inference_mode():
            pixels = (self.prepared.pixels.batch(part.numpy()) for part in torch.split(rows, EVAL_BATCH))
            return torch.cat([self.net(part).argmax(1) for part in pixels]).numpy()
