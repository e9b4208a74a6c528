"""What an arm's runs take, in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field


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
