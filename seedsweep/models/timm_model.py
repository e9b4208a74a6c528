"""Any model of timm as a backbone."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, fx, nn

from seedsweep.errors import SeedsweepError
from seedsweep.models.backbone import Backbone, CellLayout, InputSpec, Source
from seedsweep.models.fitting import WeightsMisfitError
from seedsweep.names import and_more


class TimmNet(nn.Module):
    """timm's ``forward_features``, made a map [B, C, h, w] whatever the model's own layout.

    Args:
        model: without classifier and pooling.
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

    def spaced(self, images: Tensor) -> tuple[Tensor, CellLayout | None]:
        """Returns the map, and how its places lie on the images; of tokens that is known where the model says it."""
        features = self._features(images)
        maps = self._map(features)
        if features.ndim == 4:
            return maps, CellLayout(*maps.shape[2:])
        rows, columns = getattr(getattr(self.model, "patch_embed", None), "grid_size", (0, 0))
        prefix = int(getattr(self.model, "num_prefix_tokens", 0))
        is_known = features.ndim == 3 and rows and prefix + rows * columns == features.shape[1]
        return maps, CellLayout(int(rows), int(columns), prefix) if is_known else None

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


def build(name: str) -> Backbone:
    """Returns a timm model as a backbone, with random weights; mean and std are those of its weights.

    Raises:
        SeedsweepError: timm has no such model, or can't build it without its classifier.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), 3)
        hint = f"; the nearest are {', '.join(near)}" if near else ""
        raise SeedsweepError(f"backbone.name={name} is no model of timm{hint}.")
    model = _create(name, pretrained=False)
    cfg = model.pretrained_cfg
    size = tuple(cfg["input_size"][1:])
    fixed = (size[0], size[1]) if cfg.get("fixed_input_size") else None
    smallest = min(size) if fixed else min((cfg.get("min_input_size") or (3, 32, 32))[1:])
    spec = InputSpec(tuple(cfg["mean"]), tuple(cfg["std"]))
    return Backbone(TimmNet(model, name, fixed), model.num_features, spec, smallest)


def source(name: str) -> Source:
    """Returns where a model's weights may be found, and what its classifier is called in their files."""
    cfg = timm.get_pretrained_cfg(name)
    named: Any = cfg.classifier if cfg is not None else None  # one name, several, or none
    heads: tuple[str, ...] = (named,) if isinstance(named, str) else tuple(named or ())
    licence = (cfg.license if cfg is not None else None) or ""
    return Source(timm=name, licence=licence, classifiers=tuple(f"{head}." for head in heads))


def converted(model: str, tensors: dict[str, Tensor], name: str, path: Path) -> dict[str, Tensor]:
    """Returns tensors by the model's names, by timm's own converter, which knows older names of some models.

    timm itself accepts tensors that fill nothing. What they fill is found by NaN in the place of each number.

    Args:
        tensors: by names that its converter may know.

    Raises:
        WeightsMisfitError: timm can't make them fit, or leaves a tensor of the model as it was.
    """
    blank = {key: torch.full_like(v, torch.nan) if v.is_floating_point() else v for key, v in tensors.items()}
    try:
        # the throw-away nets must not move the run's random stream
        with _quiet_timm(), torch.random.fork_rng(devices=[]):
            reached, loaded = (
                dict(
                    _create(model, pretrained=True, pretrained_cfg_overlay={"state_dict": given}).state_dict()
                )
                for given in (blank, dict(tensors))
            )
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsMisfitError(f"{path} doesn't fit {name} ({reason}).") from error
    if left := [key for key, v in reached.items() if v.is_floating_point() and not v.isnan().all()]:
        raise WeightsMisfitError(f"{path} doesn't fit {name}: it lacks {and_more(left)}.")
    return loaded


def _create(name: str, **options: Any) -> Any:
    """Returns timm's model without classifier and, where the model can do without it, pooling."""
    try:
        return timm.create_model(name, num_classes=0, global_pool="", **options)
    except (AssertionError, TypeError, ValueError, NotImplementedError):
        pass  # a few, distilled ones for instance, insist on their pooling
    try:
        return timm.create_model(name, num_classes=0, **options)
    except (AssertionError, TypeError, ValueError, NotImplementedError) as error:
        raise SeedsweepError(f"timm can't build {name} without its classifier ({error}).") from error


@contextmanager
def _quiet_timm() -> Iterator[None]:
    """Keeps timm from warning of tensors that it has no use for: classifiers, and what is checked here."""
    builder = logging.getLogger("timm.models._builder")
    before = builder.level
    builder.setLevel(logging.ERROR)
    try:
        yield
    finally:
        builder.setLevel(before)
