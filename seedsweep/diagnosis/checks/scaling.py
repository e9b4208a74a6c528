"""Input scaling: do the tensors that reach the net look as its weights expect?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seedsweep.diagnosis.charts import saved
from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict
from seedsweep.diagnosis.remedy import apply
from seedsweep.diagnosis.subject import Subject
from seedsweep.drawing import GREY, TRAP, VAL, figure, tidy
from seedsweep.models.backbone import Backbone, InputSpec

CHECK = Check(
    "scaling",
    "Input scaling",
    30,
    "Range, mean and standard deviation of each channel of the tensors that reach the net, against what its weights "
    "were trained with; and a linear probe on the features of both scalings.",
)
IMAGES = 128
FLAT = 3.0  # an image whose pixels vary less than this, of 255, shows nothing
EXACT = 0.03  # relative: more than rounding, less than any other scaling
CLEAR = 0.02  # of accuracy
NAMES = {
    "scaled_twice": "The inputs are scaled twice, so that all images look nearly the same to the net",
    "not_scaled": "The inputs are raw pixels: the backbone's own scaling is missing",
    "unit_range": "The inputs are pixels / 255: the mean and standard deviation of the weights are left out",
    "wrong_mean_std": "The inputs are scaled with another mean and standard deviation than the weights'",
}
CONTENTS = {
    "constant": "Most images show one colour only: look at the files, or how they were resized.",
    "dark": "The files hold values of 0 to 2 instead of 0 to 255: they were saved after scaling; save them anew.",
}


@dataclass(frozen=True)
class Affine:
    """What a preprocessing does: black goes to ``low``, white to ``high``; [3] each."""

    low: Tensor
    high: Tensor

    def __str__(self) -> str:
        return f"{float(self.low.mean()):.3g} to {float(self.high.mean()):.3g}"


def check(subject: Subject, folder: Path) -> Finding:
    """Feeds black, white and the training images through the preprocessing."""
    net, plain = subject.net, subject.backbone
    preprocess, backbone = (net.preprocess, net.backbone) if net else (plain.preprocess, plain.net)
    assert isinstance(backbone, Backbone)
    pixels = subject.material.train_pixels(subject.material.some_train(IMAGES))
    with torch.inference_mode():
        tensors = preprocess(pixels)
        ends = [preprocess(torch.full((1, 3, 1, 1), value)).flatten() for value in (0.0, 255.0)]
    found, expected = Affine(*ends), expected_affine(backbone.input_spec)
    kind, contents = scaling_kind(found, expected), pixel_kind(pixels)
    evidence: Evidence = {
        "kind": kind,
        "pixels": contents,
        "low": found.low.tolist(),
        "high": found.high.tolist(),
        "expected_low": expected.low.tolist(),
        "expected_high": expected.high.tolist(),
        "mean": tensors.mean((0, 2, 3)).tolist(),
        "std": tensors.std((0, 2, 3)).tolist(),
    }
    verdict, remedy = Verdict.FINE, []
    texts = [] if contents == "ordinary" else [CONTENTS[contents]]
    if kind != "right":
        as_it_is = apply(subject.clean_config, [])
        as_it_is.preprocess = subject.config.preprocess
        before, after = subject.probe_on(as_it_is).acc, subject.probe.acc
        evidence |= {"probe_as_it_is": before, "probe_corrected": after}
        texts.append(
            f"{NAMES[kind]}: black to white is {found}, and the weights expect {expected}. A linear probe gets "
            f"{before:.0%}, and {after:.0%} with the right scaling."
        )
        remedy = ["preprocess=auto"]
        gross = kind in ("scaled_twice", "not_scaled")
        verdict = Verdict.FAULT if gross or after - before >= CLEAR else Verdict.SUSPECT
    if contents != "ordinary":
        verdict = Verdict.FAULT
    text = " ".join(texts) or "The tensors lie where the weights expect them."
    return CHECK.found(verdict, text, evidence, remedy, picture=_draw(tensors, expected, folder))


def expected_affine(spec: InputSpec) -> Affine:
    """Returns where the weights' own normalisation puts black and white."""
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    return Affine(-mean / std, (1 - mean) / std)


def scaling_kind(found: Affine, expected: Affine) -> str:
    """Names a preprocessing: right, scaled_twice, not_scaled, unit_range or wrong_mean_std."""
    width, right = found.high - found.low, expected.high - expected.low
    gain = float((width / right).mean())
    shifted, stretched = (found.low - expected.low).abs() / right, (width / right - 1).abs()
    if float(torch.cat([shifted, stretched]).max()) <= EXACT:
        return "right"
    if gain < 0.05:
        return "scaled_twice"
    if gain > 20:
        return "not_scaled"
    is_unit = float(torch.cat([found.low, found.high - 1]).abs().max()) < EXACT
    return "unit_range" if is_unit else "wrong_mean_std"


def pixel_kind(pixels: Tensor) -> str:
    """Names what the files hold, from uint8 [n, 3, H, W]: ordinary, constant (most show one colour) or dark."""
    if int(pixels.max()) <= 2:
        return "dark"
    spread = pixels.float().flatten(2).std(2).amax(1)
    return "constant" if float((spread < FLAT).float().mean()) > 0.5 else "ordinary"


def _draw(tensors: Tensor, expected: Affine, folder: Path) -> Path:
    made = figure(10, 3.2)
    axes = made.subplots(1, 3, sharey=True)
    for channel, (ax, name) in enumerate(zip(axes, ("red", "green", "blue"), strict=True)):
        values = tensors[:, channel].flatten().numpy()
        values = values[:: max(1, len(values) // 20000)]
        low, high = float(expected.low[channel]), float(expected.high[channel])
        inside = (
            values.min() >= low - 0.1 and values.max() <= high + 0.1 and np.ptp(values) > 0.1 * (high - low)
        )
        bins = np.linspace(low, high, 41) if inside else 41
        ax.hist(values, bins, histtype="stepfilled", color=VAL if inside else TRAP)
        if inside:
            ax.axvspan(low, high, color=GREY, alpha=0.15, linewidth=0)
        tidy(ax, f"{name}: expected {low:.2f} to {high:.2f}")
        ax.set_yticks([])
        ax.set_xlabel("value that reaches the net")
    return saved(made, folder, "scaling.png")
