"""A fit that was trained in company beforehand, handed out epoch by epoch as if it were trained now."""

from __future__ import annotations

import time
from dataclasses import dataclass

from torch import Tensor

from seedsweep.training.heads.company import Company


@dataclass
class Replay:
    """Has the face of :class:`seedsweep.training.heads.fit.HeadFit`.

    ``rows`` are the history's columns of each epoch, ``seconds`` the head's part of the time that each took.
    """

    rows: list[dict[str, float]]
    seconds: list[float]
    best_epoch: int
    best_state: dict[str, Tensor]
    next_epoch: int = 0

    @property
    def done(self) -> bool:
        """Whether the last epoch was handed out."""
        return self.next_epoch == len(self.rows)

    @property
    def earlier(self) -> float:
        """Seconds that the next epoch took before it was asked for."""
        return self.seconds[self.next_epoch]

    def epoch(self) -> dict[str, float]:
        """Returns the columns of the next epoch."""
        self.next_epoch += 1
        return self.rows[self.next_epoch - 1]


def trained(company: Company) -> list[Replay]:
    """Trains a company to its end; returns what became of each head, in its order."""
    rows: list[list[dict[str, float]]] = [[] for _ in company.members]
    seconds: list[list[float]] = [[] for _ in company.members]
    while not company.done:
        started = time.perf_counter()
        found = [(place, row) for place, row in enumerate(company.epoch()) if row]  # empty: it has left
        each = (time.perf_counter() - started) / len(found)
        for place, row in found:
            rows[place].append(row)
            seconds[place].append(each)
    return [
        Replay(own, spent, member.best_epoch, member.best_state)
        for own, spent, member in zip(rows, seconds, company.members, strict=True)
    ]
