"""Any model of timm as a backbone."""

from __future__ import annotations

import difflib
from typing import Any

import timm
from torch import Tensor, fx

from seedsweep.errors import SeedsweepError
from seedsweep.models.backbone import Backbone, InputSpec, Source, Space, Spaced


class TimmNet(Spaced):
    """timm's ``forward_features``, made a map [B, C, h, w] whatever the model's own layout.

    Args:
        model: without classifier and pooling.
        name: timm's name, for messages.
        fixed_size: (height, width) that the model insists on, or None.
    """

    def __init__(self, model: Any, name: str, fixed_size: tuple[int, int] | None) -> None:
        super().__init__()
        self.model: Any = model
        self.name = name
        self.fixed_size = fixed_size

    def forward(self, images: Tensor) -> Tensor:
        """Returns [B, C, h, w] of images [B, 3, H, W]; tokens [B, n, C] become [B, C, n, 1].

        Raises:
            SeedsweepError: the model takes one image size only, and this is another.
        """
        return self._map(self._features(images))

    def spaced(self, images: Tensor) -> tuple[Tensor, Space | None]:
        """Returns the map, and how its places lie on the images; of tokens that is known where the model says it."""
        features = self._features(images)
        maps = self._map(features)
        if features.ndim == 4:
            return maps, Space(*maps.shape[2:])
        grid = getattr(getattr(self.model, "patch_embed", None), "grid_size", None)
        prefix = int(getattr(self.model, "num_prefix_tokens", 0))
        if features.ndim == 3 and grid is not None and prefix + grid[0] * grid[1] == features.shape[1]:
            return maps, Space(int(grid[0]), int(grid[1]), prefix)
        return maps, None

    def _features(self, images: Tensor) -> Tensor:
        _check_size(images, self.fixed_size, self.name)
        features: Tensor = self.model.forward_features(images)
        return features

    def _map(self, features: Tensor) -> Tensor:
        layout: str = getattr(self.model, "output_fmt", "NCHW")
        return _as_map(features, self.model.num_features, layout, self.name)


@fx.wrap  # shapes decide here: for a tracer it is one step
def _check_size(images: Tensor, fixed: tuple[int, int] | None, name: str) -> None:
    if fixed not in (None, tuple(images.shape[-2:])):
        raise SeedsweepError(
            f"{name} reads images of one size only: set data.image_size={list(fixed or ())} (it is "
            f"{list(images.shape[-2:])})."
        )


@fx.wrap
def _as_map(features: Tensor, channels: int, layout: str, name: str) -> Tensor:
    if features.ndim == 4:
        # only where height and channels happen to be equal does the shape alone not tell
        last = features.shape[-1] == channels and (layout == "NHWC" or features.shape[1] != channels)
        if last:
            return features.permute(0, 3, 1, 2)
        if features.shape[1] == channels:
            return features
    if features.ndim == 3 and features.shape[-1] == channels:
        return features.transpose(1, 2).unsqueeze(-1)
    if features.ndim == 2 and features.shape[-1] == channels:
        return features[:, :, None, None]
    raise SeedsweepError(
        f"{name} can't serve as a backbone: its features are {list(features.shape)}, not a map of {channels} "
        "channels."
    )


def check_name(name: str) -> None:
    """Checks that timm knows a model.

    Raises:
        SeedsweepError: it doesn't; the message has the nearest names.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), 3)
        hint = f"; the nearest are {', '.join(near)}" if near else ""
        raise SeedsweepError(f"backbone.name={name} is no model of timm{hint}.")


def create(name: str, **options: Any) -> Any:
    """Returns timm's model without classifier and, where the model can do without it, pooling.

    Raises:
        SeedsweepError: timm can't build it so.
    """
    cause: Exception | None = None
    attempts: tuple[dict[str, Any], ...] = ({"global_pool": ""}, {})
    for extra in attempts:  # a few, distilled ones for instance, insist on their pooling
        try:
            return timm.create_model(name, num_classes=0, **extra, **options)
        except (AssertionError, TypeError, ValueError, NotImplementedError) as error:
            cause = error
    raise SeedsweepError(f"timm can't build {name} without its classifier ({cause}).") from cause


def build(name: str) -> Backbone:
    """Returns the net of a timm model, with random weights; mean and std are those of its weights."""
    model = create(name, pretrained=False)
    cfg = model.pretrained_cfg
    size = tuple(cfg["input_size"][1:])
    fixed = (size[0], size[1]) if cfg.get("fixed_input_size") else None
    smallest = min(size) if fixed else min((cfg.get("min_input_size") or (3, 32, 32))[1:])
    net = TimmNet(model, name, fixed)
    return Backbone(net, model.num_features, InputSpec(tuple(cfg["mean"]), tuple(cfg["std"])), smallest)


def source(name: str) -> Source:
    """Returns where its weights may be found, and what its classifier is called in their files."""
    cfg = timm.get_pretrained_cfg(name)
    named: Any = cfg.classifier if cfg is not None else None  # one name, several, or none
    heads: tuple[str, ...] = (named,) if isinstance(named, str) else tuple(named or ())
    return Source(timm=name, classifiers=tuple(f"{head}." for head in heads))
