"""Calibration: does confidence agree with accuracy?"""

from __future__ import annotations

import numpy as np

from seedsweep.errors import SeedsweepError
from seedsweep.report.blocks import Facts, Figure, Figures, Section, Text, percent
from seedsweep.report.contents import Material
from seedsweep.report.run_pictures import reliability_svg
from seedsweep.runs.csv_files import Predictions
from seedsweep.stats.calibration_error import Calibration, calibrate, scaled
from seedsweep.stats.promise import promise

ORDER = 80
CAPTION = "Share of correct answers against confidence, test images"
FEWEST = 20  # images on either side
PROMISES = (0.01, 0.05, 0.1)  # shares of wrong answers


def section(material: Material) -> Section | None:
    """Shows reliability diagram, ECE and temperature: fitted on validation images, reported on test images."""
    run = material.best
    if run is None or not {"val", "test"} <= set(run.predictions):
        return None
    val, test = run.predictions["val"], run.predictions["test"]
    if min(len(val.labels), len(test.labels)) < FEWEST:
        return None
    try:
        kept = run.metrics.get("temperature")
        found = calibrate(test.probabilities, test.labels, val.probabilities, val.labels, kept)
    except SeedsweepError as error:
        return Section("calibration", "Calibration", [Text(str(error))])
    svg = reliability_svg(found.reliability, "reliability")
    alt = f"Reliability diagram: expected calibration error {percent(found.ece)} points"
    facts = [
        ("calibration error (ECE)", f"{percent(found.ece)} points"),
        ("ECE of a calibrated net on as few images", f"up to {percent(found.ece_by_chance)} points"),
        ("temperature, fitted on validation", f"{found.temperature:.2f}"),
        ("ECE after scaling by it", f"{percent(found.ece_scaled)} points"),
        ("loss, before and after", f"{found.loss:.3f}, {found.loss_scaled:.3f}"),
        *([] if kept is None else _left(val, kept)),  # else the checkpoint promises nothing
    ]
    figures = Figures([Figure(alt, CAPTION, svg=svg)])
    return Section(
        "calibration", "Calibration", [Text(in_words(found, kept=kept is not None)), figures, Facts(facts)]
    )


def _left(val: Predictions, temperature: float) -> list[tuple[str, str]]:
    """Returns how many images ``max_error`` of predict and export leaves to a person, by the validation images."""
    confidence = scaled(val.probabilities, temperature).max(1).astype(np.float32)
    facts = []
    for share in PROMISES:
        made = promise(confidence, val.correct == 1, val.groups, share)
        left = (
            "these validation images can't promise it"
            if made.threshold is None
            else f"{percent(made.left)} % left to a person"
        )
        facts.append((f"at most {percent(share)} % of the answers wrong (max_error={share:g})", left))
    return facts


def in_words(found: Calibration, *, kept: bool = False) -> str:
    """Says whether the net is too sure or too unsure, and what helps; ``kept``: its checkpoint tells the
    temperature."""
    on = f"On {found.n} test images"
    if found.ece <= found.ece_by_chance:
        return f"{on}, confidence and accuracy agree within chance."
    bins = found.reliability
    excess = float(np.nansum((bins.confidence - bins.accuracy) * bins.count))  # images
    way = "overconfident" if excess > 0 else "underconfident"
    apart = (
        f"{on} the net is {way} in the mean: confidence and accuracy are {percent(found.ece)} points apart. "
    )
    divided = f"{apart}Dividing its logits by {found.temperature:.2f}"
    stay = "The predicted classes stay the same."
    if found.loss_scaled >= found.loss:
        off = " `predict.temperature=1` and `export.temperature=1` leave it out." if kept else ""
        return f"{divided} does not help.{off}"
    if kept:
        return f"{divided} helps. `task=predict` and `task=export` do so unless told otherwise. {stay}"
    number = f"{found.temperature:.3g}"
    return f"{divided} helps: give `predict.temperature={number}` or `export.temperature={number}`. {stay}"
