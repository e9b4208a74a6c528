"""Typed schema of every configuration value, and the bounds each must keep.

Hydra merges the YAML files of ``conf/`` into these dataclasses, so a wrong type or an unknown key
stops before anything runs; ``OmegaConf.to_object`` builds them, and ``__post_init__`` then checks
what a type cannot say. Units and shapes stand beside each field.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from seedsweep.bounds import MOST_IMAGES, at_least, between, one_of
from seedsweep.diagnosis.options import DiagnoseConfig
from seedsweep.errors import SeedsweepError
from seedsweep.export.options import ExportConfig, PredictConfig
from seedsweep.names import path_of
from seedsweep.report.options import ReportConfig
from seedsweep.runs.duration import seconds_of
from seedsweep.study.options import PrunerConfig, SamplerConfig, StorageConfig, StudyConfig
from seedsweep.training.options import ArmSettings

FORECASTS = ("auto", "only", "off")
TASKS = Path(__file__).resolve().parents[1] / "tasks"  # a file each; not imported here


@dataclass
class CacheConfig:
    """``task=cache``: what to do with the stored features."""

    action: str = "list"  # list | clear
    key: str | None = None  # of one net, or its beginning; none: all

    def __post_init__(self) -> None:
        one_of("cache.action", self.action, ("list", "clear"))


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
class AnswerConfig:
    """``+sweep=answer``: what is compared and searched."""

    # experiments
    arms: list[str] = field(
        default_factory=lambda: [
            "frozen_bn",
            "bn_recalibrated",
            "finetune_upper",
            "finetune_bn_frozen",
            "finetune_bn",
            "finetune_two_phase",
        ]
    )
    seeds: int = 3  # of each arm
    trials: int = 20  # of the study of the best arm; 0: none

    def __post_init__(self) -> None:
        at_least("answer.seeds", self.seeds, 1, 1000)
        at_least("answer.trials", self.trials, 0, 100_000)
        if not self.arms:
            raise SeedsweepError("answer.arms is empty: name one experiment at least.")


@dataclass
class NetConfig:
    """A net of ``backbones.nets``."""

    name: str = MISSING  # as backbone= has it
    weights: str = "auto"  # as backbone.weights has them

    def __post_init__(self) -> None:
        if self.name == "auto":
            raise SeedsweepError("backbones.nets holds auto, which is no net: name one, as backbone= does.")


@dataclass
class BackbonesConfig:
    """``+study=backbones``: which nets are compared, and how many of them are fine-tuned."""

    # as `[{name:vgg16,weights:FILE},{name:resnet50}]`
    nets: list[NetConfig] = field(default_factory=list)
    # [height, width] of each; empty: data.image_size alone
    sizes: list[list[int]] = field(default_factory=list)
    images: int = 1000  # of training, and of validation, that are looked at
    finetune: int = 3  # the best by the probe are fine-tuned; 0: none
    arm: str = "finetune_bn"  # the experiment that fine-tunes them
    seeds: int = 1  # of each

    def __post_init__(self) -> None:
        at_least("backbones.images", self.images, 20, MOST_IMAGES)
        at_least("backbones.finetune", self.finetune, 0, 1000)
        at_least("backbones.seeds", self.seeds, 1, 1000)
        for size in self.sizes:
            if len(size) != 2 or min(size) < 1:
                raise SeedsweepError(f"backbones.sizes holds {size}: give [height, width] in pixels.")


@dataclass
class Config(ArmSettings):
    """The whole configuration of one run."""

    task: str = "train"  # what to do
    resume: bool = False  # set by `resume=DIR`
    # time for all of a grid, study or +sweep=answer, such as 90s, 30m, 1h30m; null: no limit
    budget: str | None = None
    # how long a grid or study will take is measured and printed before it begins: auto | only (and it ends there) | off
    forecast: str = "auto"
    checkpoint: str | None = None  # of task=predict, evaluate and export: a run's folder, or its checkpoint
    answer: AnswerConfig = field(default_factory=AnswerConfig)
    backbones: BackbonesConfig = field(default_factory=BackbonesConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    dashboard: DashboardConfig = field(default_factory=DashboardConfig)
    logger: dict[str, Any] = field(default_factory=dict)  # trackers beside TensorBoard: conf/logger/ has them
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
        one_of("forecast", self.forecast, FORECASTS)
        if self.budget is not None:
            seconds_of("budget", self.budget)
        super().__post_init__()
