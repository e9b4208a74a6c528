"""What a net's validation images showed, kept in its checkpoint: the file alone knows how sure its answers may be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seedsweep.models.checkpoint import read_checkpoint, write_checkpoint
from seedsweep.models.familiar import Familiar
from seedsweep.stats.calibration_error import fit_temperature
from seedsweep.stats.interval import group_numbers
from seedsweep.stats.promise import Promise, promise

VALIDATED = "validated"  # key in the checkpoint


@dataclass(frozen=True)
class Validated:
    """A net's answers to the N validation images."""

    # by which its logits are divided, so that confidence agrees with accuracy on these images
    temperature: float
    logits: Tensor  # as the net gives them, float32 [N, C]
    labels: Tensor  # int64 [N]
    groups: Tensor  # int64 [N] numbers of what belongs together, such as photographs of one object
    familiar: Familiar | None = None  # what the training images look like to the net; None: not known

    @classmethod
    def of(
        cls, logits: Tensor, labels: Tensor, groups: Sequence[str], familiar: Familiar | None = None
    ) -> Validated | None:
        """Fits the temperature; None where a logit is NaN or infinite."""
        if not bool(logits.isfinite().all()):
            return None
        temperature = fit_temperature(logits.double().numpy(), labels.numpy())
        numbers, _ = group_numbers(groups, len(labels))
        return cls(temperature, logits.float(), labels, torch.from_numpy(numbers), familiar)

    @classmethod
    def from_checkpoint(cls, content: dict[str, Any]) -> Validated | None:
        """Returns what a checkpoint tells; None for one of an earlier version, and of a study's trial.

        Raises:
            KeyError, TypeError, ValueError: it tells something else.
        """
        if (told := content.get(VALIDATED)) is None:
            return None
        known = {each.name: told.get(each.name) for each in fields(cls)}
        if known["familiar"] is not None:
            known["familiar"] = Familiar(**known["familiar"])
        found = cls(**known)
        if not (math.isfinite(found.temperature) and found.temperature > 0):
            raise ValueError(f"a temperature of {found.temperature}")
        return found

    def promise(self, max_error: float, temperature: float) -> Promise:
        """Returns from which confidence on at most ``max_error`` of the answers are wrong, at a temperature."""
        confidence, predicted = (self.logits / temperature).softmax(1).max(1)
        return promise(confidence.numpy(), (predicted == self.labels).numpy(), self.groups.numpy(), max_error)

    def keep_in(self, checkpoint: Path) -> None:
        """Adds it to a checkpoint; the file is replaced whole."""
        content = read_checkpoint(checkpoint)
        told = dict(vars(self)) | {"familiar": dict(vars(self.familiar)) if self.familiar else None}
        write_checkpoint(content | {VALIDATED: told}, checkpoint)
