"""A grid of studies needs a name for each: two of one name would go on with one another's trials."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from seedsweep.config.schema import Config
from seedsweep.errors import SeedsweepError
from seedsweep.overrides import key_of
from seedsweep.training.identity import what_counts

PLAIN = re.compile(r"[\w.+-]+")  # what a folder's name may hold as it is
EXPERIMENT = "${experiment.name}"


class Job(NamedTuple):
    """A job of a grid: as composed, as validated, and its overrides."""

    composed: DictConfig
    config: Config
    lines: list[str]

    @property
    def unresolved_name(self) -> str:
        """The study's, as it is written: ``head_${experiment.name}``."""
        plain: Any = OmegaConf.to_container(self.composed.study, resolve=False)
        return str(plain["name"])


def check_names(jobs: Iterable[Job], *, at_once: bool) -> None:
    """Refuses studies that share a folder, or a name in one storage, and differ in what their trials depend on.

    The jobs of one study (``study.job``) don't, nor does a study of more trials.

    Args:
        jobs: of the grid.
        at_once: whether a launcher may run them beside one another.

    Raises:
        SeedsweepError: two of them do: the second would be refused only after the first, hours later. Or two jobs at
            once would lead one study.
    """
    jobs = list(jobs)
    first: dict[object, Job] = {}
    parts: dict[object, Job] = {}
    for job in jobs:
        for place in (job.config.study_dir, (_storage(job.config), job.config.study.name)):
            other = first.setdefault(place, job)
            if _what_counts(other.config) != _what_counts(job.config):
                raise SeedsweepError(_sentence(other, job, len({each.unresolved_name for each in jobs}) == 1))
        other = parts.setdefault((job.config.study_dir, job.config.study.job), job)
        if at_once and other is not job:
            raise SeedsweepError(
                f"two jobs at once would lead the study {job.config.study.name} ({_differences(other, job)}): call "
                "them one after the other, or let them share it: 'study.job=range(0,2)'."
            )


def _what_counts(config: Config) -> object:
    from seedsweep.study.plan import what_counts_of_study  # Optuna takes a quarter of a second

    study = config.study
    of_study = what_counts_of_study(study, config.sampler, config.pruner)
    where = config.study_dir, _storage(config)
    return what_counts(config), of_study, study.settings, study.first, where


def _storage(config: Config) -> object:
    """Returns what two studies of one storage share."""
    if config.storage.name == "journal" and not config.storage.path:
        return config.study_dir
    return tuple(asdict(config.storage).items())


def _pairs(one: Job, other: Job) -> list[tuple[str, str]]:
    """Returns the overrides in which two jobs differ."""
    return [(a, b) for a, b in zip(one.lines, other.lines, strict=True) if a != b]


def _differences(one: Job, other: Job) -> str:
    return ", ".join(f"{a.lstrip('+')} and {b.lstrip('+')}" for a, b in _pairs(one, other))


def _sentence(one: Job, other: Job, one_name: bool) -> str:
    name = one.config.study.name
    told = f"the grid's studies share the name {name}, but differ ({_differences(one, other)})"
    parts = list(_parts(one, other))
    enough = len(parts) >= len(_pairs(one, other))
    if EXPERIMENT not in parts and EXPERIMENT not in one.unresolved_name:
        parts.insert(0, EXPERIMENT)  # the next grid may be of another
    if not one_name or not enough:
        return f"{told}: call them one by one, each with a study.name=NAME of its own."
    offered = "_".join([one.unresolved_name, *parts])
    return f"{told}: give each a name of its own, for example 'study.name={offered}'."


def _parts(one: Job, other: Job) -> Iterator[str]:
    """Yields what tells the studies apart, as Hydra fills it in: ``${seed}``, ``${experiment.name}``."""
    for _, line in _pairs(one, other):
        key = key_of(line)
        if not PLAIN.fullmatch(line.partition("=")[2]):
            continue
        node = key if "." in key or key == "seed" else f"{key}.name"
        values = [OmegaConf.select(job.composed, node, default=None) for job in (one, other)]
        if values[0] != values[1]:
            yield f"${{{node}}}"
