"""What became of a grid's time: the forecast, the budget, what it really took, and what was not run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from seedsweep.runs.duration import spoken
from seedsweep.whole import read_json, write_json

NAME = "time.json"


@dataclass(frozen=True)
class TimeGiven:
    """The time of a grid, kept in its folder."""

    took: float  # seconds
    forecast: float | None = None  # seconds of all runs with all their epochs; None: it was not measured
    budget: float | None = None  # seconds; None: there was no limit
    not_run: dict[str, list[int]] = field(default_factory=dict)  # seeds that have no run, by arm
    # arms that got no further run, and how far they were behind
    dropped: dict[str, str] = field(default_factory=dict)
    left: str = ""  # what a study did not come to, in a sentence
    spared: tuple[int, int] = (0, 0)  # epochs that early stopping left out, of how many

    @property
    def line(self) -> str:
        """Forecast against truth."""
        parts = []
        if self.budget is not None:
            parts.append(f"budget {spoken(self.budget)}")
        if self.forecast is not None:
            parts.append(
                f"forecast {spoken(self.forecast)}{' for all runs' if self.budget is not None else ''}"
            )
        fewer, all_of_them = self.spared
        why = f" ({fewer} of {all_of_them} epochs were spared by early stopping)" if fewer else ""
        return f"{', '.join([*parts, f'took {spoken(self.took)}'])}{why}"

    @property
    def sentences(self) -> list[str]:
        """What was not run, and why."""
        late = [
            _with_seeds(label, seeds) for label, seeds in self.not_run.items() if label not in self.dropped
        ]
        said = [self.left] if self.left else []
        said += [f"Not run, for the budget was too short: {', '.join(late)}."] if late else []
        for label, why in self.dropped.items():
            seeds = self.not_run.get(label)
            spared = f"; not run: {_with_seeds('', seeds)}" if seeds else ""
            said.append(f"{label} was ended early, {why}{spared}.")
        return said

    def write(self, folder: Path) -> None:
        """Writes time.json."""
        write_json(folder / NAME, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> TimeGiven | None:
        """Reads time.json; None if there is none."""
        content = read_json(folder / NAME)
        return (
            cls(**content | {"spared": tuple(content.get("spared", (0, 0)))}) if "took" in content else None
        )


def _with_seeds(label: str, seeds: list[int]) -> str:
    each = dict.fromkeys(seeds)
    named = f"seed{'s' * (len(each) > 1)} {', '.join(map(str, each))}"
    named = named if len(each) == len(seeds) else f"{len(seeds)} folds of {named}"
    return f"{label} ({named})" if label else named
