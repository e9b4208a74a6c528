"""Says where a study's best values lie at an edge of its space, and the setting that widens it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from seedsweep.overrides import setting, written
from seedsweep.report.study_trials import text_of
from seedsweep.study.options import ParamConfig, StudyConfig

EDGE = 0.1  # of the range: a best value so near to an end lies at the edge
SIDE = 0.4  # of the range, at the same end: where half of the good trials must lie, too
LEAST = 3  # trials that are called good
# by how much a range is widened, as far as the setting allows
FACTORS = (3.0, 2.0, 1.5)  # times its end, of a logarithmic one
SHARES = (0.5, 0.25, 0.1)  # of the range, of others

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Edge:
    """A best value at the edge of its dimension."""

    key: str  # of the setting that was tuned
    value: Any  # the winner's
    space: str  # the dimension as it was, in words
    widen: str  # the setting that widens it

    def __str__(self) -> str:
        """Returns a sentence with the setting to type."""
        value = text_of(self.value)
        return (
            f"The best `{self.key}`, {value}, lies at the edge of the space ({self.space}): a study with another "
            f"`study.name` and `{self.widen}` would search further."
        )


def edges_of(study: StudyConfig, ranked: Sequence[Values], works: Callable[[str], bool]) -> list[Edge]:
    """Returns the edges that the winner lies at, and that half of the good trials are near to.

    Args:
        ranked: values by key of the winner, then of the other finished trials, best first.
        works: says whether a trial may have this override.
    """
    good = ranked[: max(LEAST, len(ranked) // 4)]
    found = []
    for name, param in study.space.items():
        values = [values[param.key] for values in good if param.key in values]
        if not values or param.key not in ranked[0]:
            continue
        wider = _widened(param, values)
        if made := next((each for each, new in wider if works(setting(param.key, new))), None):
            field, space = ("choices", written(param.choices)) if param.choices else _end(param, made)
            widen = f"study.space.{name}.{field}={_typed(getattr(made, field))}"
            found.append(Edge(param.key, ranked[0][param.key], space, widen))
    return found


def _end(param: ParamConfig, made: ParamConfig) -> tuple[str, str]:
    return "low" if made.low != param.low else "high", f"{_typed(param.low)} to {_typed(param.high)}"


def _widened(param: ParamConfig, values: list[Any]) -> Iterator[tuple[ParamConfig, Any]]:
    """Yields wider dimensions, the widest first, with the value that they add; nothing where no edge is reached."""
    if param.choices is not None:
        yield from _more_choices(param, values)
        return
    assert param.low is not None
    assert param.high is not None
    if param.low == param.high:
        return
    to = math.log if param.log else float
    low, high = to(param.low), to(param.high)
    places = [(to(value) - low) / (high - low) for value in values]
    if places[0] >= 1 - EDGE and median(places) >= 1 - SIDE:
        field, sign = "high", 1
    elif places[0] <= EDGE and median(places) <= SIDE:
        field, sign = "low", -1
    else:
        return
    end = getattr(param, field)
    for factor, share in zip(FACTORS, SHARES, strict=True):
        new = end * factor**sign if param.log else end + sign * share * (param.high - param.low)
        new = float(round(new)) if param.integer else float(f"{new:.2g}")
        if sign * (new - end) > 0:
            low, high = (new, param.high) if field == "low" else (param.low, new)
            yield replace(param, low=low, high=high), int(new) if param.integer else new


def _more_choices(param: ParamConfig, values: list[Any]) -> Iterator[tuple[ParamConfig, Any]]:
    """Yields numbers with one more, as far from the last as that from the one before; of other choices none."""
    numbers = sorted(each for each in param.choices or () if type(each) in (int, float))
    if len(numbers) != len(param.choices or ()) or len(numbers) < LEAST or numbers[0] <= 0:
        return
    for end, near in ((numbers[-1], numbers[-2]), (numbers[0], numbers[1])):
        if values[0] == end and values.count(end) * 2 >= len(values):
            new = round(end * end / near) if type(end) is int else float(f"{end * end / near:.2g}")
            if new not in numbers:
                yield replace(param, choices=sorted([*numbers, new])), new


def _typed(value: Any) -> str:
    if isinstance(value, list):
        return written(value)
    return text_of(int(value) if float(value).is_integer() and abs(value) < 1e6 else float(value))


def as_dicts(edges: Sequence[Edge]) -> list[dict[str, Any]]:
    """Returns what result.json holds."""
    return [asdict(edge) | {"sentence": str(edge)} for edge in edges]
