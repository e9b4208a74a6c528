"""Times as people write and read them, the time that a sweep or study has, and what runs take."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, field

from seedsweep.errors import SeedsweepError

_NUMBER = r"(\d+(?:\.\d+)?)"
_PARTS = re.compile(f"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?")
_UNITS = (3600.0, 60.0, 1.0)
SHORTEST = 10.0  # seconds: to load PyTorch takes half of it


def seconds_of(name: str, text: str) -> float:
    """Returns the seconds of a time such as ``90s``, ``30m``, ``1h30m``.

    Raises:
        SeedsweepError: it can't be read, or is shorter than ``SHORTEST``.
    """
    found = _PARTS.fullmatch(text.strip().lower())
    if not text.strip() or found is None:
        number = text.strip()
        unit = f": {number}s are seconds, {number}m minutes" if number.isdigit() else ""
        raise SeedsweepError(f"{name}={text} is no time{unit}; write it as 90s, 30m, 1h or 1h30m.")
    seconds = sum(float(part) * unit for part, unit in zip(found.groups(), _UNITS, strict=True) if part)
    if not SHORTEST <= seconds < math.inf:
        raise SeedsweepError(f"{name}={text} is too short: it must be at least {SHORTEST:.0f}s.")
    return seconds


def spoken(seconds: float) -> str:
    """Returns a time as people say it: ``42 s``, ``4.1 min``, ``1.3 h``."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3570 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Clock:
    """The time that something has, from when it was made; worker processes of this machine share it."""

    seconds: float = math.inf  # in all; infinite: there is no limit
    began: float = field(default_factory=time.monotonic)  # ``time.monotonic()`` at its beginning

    @classmethod
    def of(cls, budget: str | None) -> Clock:
        """Returns one for the setting ``budget``."""
        return cls(math.inf if budget is None else seconds_of("budget", budget))

    @property
    def took(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float:
        """Seconds to the end; below 0 after it."""
        return self.seconds - self.took

    @property
    def ends(self) -> bool:
        """Whether there is a limit."""
        return math.isfinite(self.seconds)


@dataclass(frozen=True)
class Pace:
    """Seconds of an arm's runs."""

    epochs: int  # that a run has at most
    epoch: float  # of one of them, with what is measured and written after it
    setup: float  # before the first one, in every run
    ending: float  # after the last one: scores and checkpoint
    # before the first run alone, by what it is: the pass over the images, by the place of its features
    once: dict[str, float] = field(default_factory=dict)
    images_per_second: float | None = None  # in that pass or in training; None: the features are known

    def seconds(self, epochs: int | None = None) -> float:
        """Returns those of a run with so many epochs (None: all), without what is done once."""
        return self.setup + (self.epochs if epochs is None else epochs) * self.epoch + self.ending
