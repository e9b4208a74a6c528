"""Settings of the report, and of the tasks that diagnose, predict and export."""

from __future__ import annotations

from dataclasses import dataclass

from seedsweep.bounds import MOST_IMAGES, at_least, between, one_of


@dataclass
class ReportConfig:
    """report.html and report.md, at the end of a run, a sweep or a study, and by ``task=report``."""

    dir: str | None = None  # of task=report: the folder of a run, a sweep or a study
    write: bool = True  # at the end of every run, sweep and study; a trial has none
    gradcam: int = 8  # worst mistakes whose photographs are explained by Grad-CAM; 0: none

    def __post_init__(self) -> None:
        between("report.gradcam", self.gradcam, 0, 64)


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
    """``task=predict``: every image below ``data.root``, classified by ``checkpoint``."""

    out: str | None = None  # FILE.csv or FILE.parquet; none: predictions.csv in the job's folder


@dataclass
class ExportConfig:
    """``task=export``: the net of ``checkpoint`` for other programs, its preprocessing inside."""

    format: str = "onnx"  # onnx | torch_export | both
    # FILE, its suffix set by the format; none: model.onnx, model.pt2 in the job's folder
    out: str | None = None
    input: str = "uint8"  # uint8 | float32: kind of the pixels 0..255 that it reads
    images: int = 200  # on how many it must predict as the checkpoint does: of data.root, or drawn at random

    def __post_init__(self) -> None:
        one_of("export.input", self.input, ("uint8", "float32"))
        at_least("export.images", self.images, 2, 10_000)
