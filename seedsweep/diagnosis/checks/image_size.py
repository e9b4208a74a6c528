"""Image size: are the images so small, or so far out of shape, that the net no longer sees what makes the class?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from seedsweep.batchnorm.policy import statistics_untouched
from seedsweep.data.images import read_image
from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict
from seedsweep.diagnosis.other_inputs import MOST, Sample, Tried
from seedsweep.diagnosis.subject import Subject
from seedsweep.models.build import ArmBackbone

CHECK = Check(
    "image_size",
    "Image size",
    34,
    "A linear probe, cross-validated by photograph, on features of up to 600 images at data.image_size, at sizes up "
    "to three times as large, and in the shape that the photographs have.",
    on_validation=True,
    of_images=True,
)
SHAPES = "Shape of the images"
FACTORS = (1.5, 2.0, 3.0)
OPERATIONS = 3e12  # floating-point, of all images of a size: where one takes many, there are fewer of them
FEWEST = 100  # images that can tell sizes apart
SMALL = 160  # pixels a side, up to which the largest factor is tried
SURE = 0.05  # of accuracy that even the lower end of the interval must be worth, for a fault
SOME, CERTAIN = 0.03, 0.01  # of accuracy, and the p value, for a word
SHAPE = 1.4  # times wider or taller than the file: a fifth of each side, either way
UNLIKE = 1.6  # widest over tallest shape, of the middle 80 % of the files


def check(subject: Subject, folder: Path) -> list[Finding]:
    """Tries the shape that most files have, larger sizes in the better shape, and then each file's own shape."""
    sample = Sample.of(subject)
    files, (height, width) = subject.audited.files, subject.config.data.image_size
    sides = [files[row] for row in subject.out_of_fold.rows[sample.rows]]
    shapes = np.quantile([np.log(file.width / file.height) for file in sides], [0.1, 0.5, 0.9])
    low, middle, high = np.exp(shapes).tolist()
    stretched = width / height / middle
    own, evidence = [height, width], Evidence()
    evidence |= {"width_over_height": [low, middle, high], "of_image_size": width / height}
    said = (
        f"The files are {low:.2g} to {high:.2g} times as wide as high (the middle 80 %), data.image_size "
        f"{width / height:.2g}"
    )
    shape = CHECK.found(Verdict.FINE, f"{said}: they are hardly squashed.", evidence, title=SHAPES)
    size = own
    if max(stretched, 1 / stretched) >= SHAPE:
        other = _of_shape(height * width, middle, subject.backbone.net.min_size)
        tried = sample.compare(sample.at(own), sample.at(other))
        text = f"{said}. At {_called(other)}, with as many pixels, a probe gets {tried}."
        shape = _found(text, tried, evidence, [_override(other)])
        size = other if shape.remedy else own
    larger, size = _larger(subject, size)
    if high / low >= UNLIKE and not shape.remedy:
        padded = sample.passed(_padded(subject, rows, size) for rows, _ in sample.pixels())
        tried = sample.compare(sample.at(size), padded)
        text = f"{said}. Padded to {_called(size)} in their own shape, a probe gets {tried}."
        shape = _found(text, tried, evidence, [])
    return [shape, larger]


def _found(text: str, tried: Tried, evidence: Evidence, remedy: list[str]) -> Finding:
    """Returns what is said of a shape that was tried."""
    verdict, numbers = judged(tried), evidence | {"tried": tried.row("shape")}
    if verdict is Verdict.FINE:
        return CHECK.found(verdict, f"{text} That is not better beyond chance.", numbers, title=SHAPES)
    if not remedy:
        text += " No setting does that: pad the files before."
    return CHECK.found(verdict, text, numbers, remedy, tried.change.difference, title=SHAPES)


def _larger(subject: Subject, size: list[int]) -> tuple[Finding, list[int]]:
    """Returns what larger images bring, and the size that is best."""
    images = OPERATIONS / operations(subject.backbone, size)
    tried: dict[str, Tried] = {}
    as_it_is: dict[int, NDArray[np.bool_]] = {}  # by the number of images, mostly the same
    for factor in FACTORS:
        larger = [round(factor * side) for side in size]
        n = int(min(MOST, images / factor**2))
        if n >= FEWEST and (factor < FACTORS[-1] or larger[0] * larger[1] <= SMALL**2):
            sample = Sample.of(subject, n)
            if n not in as_it_is:
                as_it_is[n] = sample.right(sample.at(size))
            tried[_called(larger)] = sample.tried(as_it_is[n], sample.right(sample.at(larger)))
    if not tried:
        text = f"Can't tell: at {_called(size)} the net is so slow that larger images would take minutes."
        return CHECK.found(Verdict.UNKNOWN, text), size
    best = max(tried, key=lambda name: tried[name].gain)
    evidence: Evidence = {"tried": [each.row(name) for name, each in tried.items()]}
    verdict = judged(tried[best], len(tried))
    if verdict is Verdict.FINE:
        text = f"At {_called(size)} (height x width in pixels) no larger size that was tried is better beyond chance"
        return CHECK.found(
            verdict, f"{text}: the best is {best}, where a probe gets {tried[best]}.", evidence
        ), size
    text = (
        f"{_called(size)} (height x width in pixels) shows too little: at {best} a probe gets {tried[best]}."
    )
    found = [round(int(side)) for side in best.split("x")]
    return CHECK.found(verdict, text, evidence, [_override(found)], tried[best].change.difference), found


def operations(backbone: ArmBackbone, size: list[int]) -> float:
    """Returns the floating-point operations that an image of ``size`` takes."""
    backbone.net.eval()
    with FlopCounterMode(display=False) as counter, statistics_untouched(backbone.net), torch.no_grad():
        backbone.net(torch.zeros(1, 3, *size))
    return float(max(counter.get_total_flops(), 1))


def judged(tried: Tried, of: int = 1) -> Verdict:
    """Judges the best of ``of`` other kinds of inputs."""
    gain = tried.change.difference
    if gain.value < SOME or tried.change.p >= CERTAIN / of:
        return Verdict.FINE
    return Verdict.FAULT if gain.low >= SURE else Verdict.SUSPECT


def _padded(subject: Subject, rows: NDArray[np.int64], size: list[int]) -> Tensor:
    """Returns images [B, 3, H, W] in their own shape; the rest has the mean colour of their outer pixels."""
    pixels = subject.material.images.pixels
    height, width = size
    made = torch.empty(len(rows), 3, height, width)
    files = subject.audited.files
    for image, row in zip(made, rows, strict=True):
        file = files[int(subject.out_of_fold.rows[row])]
        scale = min(height / file.height, width / file.width)
        h, w = max(1, round(scale * file.height)), max(1, round(scale * file.width))
        small = read_image(pixels.paths[int(row)], (h, w), pixels.how).float()
        rim = torch.cat([small[:, [0, -1]].flatten(1), small[:, :, [0, -1]].flatten(1)], 1)
        image[:] = rim.mean(1)[:, None, None]
        top, left = (height - h) // 2, (width - w) // 2
        image[:, top : top + h, left : left + w] = small
    return made


def _of_shape(pixels: int, shape: float, least: int) -> list[int]:
    """Returns [height, width] of about ``pixels``, ``shape`` times as wide as high, no side below ``least``."""
    return [max(least, round(side)) for side in ((pixels / shape) ** 0.5, (pixels * shape) ** 0.5)]


def _called(size: list[int]) -> str:
    return f"{size[0]}x{size[1]}"


def _override(size: list[int]) -> str:
    return f"data.image_size=[{size[0]},{size[1]}]"
