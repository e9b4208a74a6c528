"""What a study searches and how: dimensions that are overrides, conditions among them, samplers and pruners."""

from __future__ import annotations

import difflib
import math
import random
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import BaseTrial

from seedsweep.errors import SeedsweepError
from seedsweep.overrides import key_of, plus, setting, written
from seedsweep.study.options import ParamConfig, PrunerConfig, SamplerConfig, StudyConfig

Value = str | float | int | bool | None
GRID = "grid"  # a sampler's name: all trials of a grid are added beforehand, and nothing is left to draw
MOST_COMBINATIONS = 100_000


@dataclass(frozen=True)
class Start:
    """A trial to begin with: ``fixed`` are values of dimensions, ``overrides`` further settings of this trial."""

    fixed: dict[str, Value] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)


def dimensions(study: StudyConfig) -> list[ParamConfig]:
    """Returns the space's dimensions in order, those that a condition refers to before it.

    Raises:
        SeedsweepError: the space is empty, a key stands twice, or a condition refers to nothing before it.
    """
    if not study.space:
        raise SeedsweepError("study.space is empty: take a study (+study=head), or add dimensions to it.")
    seen: list[str] = []
    for param in study.space.values():
        if param.key in seen:
            raise SeedsweepError(f"study.space names {param.key} twice.")
        if param.when is not None and (key_of(param.when) not in seen or "=" not in param.when):
            raise SeedsweepError(
                f"study.space: {param.key} has when={param.when}, which must be KEY=VALUE of a dimension before it "
                f"({', '.join(seen) or 'there is none'})."
            )
        seen.append(param.key)
    return list(study.space.values())


def suggest(trial: BaseTrial, space: list[ParamConfig]) -> list[str]:
    """Draws a value for every dimension that applies; returns them as overrides."""
    drawn: dict[str, Value] = {}
    for param in space:
        if _applies(param, drawn):
            drawn[param.key] = _suggest(trial, param)
    return [setting(key, value) for key, value in drawn.items()]


def starts(study: StudyConfig, space: list[ParamConfig]) -> list[Start]:
    """Returns the trials to begin with.

    Raises:
        SeedsweepError: an override can't be read, or its value is not in the space.
    """
    by_key = {param.key: param for param in space}
    found = []
    for entry in study.first:
        start = Start()
        for text in entry:
            key, value = _read(text)
            if key in by_key:
                start.fixed[key] = _label(by_key[key], _checked(by_key[key], value))
            else:
                start.overrides.append(text)
        found.append(start)
    return found


def grid(space: list[ParamConfig], seed: int) -> list[Start]:
    """Returns every combination, shuffled by ``seed``: a study shorter than the grid sees a fair part of it."""
    by_key = {param.key: param for param in space}
    found: list[Start] = []
    for combination in _combinations(space, {}):
        found.append(Start({key: _label(by_key[key], value) for key, value in combination.items()}))
        if len(found) > MOST_COMBINATIONS:
            raise SeedsweepError(
                f"sampler=grid: the space has over {MOST_COMBINATIONS:,} combinations; "
                "lower `points`, or take another sampler."
            )
    random.Random(seed).shuffle(found)
    return found


def probes(study: StudyConfig) -> Iterator[list[str]]:
    """Yields sets of overrides that together touch every end and choice of the space, for a check beforehand."""
    space, shared = dimensions(study), study.settings
    for start in starts(study, space):
        if start.overrides:
            yield [*shared, *start.overrides]
    free = [param for param in space if param.when is None]
    for number in range(max((len(_values(param, 2)) for param in free), default=0)):
        values = {param.key: _values(param, 2) for param in free}
        yield [*shared, *(setting(key, ends[number % len(ends)]) for key, ends in values.items())]
    for param in space:
        for value in _values(param, 2) if param.when is not None else []:
            yield [*shared, plus(str(param.when)), setting(param.key, value)]


def build_sampler(config: SamplerConfig, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Returns a fresh sampler for one trial, seeded by the study and the trial.

    So what a trial draws depends on the seed and the trials before it, not on which process asked, or how
    often it was killed.

    Raises:
        SeedsweepError: no such sampler, or an option that it lacks.
    """
    if config.name == GRID:
        return optuna.samplers.RandomSampler(seed=0)
    mixed = zlib.crc32(f"{seed} {number}".encode())
    options = {**config.options, "seed": mixed}
    return _made("sampler", config.name, optuna.samplers, options)  # type: ignore[no-any-return]


def build_pruner(config: PrunerConfig, max_epochs: int) -> optuna.pruners.BasePruner:
    """Returns the pruner; a Hyperband whose ``max_resource`` is left to us gets ``trainer.max_epochs``.

    Raises:
        SeedsweepError: no such pruner, or an option that it lacks.
    """
    options = dict(config.options)
    if options.get("max_resource") == "auto":
        options["max_resource"] = max_epochs  # Optuna would wait for a whole trial to learn it
    return _made("pruner", config.name, optuna.pruners, options)  # type: ignore[no-any-return]


def _made(group: str, name: str, module: Any, options: dict[str, Any]) -> Any:
    """Makes an object of a class that Optuna knows by ``name``."""
    ending = group.capitalize()
    known = [kind for kind in module.__all__ if kind.endswith(ending) and not kind.startswith("Base")]
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise SeedsweepError(f"{group}.name={name} is unknown: {hint}There are {', '.join(known)}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            return getattr(module, name)(**options)
        except (TypeError, ValueError, ImportError) as error:
            raise SeedsweepError(f"{group}.options don't suit {name}: {error}.") from error


def _combinations(space: list[ParamConfig], drawn: dict[str, Value]) -> Iterator[dict[str, Value]]:
    if not space:
        yield drawn
        return
    param, rest = space[0], space[1:]
    if not _applies(param, drawn):
        yield from _combinations(rest, drawn)
        return
    for value in _values(param, param.points):
        yield from _combinations(rest, {**drawn, param.key: value})


def _values(param: ParamConfig, points: int) -> list[Value]:
    """Returns the choices, or so many values of the range, both ends among them."""
    if param.choices is not None:
        return list(param.choices)
    low, high = _range(param)
    steps = [n / (points - 1) for n in range(points)]
    if param.log:
        values = [math.exp(math.log(low) + step * (math.log(high) - math.log(low))) for step in steps]
    else:
        values = [low + step * (high - low) for step in steps]
    values[0], values[-1] = low, high  # not a rounding error beside them
    return list(dict.fromkeys(round(v) if param.integer else v for v in values))


def _range(param: ParamConfig) -> tuple[float, float]:
    assert param.low is not None
    assert param.high is not None
    return param.low, param.high


def _applies(param: ParamConfig, drawn: Mapping[str, Value]) -> bool:
    if param.when is None:
        return True
    key, value = _read(param.when)
    return key in drawn and drawn[key] == value


def _suggest(trial: BaseTrial, param: ParamConfig) -> Any:
    if param.choices is not None:
        labels = _labels(param)
        return param.choices[labels.index(trial.suggest_categorical(param.key, labels))]
    low, high = _range(param)
    if param.integer:
        return trial.suggest_int(param.key, int(low), int(high), log=param.log)
    return trial.suggest_float(param.key, low, high, log=param.log)


def _read(text: str) -> tuple[str, Any]:
    try:
        override = OverridesParser.create().parse_override(text.lstrip("+"))
        return override.key_or_group, override.value()
    except Exception as error:
        raise SeedsweepError(f"'{text}' in the study can't be read: write KEY=VALUE.") from error


def _labels(param: ParamConfig) -> list[Value]:
    """Returns what Optuna knows the choices by: themselves, or their text where it could not tell them apart.

    It keeps plain values alone, and takes 1, 1.0 and true for one.
    """
    choices = param.choices or []
    is_plain = all(each is None or isinstance(each, (str, int, float)) for each in choices)
    if is_plain and len(set(choices)) == len(choices):
        return list(choices)
    return [written(each) for each in choices]


def _label(param: ParamConfig, value: Any) -> Value:
    plain: Value = value
    return plain if param.choices is None or _labels(param) == param.choices else written(value)


def _checked(param: ParamConfig, value: Any) -> Any:
    """Returns a value as the space has it; raises SeedsweepError where it is not in the space."""
    if param.choices is not None:
        alike = [each for each in param.choices if each == value]
        same = [each for each in alike if isinstance(each, bool) == isinstance(value, bool)]
        if not same:
            raise SeedsweepError(f"study.first: {param.key}={value} is none of its choices, {param.choices}.")
        return same[0]
    low, high = _range(param)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise SeedsweepError(f"study.first: {param.key}={value} does not lie between {low:g} and {high:g}.")
    return int(value) if param.integer else float(value)
