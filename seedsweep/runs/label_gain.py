"""What corrected labels did to a run: how many there are, and what a head trained with them gains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from seedsweep.data.corrections import told

SPLITS = ("val", "test")


@dataclass(frozen=True)
class SplitGain:
    """Accuracy, 0..1, on the images of a split whose labels nobody corrected."""

    images: int  # how many
    before: float  # accuracy of a head trained on the labels as they were
    after: float  # of the run's own
    low: float  # lower end of the 95 % interval of their difference, paired by image
    high: float  # upper end
    p: float  # of no difference
    over: str  # what was drawn at random: ``images`` or ``groups of images``


@dataclass(frozen=True)
class LabelGain:
    """What corrections did."""

    source: str  # SHA-256 of the file
    changed: int  # images with another label
    kept: int  # images whose labels were confirmed
    left_out: int  # images that are not used
    gain: dict[str, SplitGain] = field(default_factory=dict)  # by split
    why_not: str = ""  # why the gain was not measured; empty: it was

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> LabelGain:
        """Reads what metrics.json holds.

        Raises:
            TypeError, KeyError, AttributeError: it is none.
        """
        gain = {split: SplitGain(**each) for split, each in content["gain"].items()}
        return cls(**content | {"gain": gain})

    @property
    def sentence(self) -> str:
        """The numbers, and the gain of each split in points."""
        text = told(self.changed, self.kept, self.left_out)
        if self.why_not:
            return f"{text}; what that gains is not measured: {self.why_not}"
        parts = [
            f"{split} {100 * each.after:.1f} % instead of {100 * each.before:.1f} % on the {each.images} "
            f"images whose labels nobody corrected ({_points(each.after - each.before)}, 95 % interval "
            f"{_points(each.low)} to {_points(each.high)})"
            for split, each in self.gain.items()
        ]
        return f"{text}; with them {', '.join(parts)}" if parts else text


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"
