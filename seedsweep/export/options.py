"""Settings of export and prediction."""

from __future__ import annotations

from dataclasses import dataclass

from seedsweep.bounds import at_least, between, one_of
from seedsweep.errors import SeedsweepError

MOST_MISTAKES = 0.5
TEMPERATURES = (0.01, 100.0)  # beyond them float32 probabilities are 0 and 1, or all equal


@dataclass
class PredictConfig:
    """``task=predict``, ``task=evaluate``: every image below ``data.root``, classified by ``checkpoint``."""

    # FILE.csv or FILE.parquet; none: predictions.csv (evaluation.csv) in the job's folder
    out: str | None = None
    # by which logits are divided, so that confidence agrees with accuracy: auto (the checkpoint's) | NUMBER
    temperature: str = "auto"
    # share of the answers that may be wrong, such as .05; less sure images are left to a person. None: all are answered
    max_error: float | None = None
    # flip: mean of the probabilities of the image and its mirror image, at twice the time | off
    tta: str = "off"

    def __post_init__(self) -> None:
        one_of("predict.tta", self.tta, ("off", "flip"))
        _check_answers("predict", self.temperature, self.max_error)
        if self.max_error is not None and self.tta != "off":
            raise SeedsweepError(
                "predict.max_error goes by answers on validation without predict.tta: leave one of them out."
            )


@dataclass
class ExportConfig:
    """``task=export``: the net of ``checkpoint`` for other programs, its preprocessing inside."""

    format: str = "onnx"  # onnx | torch_export | both
    # FILE, its suffix set by the format; none: model.onnx, model.pt2 in the job's folder
    out: str | None = None
    input: str = "uint8"  # uint8 | float32: kind of the pixels 0..255 that it reads
    temperature: str = "auto"  # as of predict; inside the file
    max_error: float | None = None  # as of predict; the confidence from which to answer is in the metadata
    images: int = 200  # on how many it must predict as the checkpoint does: of data.root, or drawn at random

    def __post_init__(self) -> None:
        one_of("export.input", self.input, ("uint8", "float32"))
        at_least("export.images", self.images, 2, 10_000)
        _check_answers("export", self.temperature, self.max_error)


def _check_answers(section: str, temperature: str, max_error: float | None) -> None:
    """Raises SeedsweepError unless ``temperature`` is ``auto`` or can divide logits, and ``max_error`` is a share."""
    if max_error is not None:
        between(f"{section}.max_error", max_error, 0.0001, MOST_MISTAKES)
    if temperature == "auto":
        return
    try:
        number = float(temperature)
    except ValueError:
        raise SeedsweepError(
            f"{section}.temperature is '{temperature}', but must be auto or a number."
        ) from None
    between(f"{section}.temperature", number, *TEMPERATURES)
