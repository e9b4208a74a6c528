"""Whether a study can be searched, and whether a grid of studies has a name for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

from omegaconf import DictConfig

from seedsweep.cli.composing import Composer, check_choice
from seedsweep.cli.config.schema import Config
from seedsweep.cli.shadowed import refusal_of_idle
from seedsweep.errors import SeedsweepError
from seedsweep.overrides import key_of, merged, text_of
from seedsweep.study.options import OF_THE_STUDY
from seedsweep.training.options import what_counts


class Job(NamedTuple):
    """A job of a grid: its overrides, what they are composed to, and that with its types."""

    lines: list[str]
    composed: DictConfig
    config: Config


def check_space(
    compose: Composer, config: Config, overrides: list[str], composed: set[tuple[str, ...]]
) -> None:
    """Composes every end of the space and every choice once, so that no trial finds the mistake.

    Args:
        composed: trials that were composed already, which are passed over; these are added.

    Raises:
        SeedsweepError: a trial has wrong settings, or asks for other images than the study.
    """
    from seedsweep.cli.config.studies import as_meant_in  # Optuna takes a quarter of a second
    from seedsweep.study.plan import check_same_split
    from seedsweep.study.space import probes

    theirs = [o for o in overrides if key_of(o).split(".")[0] not in OF_THE_STUDY]
    keys: set[str] = set()
    tried = []
    for lines in probes(as_meant_in(config.study)):
        for group, _, choice in (line.lstrip("+").partition("=") for line in lines):
            try:
                check_choice(group, text_of(choice))
            except SeedsweepError as error:
                raise SeedsweepError(f"study.space: {error}") from error
        together = tuple(merged(theirs, lines))
        if together not in composed:
            check_same_split(config, compose.config(together))
            composed.add(together)
        keys.update(map(key_of, lines))
        tried.append(compose.config(together))
    if refused := refusal_of_idle(keys, tried or [config]):
        raise SeedsweepError(f"study.space: {refused}")


def check_names(jobs: Sequence[Job], *, at_once: bool) -> None:
    """Refuses studies that share a folder, or a name in one storage, and differ in what their trials depend on.

    The jobs of one study (``study.job``) don't, nor does a study of more trials.

    Args:
        at_once: whether a launcher may run them beside one another.

    Raises:
        SeedsweepError: two of them do: the second would be refused only after the first, hours later. Or two jobs at
            once would be the main process of one study.
    """
    first: dict[object, Job] = {}
    parts: dict[object, Job] = {}
    for job in jobs:
        for place in (job.config.study_dir, (_storage(job.config), job.config.study.name)):
            other = first.setdefault(place, job)
            if _what_counts(other.config) != _what_counts(job.config):
                raise SeedsweepError(
                    f"the grid's studies share the name {other.config.study.name}, but differ "
                    f"({_differences(other, job)}): put what differs into it, as in "
                    "'study.name=mine_${experiment.name}_${seed}', or call them one by one, each with a "
                    "study.name=NAME of its own."
                )
        other = parts.setdefault((job.config.study_dir, job.config.study.job), job)
        if at_once and other is not job:
            raise SeedsweepError(
                f"two jobs at once would be the main process of {job.config.study.name} ({_differences(other, job)}): "
                "call them one after the other, or let them share it: 'study.job=range(0,2)'."
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


def _differences(one: Job, other: Job) -> str:
    """Returns the overrides in which two jobs differ."""
    pairs = [(a, b) for a, b in zip(one.lines, other.lines, strict=True) if a != b]
    return ", ".join(f"{a.lstrip('+')} and {b.lstrip('+')}" for a, b in pairs)
