"""What accuracy a run is likely to have on images that training has no part of: a finding, and how it is said."""

from __future__ import annotations

from dataclasses import dataclass

from seedsweep.runs.held_out import HELD_OUT

COPY = "copy"  # of an image, where no photographs are known


@dataclass(frozen=True)
class Unseen:
    """How much of an accuracy is owed to parts of the same photographs in training; shares are 0..1."""

    one: str  # what the images were torn from: photograph, series or folder; or copy
    split: str  # whose accuracy it is about: test where that was met, else val
    accuracy: float  # of the run on it
    torn: float  # share of its images of which training has a part (or a copy)
    groups: int = 0  # photographs (or images with their copies) that were drawn for the intervals
    largest: float | None = None  # share of the largest class in the split
    # accuracy of a linear probe on the run's features where training has parts of the same photographs
    seen: float | None = None
    unseen: float | None = None  # of the same probe where it has none
    # lower end of the 95 % interval of the difference of the two, over photographs
    gap_low: float | None = None
    gap_high: float | None = None  # upper end
    likely: float | None = None  # accuracy of the run on unseen photographs; None: not measured
    low: float | None = None  # lower end of its 95 % interval, over photographs
    high: float | None = None  # upper end
    why_not: str = ""  # why it was not measured, and what would help; empty: it was
    setting: str = ""  # override that splits by photograph; empty: none does

    @property
    def differs(self) -> bool:
        """Whether the probe classifies unseen photographs worse beyond chance."""
        return self.gap_low is not None and self.gap_low > 0

    @property
    def sentence(self) -> str:
        """What was measured, in a few sentences."""
        has = "" if self.likely is None else f"{self._has}."
        parts = self.short, has, self.basis, self.decided_by
        return " ".join(part for part in parts if part)

    @property
    def basis(self) -> str:
        """What the probe measured, or why it did not."""
        if self.likely is None or self.seen is None or self.unseen is None or self.largest is None:
            return f"What accuracy is likely {self._elsewhere} can't be told: {self.why_not}."
        probe = (
            f"a linear probe on the run's features gets {_percent(self.seen)} so, and {_percent(self.unseen)} "
            f"{self._elsewhere}"
        )
        if not self.differs:
            ends = f"{100 * (self.gap_low or 0):+.1f} to {100 * (self.gap_high or 0):+.1f}"
            return f"No difference beyond chance: {probe} ({ends} points between them, 95 %)."
        return (
            f"The estimate: {probe}; the run is taken to keep as much of its lead over the largest class "
            f"({_percent(self.largest)}) as the probe."
        )

    @property
    def decided_by(self) -> str:
        """The run that would measure it; empty where no setting makes one."""
        return f"A run with `{self.setting}` measures it." if self.setting else ""

    @property
    def short(self) -> str:
        """The likely accuracy with its interval, or that it can't be told: one sentence; empty without a difference."""
        if self.likely is None:
            return f"{self._has}: the accuracy may be too high, by how much can't be told here."
        if not self.differs:
            return ""
        ends = f"95 % interval {100 * (self.low or 0):.1f} to {100 * (self.high or 0):.1f}"
        return (
            f"About {_percent(self.likely)} is likely {self._elsewhere} ({ends}, over {self.groups} {self._many}), "
            f"not the {_percent(self.accuracy)} of the {HELD_OUT[self.split]} images."
        )

    @property
    def _has(self) -> str:
        return f"{self.torn:.0%} of the {HELD_OUT[self.split]} images have {self._part} in training"

    @property
    def _part(self) -> str:
        return "a copy" if self.one == COPY else f"a part of their {self.one}"

    @property
    def _elsewhere(self) -> str:
        return "on images without a copy there" if self.one == COPY else f"on unseen {self._many}"

    @property
    def _many(self) -> str:
        return {COPY: "images with their copies", "series": "series of photographs"}.get(
            self.one, f"{self.one}s"
        )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
