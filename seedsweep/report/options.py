"""Settings of the report."""

from __future__ import annotations

from dataclasses import dataclass

from seedsweep.bounds import between


@dataclass
class ReportConfig:
    """report.html and report.md, at the end of a run, a sweep or a study, and by ``task=report``."""

    dir: str | None = None  # of task=report: the folder of a run, a sweep or a study
    write: bool = True  # at the end of every run, sweep and study; a trial has none
    gradcam: int = 8  # worst mistakes whose photographs are explained by Grad-CAM; 0: none

    def __post_init__(self) -> None:
        between("report.gradcam", self.gradcam, 0, 64)
