"""Settings of export and prediction."""

from __future__ import annotations

from dataclasses import dataclass

from seedsweep.bounds import at_least, one_of


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
