"""What ends a run before its last epoch: the time is over, or it can't overtake another arm any more."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from seedsweep.runs.record import BEHIND, TIME
from seedsweep.stats.interval import wilson

FEWEST = 4  # epochs before a pace is read off them
STEADY = ("constant",)  # schedules under which the last epochs' pace says something about the next ones


@dataclass(frozen=True)
class Rival:
    """The best arm so far: its name, and the lower end of its accuracy's 95 % interval."""

    name: str
    low: float


@dataclass
class RunLimit:
    """The limit of the run that is next, in the session of a grid with a budget; as it is made, nothing ends a run."""

    until: float = math.inf  # ``time.monotonic()`` at which the run must have ended
    ending: float = 0.0  # seconds from its last epoch to its end: scores, pictures and page
    # ends the run where it can't come up to it any more; None: nothing but the time does
    rival: Rival | None = None

    def early(
        self, rows: Sequence[dict[str, float]], epochs: int, n_val: int, schedule: str
    ) -> dict[str, Any] | None:
        """Says whether a run ends after the epochs so far: ``why`` (time | behind) and ``text``; None: it goes on.

        Args:
            rows: the history, with ``val/acc`` and ``seconds``.
            n_val: validation images, or groups of them.
        """
        done = len(rows)
        if done >= epochs:
            return None
        if self.until - time.monotonic() < self.ending + rows[-1]["seconds"]:
            return {"why": TIME, "text": f"the budget ended it after {done} of {epochs} epochs"}
        if self.rival is None or schedule not in STEADY or done < FEWEST:
            return None
        reached = reachable([row["val/acc"] for row in rows], epochs, n_val)
        if reached >= self.rival.low:
            return None
        text = (
            f"ended early after {done} of {epochs} epochs: at the pace of its last epochs it comes to {reached:.3f} at "
            f"most, and {self.rival.name} is at {self.rival.low:.3f} or above (95 % intervals)"
        )
        return {"why": BEHIND, "text": text}


def reachable(accuracies: Sequence[float], epochs: int, n_val: int) -> float:
    """Returns the validation accuracy that a run comes to if it goes on gaining as it did in its later half.

    Accuracies rise ever more slowly at a constant learning rate, so this is more than most runs reach.

    Args:
        accuracies: of each epoch so far, at least two.
        n_val: validation images; the upper end of the interval over them is where it starts.
    """
    best = list(accumulate(accuracies, max))
    half = len(best) // 2
    gain = (best[-1] - best[half - 1]) / (len(best) - half)
    high = wilson(round(best[-1] * n_val), n_val).high
    return min(1.0, high + gain * (epochs - len(best)))
