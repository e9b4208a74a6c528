"""What an arm's runs take, in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pace:
    """Seconds of an arm's runs.

    Attributes:
        epochs: that a run has at most.
        epoch: of one of them, with what is measured and written after it.
        setup: before the first one, in every run.
        ending: after the last one: scores and checkpoint.
        once: before the first run alone, by what it is: the pass over the images, by the place of its features.
        images_per_second: in that pass or in training; None: the features are known.
    """

    epochs: int
    epoch: float
    setup: float
    ending: float
    once: dict[str, float] = field(default_factory=dict)
    images_per_second: float | None = None

    def seconds(self, epochs: int | None = None) -> float:
        """Returns those of a run with so many epochs (None: all), without what is done once."""
        return self.setup + (self.epochs if epochs is None else epochs) * self.epoch + self.ending
