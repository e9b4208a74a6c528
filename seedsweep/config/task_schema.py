"""The settings of the tasks that read what is there: cache, dashboard, diagnose, predict, export."""

from __future__ import annotations

from dataclasses import dataclass

from seedsweep.config.checks import at_least, between, one_of

MOST_IMAGES = 10_000_000  # a typing error asks for more


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
class DiagnoseConfig:
    """``task=diagnose``: what is examined; neither: the settings of the command line."""

    run: str | None = None  # folder of a finished run; its own settings count
    checkpoint: str | None = None  # a file
    images: int = 1000  # of training, and of validation, that are looked at

    def __post_init__(self) -> None:
        at_least("diagnose.images", self.images, 20, MOST_IMAGES)


@dataclass
class PredictConfig:
    """``task=predict``: every image below ``data.root``, answered by ``checkpoint``."""

    out: str | None = None  # FILE.csv or FILE.parquet; none: predictions.csv in the job's folder


@dataclass
class ExportConfig:
    """``task=export``: the net of ``checkpoint`` for other programs, its preprocessing inside."""

    format: str = "onnx"  # onnx | torch_export | both
    # FILE, its suffix set by the format; none: model.onnx, model.pt2 in the job's folder
    out: str | None = None
    input: str = "uint8"  # uint8 | float32: kind of the pixels 0..255 that it reads
    images: int = 200  # on how many it must answer as the checkpoint does: of data.root, or drawn at random

    def __post_init__(self) -> None:
        one_of("export.input", self.input, ("uint8", "float32"))
        at_least("export.images", self.images, 2, 10_000)
