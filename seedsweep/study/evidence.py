"""Ends trials that can't become good: what their curves show after some epochs, told as a reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from seedsweep.stats.scores import NO_LESS, loss_of_frequencies
from seedsweep.training.options import ArmSettings

EPOCHS = 4  # in a row that must show the same
RECALL = "val/recall/"

Rows = list[dict[str, float]]


@dataclass(frozen=True)
class Hopeless:
    """What tells a trial that can't become good, from its history.

    Two kinds of evidence count, each in :data:`EPOCHS` epochs in a row after the warm-up, and for a third of all
    epochs at least where validation alone shows it:

    - The training loss is that of a net which knows only how frequent the classes are (ln of the classes, if all are
      equally many), and as fast as it fell in these epochs it would stay so until the last.
    - All validation images get one answer, and the validation loss does not fall.

    A loss that is NaN or infinite ends a training by itself.
    """

    frequencies: float  # training loss of a net that knows only how frequent the classes are
    max_epochs: int  # of the trial
    warmup: float = 0.0  # epochs in which the learning rate rises, which show nothing

    @classmethod
    def of(cls, settings: ArmSettings, counts: Mapping[str, int]) -> Hopeless:
        """Returns what tells it of a trial with these settings, whose training images have these counts by class."""
        head, optim, epochs = settings.head, settings.optim, settings.trainer.max_epochs
        rises = 0.3 * epochs if optim.schedule == "one_cycle" else optim.warmup
        balanced = head.class_weights != "none"
        frequent = loss_of_frequencies(counts, smoothing=head.label_smoothing, balanced=balanced)
        return cls(frequent, epochs, rises)

    def reason(self, rows: Rows) -> str | None:
        """Returns why the trial can't become good; None: it may."""
        rows = rows[math.ceil(self.warmup) :]
        return self._flat(rows[-EPOCHS:]) or self._one_class(rows)

    def _flat(self, rows: Rows) -> str | None:
        losses = [row["train/loss"] for row in rows if "train/loss" in row]
        if len(losses) < EPOCHS or min(losses) < NO_LESS * self.frequencies:
            return None
        fall = max(0.0, losses[0] - losses[-1]) / (len(losses) - 1)
        left = self.max_epochs - 1 - rows[-1]["epoch"]
        if losses[-1] - fall * left < NO_LESS * self.frequencies:
            return None
        return (
            f"it learned nothing in {EPOCHS} epochs: the training loss stays at that of known class frequencies, "
            f"{self.frequencies:.2f}, or above"
        )

    def _one_class(self, rows: Rows) -> str | None:
        many = max(EPOCHS, math.ceil(self.max_epochs / 3))
        rows = rows[-many:]
        losses = [row.get("val/loss", math.nan) for row in rows]
        if len(rows) < many or not losses[-1] >= losses[0]:
            return None
        for row in rows:
            recalls = [value for key, value in row.items() if key.startswith(RECALL)]
            if len(recalls) < 2 or sorted(recalls)[:-1] != [0.0] * (len(recalls) - 1) or max(recalls) != 1.0:
                return None
        return f"all validation images got one answer in {len(rows)} epochs, and the validation loss did not fall"
