"""Settings of Optuna studies: what is tried, how, where it is kept, and who works on it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from dataclasses import fields as dataclass_fields
from functools import cache
from typing import Any, cast

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seedsweep.bounds import at_least, between, file_name, one_of, positive
from seedsweep.errors import SeedsweepError
from seedsweep.overrides import written
from seedsweep.runs.record import METRICS

JOURNAL = "study.journal"  # in a study's folder
# beginnings of keys that are no settings of a trial
OF_THE_STUDY = ("study", "sampler", "pruner", "storage", "task", "resume")


@dataclass
class ParamConfig:
    """One dimension of the space: a list of choices, or a range."""

    key: str = MISSING  # what it overrides: a setting (optim.lr) or a group (backbone, batchnorm, experiment)
    choices: list[Any] | None = None  # the values to choose from
    low: float | None = None  # the lowest value of a range
    high: float | None = None  # the highest value of a range
    log: bool = False  # drawn uniformly in the logarithm
    integer: bool = False  # whole numbers only
    points: int = 4  # values of a range where sampler=grid
    when: str | None = None  # KEY=VALUE of another dimension; otherwise this one stays as it is

    def __post_init__(self) -> None:
        name = f"study.space ({self.key})"
        if (self.choices is None) == (self.low is None or self.high is None):
            raise SeedsweepError(f"{name} needs either choices, or low and high.")
        if self.choices is not None and not self.choices:
            raise SeedsweepError(f"{name}: choices is empty.")
        texts = [written(choice) for choice in self.choices or ()]
        if twice := next((text for text in texts if texts.count(text) > 1), None):
            raise SeedsweepError(f"{name}: choices has {twice} twice.")
        if self.low is not None and self.high is not None:
            at_least(f"{name}.low", self.low, -sys.float_info.max)
            at_least(f"{name}.high", self.high, -sys.float_info.max)
            if self.low > self.high:
                raise SeedsweepError(f"{name}: low is {self.low}, above high, {self.high}.")
            if self.log:
                positive(f"{name}.low, on a log scale,", self.low)
        between(f"{name}.points", self.points, 2, 1000)


@cache
def _dimension() -> DictConfig:
    """Returns the schema of one dimension: made anew for each, it takes as long as all other settings of a trial."""
    return cast(DictConfig, OmegaConf.structured(ParamConfig))


def _param(name: str, value: Any) -> ParamConfig:
    """Types one dimension; here, for Hydra can't add to a dictionary of dataclasses from the command line."""
    if isinstance(value, ParamConfig):
        return value
    try:
        typed = OmegaConf.merge(_dimension(), value)
        return cast(ParamConfig, OmegaConf.to_object(typed))
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        fields = ", ".join(each.name for each in dataclass_fields(ParamConfig))
        reason = str(error).splitlines()[0].rstrip(".")
        raise SeedsweepError(f"study.space.{name} can't be used ({reason}): it has {fields}.") from error


@dataclass
class StudyConfig:
    """An Optuna study over a space of overrides (see ``seedsweep/study``)."""

    name: str = "study"  # one name, one study: a second call goes on with it
    space: dict[str, Any] = field(default_factory=dict)  # ParamConfig by a name of its own
    settings: list[str] = field(default_factory=list)  # overrides that all trials share
    first: list[list[str]] = field(default_factory=list)  # trials to begin with, as overrides
    n_trials: int = 50  # of the whole study, whoever ran them
    metric: str = "macro_f1"  # macro_f1 | acc, of the validation images
    rule: str = "tail"  # tail: mean of the last epochs; checkpoint: that of the epoch whose weights are kept
    tail: int = 3  # epochs
    end_hopeless: bool = True  # end trials whose curves show that they can't become good
    finalists: int = 3  # best settings that are trained again
    finalist_seeds: int = 3  # fresh seeds each
    workers: int = 1  # processes on this machine; 1: in this process, and repeatable
    # of several machines: 0 is the main process, which closes the study; the others only run trials
    job: int = 0
    seed: int = 0  # of the sampler
    heartbeat: float = 10.0  # seconds between a worker's signs of life
    grace: float = 120.0  # seconds without one after which a worker on another machine counts as dead

    def __post_init__(self) -> None:
        self.space = {name: _param(name, value) for name, value in self.space.items()}
        at_least("study.n_trials", self.n_trials, 1, 100_000)
        one_of("study.metric", self.metric, tuple(METRICS))
        one_of("study.rule", self.rule, ("tail", "checkpoint"))
        at_least("study.tail", self.tail, 1, 100_000)
        at_least("study.finalists", self.finalists, 1, 1000)
        between("study.finalist_seeds", self.finalist_seeds, 1, 1000)
        between("study.workers", self.workers, 1, 256)
        at_least("study.job", self.job, 0, 100_000)
        between("study.seed", self.seed, 0, 2**31 - 1)
        positive("study.heartbeat", self.heartbeat)
        positive("study.grace", self.grace)
        if self.grace < 2 * self.heartbeat:
            raise SeedsweepError(
                f"study.grace is {self.grace:g} s, but must be at least twice study.heartbeat, {self.heartbeat:g} s."
            )
        file_name("study.name", self.name)

    @property
    def most_again(self) -> int:
        """How many runs the best settings, and the first, have with fresh seeds at most."""
        return (min(self.finalists, self.n_trials) + bool(self.first)) * self.finalist_seeds


@dataclass
class SamplerConfig:
    """What proposes the settings: a class of ``optuna.samplers``, or ``grid``."""

    name: str = MISSING  # of the class, or grid
    options: dict[str, Any] = field(default_factory=dict)  # of the class; its seed is ours


@dataclass
class PrunerConfig:
    """What ends hopeless trials early: a class of ``optuna.pruners``."""

    name: str = MISSING  # of the class
    options: dict[str, Any] = field(default_factory=dict)  # of the class


@dataclass
class StorageConfig:
    """Where trials are kept."""

    name: str = MISSING  # a file, a database, or a proxy before a database
    path: str | None = None  # journal: the file; null: study.journal in the study's folder
    url: str | None = None  # rdb: postgresql+psycopg://user@host/database
    host: str = "localhost"  # grpc
    port: int = 13000  # grpc

    def __post_init__(self) -> None:
        one_of("storage.name", self.name, ("journal", "rdb", "grpc"))
        if self.name == "rdb" and not self.url:
            raise SeedsweepError(
                "storage.url is not set: give storage.url=postgresql+psycopg://USER@HOST/DATABASE."
            )
        between("storage.port", self.port, 1, 65535)
