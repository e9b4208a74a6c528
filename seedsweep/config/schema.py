"""Typed schema of every configuration value, and the bounds each must keep.

Hydra merges the YAML files of ``conf/`` into these dataclasses, so a wrong type or an unknown key
stops before anything runs; ``OmegaConf.to_object`` builds them, and ``__post_init__`` then checks
what a type cannot say. Units and shapes stand beside each field.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from seedsweep.batchnorm.options import BatchNormConfig
from seedsweep.bounds import between, file_name, one_of
from seedsweep.data.options import AugmentConfig, DataConfig
from seedsweep.diagnosis.options import DiagnoseConfig
from seedsweep.export.options import ExportConfig, PredictConfig
from seedsweep.features.options import FeaturesConfig
from seedsweep.models.options import BackboneConfig, HeadConfig, PreprocessConfig
from seedsweep.report.options import ReportConfig
from seedsweep.study.options import PrunerConfig, SamplerConfig, StorageConfig, StudyConfig
from seedsweep.training.options import OptimConfig, TrainerConfig

TASKS = Path(__file__).resolve().parents[1] / "cli" / "tasks"  # a file each; not imported here


@dataclass
class PathsConfig:
    """Where things are written. Relative paths start at the working directory."""

    outputs: str = "outputs"  # folder of single runs and of studies
    multirun: str = "multirun"  # folder of grids
    cache: str = "~/.cache/seedsweep"  # folder of stored features and of the demo's photographs


@dataclass
class RungConfig:
    """A rung of the ladder (``conf/rung``), or an arm that stands beside it."""

    kind: str = ""  # rung: a step of the ladder; put_back: a fault put back; cell: of the two-by-two table
    after: str = ""  # experiment.name of the arm that it differs from in one thing
    label: str = ""  # that thing, for a picture
    change: str = ""  # that thing, in a few words

    def __post_init__(self) -> None:
        one_of("rung.kind", self.kind, ("", "rung", "put_back", "cell"))


@dataclass
class ExperimentConfig:
    """What an experiment is called and what it teaches."""

    name: str = "custom"  # of the arm, in tables and folders
    teaches: str = ""  # what the arm is there for, in a line

    def __post_init__(self) -> None:
        file_name("experiment.name", self.name)


@dataclass
class CacheConfig:
    """``task=cache``: what to do with the stored features."""

    action: str = "list"  # list | verify | clear
    key: str | None = None  # of one net, or its beginning; none: all

    def __post_init__(self) -> None:
        one_of("cache.action", self.action, ("list", "verify", "clear"))


@dataclass
class DashboardConfig:
    """``task=dashboard``: what TensorBoard and optuna-dashboard show, and where."""

    dir: str | None = None  # none: the study that was worked on last, or else all runs
    port: int = 6006  # of TensorBoard; the next free one if it is taken
    optuna_port: int = 8080  # of optuna-dashboard; likewise

    def __post_init__(self) -> None:
        between("dashboard.port", self.port, 1, 65535)
        between("dashboard.optuna_port", self.optuna_port, 1, 65535)


@dataclass
class Config:
    """The whole configuration of one run."""

    task: str = "train"  # what to do
    seed: int = 1  # of the initial head, the order of batches, augmentation and dropout (not of the split)
    resume: bool = False  # set by `resume=DIR`
    checkpoint: str | None = None  # of task=predict and task=export: a run's folder, or its checkpoint
    experiment: ExperimentConfig = field(default_factory=ExperimentConfig)
    rung: RungConfig = field(default_factory=RungConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    data: DataConfig = MISSING
    augment: AugmentConfig = MISSING
    preprocess: PreprocessConfig = MISSING
    backbone: BackboneConfig = MISSING
    batchnorm: BatchNormConfig = MISSING
    head: HeadConfig = field(default_factory=HeadConfig)
    optim: OptimConfig = MISSING
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    dashboard: DashboardConfig = field(default_factory=DashboardConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    diagnose: DiagnoseConfig = field(default_factory=DiagnoseConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    study: StudyConfig = field(default_factory=StudyConfig)
    sampler: SamplerConfig = MISSING
    pruner: PrunerConfig = MISSING
    storage: StorageConfig = MISSING

    def __post_init__(self) -> None:
        one_of("task", self.task, [module.name for module in pkgutil.iter_modules([str(TASKS)])])
        between("seed", self.seed, 0, 2**32 - 1)
