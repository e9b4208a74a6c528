"""A number and the interval around it."""

from __future__ import annotations

from dataclasses import dataclass

LEVEL = 0.95
RESAMPLES = 2000  # the ends of a percentile interval then move by about 0.001 with the random start


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Attributes:
        value: the estimate.
        low: lower end.
        high: upper end.
        over: what was drawn at random: ``images``, ``groups of images``, ``seeds``, ``images and seeds``, ...
    """

    value: float
    low: float
    high: float
    over: str

    def clipped(self, low: float = 0.0, high: float = 1.0) -> Interval:
        """Returns the interval cut off where no accuracy can be."""
        return Interval(self.value, max(low, self.low), min(high, self.high), self.over)
