"""How images become what a deployed model reads: scaling, order of colours, size and crop."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn import functional

from seedsweep.diagnosis.onnx_file import OnnxModel
from seedsweep.models.backbone import IMAGENET, MINUS_ONE_TO_ONE, InputSpec
from seedsweep.models.input_scaling import Preprocess
from seedsweep.models.options import PreprocessConfig

MEAN_OF_CAFFE = InputSpec((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255))
RAW = "from 0 to 255"
SCALINGS: dict[str, tuple[bool, bool, InputSpec]] = {  # what Preprocess does: normalise, rescale, by what
    RAW: (False, False, IMAGENET),
    "divided by 255": (False, True, IMAGENET),
    "divided by 255, then normalised as for ImageNet": (True, False, IMAGENET),
    "from -1 to 1": (True, False, MINUS_ONE_TO_ONE),
    "less ImageNet's mean": (True, False, MEAN_OF_CAFFE),
    "normalised as for ImageNet, then divided by 255 again": (True, True, IMAGENET),
}
SQUASHED, COARSE, CROPPED, CENTRE, PADDED = (
    "squashed to", "squashed without antialiasing to", "cropped to a centre of",
    "cropped to a centre (7/8 of the shorter side) of", "padded with black to",
)  # fmt: skip
SIZES = (64, 96, 128, 160, 192, 224, 256, 299, 320, 384)  # tried where the model takes any


@dataclass(frozen=True)
class Feeding:
    """How images become what a model reads."""

    scaling: str
    swapped: bool
    framing: str
    size: tuple[int, int]

    @property
    def inputs(self) -> str:
        """Returns scaling and order of the colours in words."""
        return f"{'BGR' if self.swapped else 'RGB'} {self.scaling}"

    @property
    def frame(self) -> str:
        """Returns size and crop in words."""
        return f"{self.framing} {self.size[0]}x{self.size[1]}"

    def of(self, image: Tensor) -> Tensor:
        """Returns what the model reads, float32 [3, h, w], of an image uint8 [3, H, W]."""
        normalise, rescale, spec = SCALINGS[self.scaling]
        framed = _framed(image[None], self.framing, self.size)
        scaled: Tensor = Preprocess(PreprocessConfig("", normalise, rescale), spec)(framed)[0]
        return scaled.flip(0) if self.swapped else scaled


def fed_as_set(model: OnnxModel, preprocess: PreprocessConfig | None, size: tuple[int, int]) -> Feeding:
    """Returns how settings feed a model.

    Args:
        preprocess: as it was said; None: nothing was said. Then our own files read 0 to 255, as all that read uint8,
            and others what ImageNet's nets read.
        size: (height, width), of a model that reads any.
    """
    own = model.metadata.get("image_size") if model.is_ours else None
    chosen = model.size or (tuple(json.loads(own)) if own else size)
    raw = model.kind is np.uint8 or (preprocess is None and model.is_ours)
    wanted = (False, False) if raw else (True, False)
    if preprocess is not None and not raw:
        wanted = (preprocess.normalise, preprocess.rescale)
    scaling = next(
        name for name, (*both, spec) in SCALINGS.items() if tuple(both) == wanted and spec == IMAGENET
    )
    return Feeding(scaling, False, SQUASHED, chosen)


def _framed(image: Tensor, framing: str, size: tuple[int, int]) -> Tensor:
    """Returns images [1, 3, H, W] at ``size``, uint8."""
    sides = (image.shape[2], image.shape[3])
    ratios = [side / wanted for side, wanted in zip(sides, size, strict=True)]
    if framing in (CROPPED, CENTRE):
        scale = min(ratios) * (1.0 if framing == CROPPED else 0.875)
        high, wide = (max(1, round(scale * side)) for side in size)
        top, left = (sides[0] - high) // 2, (sides[1] - wide) // 2
        image = image[:, :, top : top + high, left : left + wide]
    if framing == PADDED:
        high, wide = (round(max(ratios) * side) - own for side, own in zip(size, sides, strict=True))
        image = functional.pad(image, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
    return functional.interpolate(image, size, mode="bilinear", antialias=framing != COARSE)
