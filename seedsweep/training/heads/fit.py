"""Trains one head on stored features."""

from __future__ import annotations

from torch import Tensor, nn

from seedsweep.training.heads.company import Company, Setup
from seedsweep.training.heads.data import HeadData, HeadSchedule
from seedsweep.training.options import OptimConfig

__all__ = ["HeadData", "HeadFit", "HeadSchedule"]


class HeadFit:
    """A fit under way: call :meth:`epoch` until :attr:`done`.

    Args:
        head: trained in place.
        data: features and labels, on the head's device.
        optim: the optimiser's settings.
        schedule: epochs, patience, batch size, seed.
        class_weights: [N], or None.
        label_smoothing: of the training loss.
    """

    def __init__(
        self,
        head: nn.Module,
        data: HeadData,
        optim: OptimConfig,
        schedule: HeadSchedule,
        class_weights: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        self._company = Company([Setup(head, optim, class_weights, label_smoothing)], data, schedule)

    @property
    def done(self) -> bool:
        """Whether the last epoch is over, or ``patience`` epochs passed without a better one."""
        return self._company.done

    @property
    def earlier(self) -> float:
        """Seconds that the next epoch took before it is asked for: none."""
        return 0.0

    @property
    def next_epoch(self) -> int:
        """Epochs trained so far."""
        return self._company.next_epoch

    @property
    def best_epoch(self) -> int:
        """The epoch with the best validation accuracy; -1 before the first."""
        return self._company.members[0].best_epoch

    @property
    def best_state(self) -> dict[str, Tensor]:
        """The head's weights after the best epoch; empty before the first."""
        return self._company.members[0].best_state

    def epoch(self) -> dict[str, float]:
        """Trains one epoch and scores it; returns the history's columns."""
        return self._company.epoch()[0]
