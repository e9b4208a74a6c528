"""The worst mistakes as photographs, with where the net looked."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seedsweep.data.images import Reading
from seedsweep.data.pin import values_beside
from seedsweep.data.value_ranges import read_ranges
from seedsweep.errors import SeedsweepError
from seedsweep.names import printable
from seedsweep.report.blocks import Block, Photo, Photos, Section, Text, percent, seconds
from seedsweep.report.contents import GRADCAM, Material
from seedsweep.report.embedded_images import attention, brightened, jpeg_uri, photograph
from seedsweep.runs.csv_files import Predictions
from seedsweep.runs.held_out import HELD_OUT

log = logging.getLogger(__name__)

ORDER = 70
Heat = NDArray[np.float64]


def section(material: Material) -> Section | None:
    """Shows the mistakes with the highest confidence."""
    run = material.best
    if run is None or run.detailed is None:
        return None
    split, answers = run.detailed
    kind, confidence = HELD_OUT[split], answers.probabilities.max(1)
    wrong = np.flatnonzero(answers.correct == 0)
    if not len(wrong):
        text = f"`{run.label}`, {run.which}, classifies all {len(answers.paths)} {kind} images correctly."
        return Section("mistakes", "Worst mistakes", [Text(text)])
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][: material.n_gradcam or GRADCAM]
    how = Reading(read_ranges(values_beside(run.folder / "manifest.csv")))
    photographs = {int(at): photograph(Path(answers.paths[at]), how=how) for at in worst}
    there = [at for at, image in photographs.items() if image is not None]
    started = time.perf_counter()
    heat, why_none = _heat(run.folder, answers, there) if material.n_gradcam and there else ({}, "")
    took = time.perf_counter() - started
    photos = [_photo(answers, at, image, heat.get(at)) for at, image in photographs.items()]
    about = (
        f"The {len(photos)} most confident of the {len(wrong)} mistakes of `{run.label}` on {kind} images."
    )
    blocks: list[Block] = [Text(about), Photos(photos)]
    if heat:
        rows, columns = next(iter(heat.values())).shape
        blocks.append(
            Text(
                "Beside each photograph: bright where the image speaks most for the wrong class, dark where least "
                f"(Grad-CAM on the last feature map, {rows} x {columns} cells; {seconds(took)} for all).",
                small=True,
            )
        )
    if why_none:
        blocks.append(Text(f"No Grad-CAM here: {why_none}", small=True))
    return Section("mistakes", "Worst mistakes", blocks)


def _heat(run_dir: Path, answers: Predictions, rows: list[int]) -> tuple[dict[int, Heat], str]:
    """Returns the heat maps by row, and why there are none."""
    paths = [Path(answers.paths[at]) for at in rows]
    targets = [answers.classes[answers.predicted[at]] for at in rows]
    try:
        return dict(zip(rows, attention(run_dir, paths, targets), strict=True)), ""
    except SeedsweepError as error:
        return {}, str(error)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        log.debug("no Grad-CAM in the report", exc_info=True)
        return {}, f"it could not be computed ({reason})."


def _photo(answers: Predictions, at: int, image: Image.Image | None, heat: Heat | None) -> Photo:
    true, said = answers.classes[answers.labels[at]], answers.classes[answers.predicted[at]]
    name = printable(Path(answers.paths[at]).name)
    p_true, p_said = answers.probabilities[at, answers.labels[at]], answers.probabilities[at].max()
    return Photo(
        title=f"{true}, taken for {said}",
        facts=[
            f"{percent(float(p_said), 0)} % {said}, {percent(float(p_true), 0)} % {true}",
            name if image is not None else f"{name}, not found any more",
        ],
        uri=jpeg_uri(image) if image is not None else "",
        heat_uri=jpeg_uri(brightened(image, heat)) if image is not None and heat is not None else "",
        alt=f"{name}: {true}, taken for {said}",
        heat_alt=f"What in {name} speaks for {said}",
    )
