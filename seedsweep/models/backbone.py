"""What every backbone offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn


@dataclass(frozen=True)
class InputSpec:
    """Normalisation that the weights were trained with: ``(RGB / 255 - mean) / std`` a channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = InputSpec((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
MINUS_ONE_TO_ONE = InputSpec((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True)
class CellLayout:
    """How the places of a feature map [B, C, h, w] lie on the image."""

    rows: int  # of cells
    columns: int  # of cells
    prefix: int = 0  # places before the cells, row by row, that belong to no part of the image (class tokens)


class Backbone(nn.Module):
    """A feature extractor: normalised images [B, 3, H, W] to a feature map [B, num_features, h, w].

    Args:
        net: does so. It may have a method ``spaced`` as below, where its maps don't have the image's rows and columns.
        num_features: channels of the feature map.
        input_spec: the normalisation its weights expect.
        min_size: smallest height and width in pixels.
    """

    def __init__(self, net: nn.Module, num_features: int, input_spec: InputSpec, min_size: int) -> None:
        super().__init__()
        self.net = net
        self.num_features = num_features
        self.input_spec = input_spec
        self.min_size = min_size

    def forward(self, images: Tensor) -> Tensor:
        """Returns the feature map [B, num_features, h, w]."""
        return cast(Tensor, self.net(images))

    def spaced(self, images: Tensor) -> tuple[Tensor, CellLayout | None]:
        """Returns the feature map, and how its places lie on the image; None: the net doesn't say."""
        own = getattr(self.net, "spaced", None)
        if own is not None:
            return cast("tuple[Tensor, CellLayout | None]", own(images))
        maps = self(images)
        return maps, CellLayout(*maps.shape[2:])


@dataclass(frozen=True)
class Source:
    """Where a net's pretrained weights may be found without the user's help; empty fields don't apply.

    The fields are tried from top to bottom.
    """

    package: str = ""  # installed package that carries them; its tensors fit in order, not by name
    package_file: str = ""  # glob of the file inside the package
    extra: str = ""  # of seedsweep, that installs the package
    url: str = ""  # torch hub file: its cache first, then a download
    timm: str = ""  # timm model name: the Hugging Face cache first, then a download
    licence: str = ""  # of the weights, as who offers them states it
    classifiers: tuple[str, ...] = ()  # key prefixes of its classifier in files, beside the usual ones
