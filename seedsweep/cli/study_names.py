"""A grid of studies needs a name for each: two of one name would go on with one another's trials."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from seedsweep.config.groups import key_of
from seedsweep.config.location import study_of
from seedsweep.config.same import what_counts, what_counts_of_study
from seedsweep.config.schema import Config
from seedsweep.errors import SeedsweepError

PLAIN = re.compile(r"[\w.+-]+")


class Job(NamedTuple):
    """A job of a grid: as composed, as validated, and its overrides."""

    composed: DictConfig
    config: Config
    lines: list[str]


def check_names(jobs: Iterable[Job]) -> None:
    """Refuses studies of one name that differ in what their trials depend on.

    The jobs of one study (``study.job``) don't, nor does a study of more trials.

    Raises:
        SeedsweepError: two of them do. The second would be refused only after the first, hours later.
    """
    first: dict[object, Job] = {}
    for job in jobs:
        other = first.setdefault(study_of(job.config), job)
        if _what_counts(other.config) != _what_counts(job.config):
            raise SeedsweepError(_sentence(other, job))


def _what_counts(config: Config) -> object:
    return what_counts(config), what_counts_of_study(config), config.study.settings


def _sentence(one: Job, other: Job) -> str:
    pairs = [(a, b) for a, b in zip(one.lines, other.lines, strict=True) if a != b]
    differ = ", ".join(f"{a.lstrip('+')} and {b.lstrip('+')}" for a, b in pairs)
    told = f"the grid's studies share the name {one.config.study.name}, but differ ({differ})"
    parts = list(_parts(other, [b for _, b in pairs]))
    if len(parts) < len(pairs):
        return f"{told}: call them one by one, each with a study.name=NAME of its own."
    name = OmegaConf.to_container(other.composed.study, resolve=False)["name"]  # type: ignore[index,call-overload]
    return f"{told}: give each a name of its own, for example 'study.name={'_'.join([str(name), *parts])}'."


def _parts(job: Job, lines: list[str]) -> Iterator[str]:
    """Yields what tells the studies apart, as Hydra fills it in: ``${seed}``, ``${experiment.name}``."""
    for line in lines:
        key, value = key_of(line), line.partition("=")[2]
        if not PLAIN.fullmatch(value):
            continue
        if "." in key or key == "seed":
            yield f"${{{key}}}"
        elif OmegaConf.select(job.composed, f"{key}.name", default=None) is not None:
            yield f"${{{key}.name}}"
