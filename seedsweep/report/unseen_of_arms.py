"""What is likely on unseen photographs, told once for each data set of a grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from seedsweep.runs.grid import ArmRow, by_data, median_run
from seedsweep.runs.run_result import RunResult
from seedsweep.runs.unseen import Unseen


@dataclass(frozen=True)
class UnseenOfArm:
    """What was measured of one run, of the best arm of its data set that can be measured."""

    run: RunResult
    found: Unseen

    @property
    def short(self) -> str:
        """One sentence; empty where there is no difference."""
        return self._named(self.found.short)

    @property
    def sentence(self) -> str:
        """All of it."""
        return self._named(self.found.sentence)

    def _named(self, text: str) -> str:
        return f"`{self.run.label}`, {self.run.which}: {text[:1].lower()}{text[1:]}" if text else ""


def unseen_of(rows: list[ArmRow], runs: Iterable[RunResult]) -> list[UnseenOfArm]:
    """Returns one for each data set whose split tears photographs; ``rows`` are best first, and the median run is
    meant."""
    everything, told = list(runs), []
    for group in by_data(rows):
        medians = [median_run(row.of(everything)) for row in group if row.mean is not None]
        found = [UnseenOfArm(run, run.unseen) for run in medians if run.unseen is not None]
        if found:
            told.append(next((each for each in found if each.found.likely is not None), found[0]))
    return told
