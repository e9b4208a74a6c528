"""Reads scenarios.yaml: what is planted, into which images and settings, and what is right to say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
GROUPS = {"coffee": r"^(IMG_\d+)\d_\d+", "wheat": r"^(.+)_\d+", "parts": None}
IMAGES = 1100
HELD_SEED = 2  # no check was tuned on what this seed plants


@dataclass(frozen=True)
class Fault:
    """An entry of ``faults`` in scenarios.yaml, where its fields are explained."""

    kind: str
    plant: list[list[str | float]] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    remedy: list[str] = field(default_factory=list)
    n: int = IMAGES
    layout: str = "one"
    ungrouped: bool = False


@dataclass(frozen=True)
class Scenario:
    """A run that is diagnosed: on which images, which net, and what is wrong."""

    data: str
    arm: str
    faults: dict[str, Fault]
    held_out: bool

    @property
    def name(self) -> str:
        return f"{self.data}-{self.arm}-{'+'.join(self.faults)}"

    @property
    def kind(self) -> str:
        """Single faults are of their own kind, several are a combination."""
        return "combination" if len(self.faults) > 1 else next(iter(self.faults.values())).kind

    @property
    def layout(self) -> str:
        return "split" if any(fault.layout == "split" for fault in self.faults.values()) else "one"

    @property
    def group_regex(self) -> str | None:
        ungrouped = any(fault.ungrouped for fault in self.faults.values())
        return None if ungrouped or self.layout == "split" else GROUPS[self.data]


def read_scenarios() -> list[Scenario]:
    content = yaml.safe_load((HERE / "scenarios.yaml").read_text())
    faults = {name: Fault(**values) for name, values in content["faults"].items()}
    return [
        Scenario(data, arm, {name: faults[name] for name in names.split("+")}, part == "held_out")
        for part, lines in content["runs"].items()
        for data, arm, names in map(str.split, lines)
    ]


def chosen(names: list[str], part: str, seeds: list[int]) -> Iterator[tuple[Scenario, int]]:
    """Yields scenarios and seeds of a part: tuned, held-out or all.

    They come in the order of the names; one that is no scenario's own stands for all whose names hold it.
    """
    every = read_scenarios()
    whole = {scenario.name for scenario in every}
    picked = {
        scenario.name: scenario
        for name in names or [""]
        for scenario in every
        if scenario.name == name or (name not in whole and name in scenario.name)
    }
    for seed in seeds:
        for scenario in picked.values():
            if part == "all" or (scenario.held_out or seed == HELD_SEED) == (part == "held-out"):
                yield scenario, seed
