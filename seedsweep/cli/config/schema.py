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

from seedsweep.bounds import between, one_of
from seedsweep.diagnosis.options import DiagnoseConfig
from seedsweep.export.options import ExportConfig, PredictConfig
from seedsweep.names import path_of
from seedsweep.report.options import ReportConfig
from seedsweep.study.options import PrunerConfig, SamplerConfig, StorageConfig, StudyConfig
from seedsweep.training.options import ArmSettings

TASKS = Path(__file__).resolve().parents[1] / "tasks"  # a file each; not imported here


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
class Config(ArmSettings):
    """The whole configuration of one run."""

    task: str = "train"  # what to do
    resume: bool = False  # set by `resume=DIR`
    checkpoint: str | None = None  # of task=predict, evaluate and export: a run's folder, or its checkpoint
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

    @property
    def studies_dir(self) -> Path:
        """The folder that holds a folder for each study."""
        return path_of(self.paths.outputs) / "studies"

    @property
    def study_dir(self) -> Path:
        """The folder of the study that ``study.name`` names, absolute."""
        return (self.studies_dir / self.study.name).absolute()

    def __post_init__(self) -> None:
        one_of("task", self.task, [module.name for module in pkgutil.iter_modules([str(TASKS)])])
        super().__post_init__()
