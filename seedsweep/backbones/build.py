"""Builds a backbone by name, with its weights."""

from __future__ import annotations

import difflib
import importlib
import logging
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from torch import Tensor, nn

from seedsweep.backbones import nets
from seedsweep.backbones.base import Backbone, InputSpec, Source
from seedsweep.backbones.weights import WeightsOrigin, WeightsUnreachableError, load_pretrained
from seedsweep.config.schema import BackboneConfig
from seedsweep.errors import SeedsweepError

log = logging.getLogger(__name__)

PREFERRED, OFFLINE = "inception_v3", "efficientnet_lite0"


@dataclass
class BuiltBackbone:
    """A backbone, what it is called, where its weights came from, and whether it stands in for another."""

    net: Backbone
    name: str
    weights: WeightsOrigin
    fallback: str | None = None


def build_backbone(config: BackboneConfig) -> BuiltBackbone:
    """Builds the backbone that the configuration names.

    ``auto`` takes InceptionV3, or EfficientNet-Lite0 where InceptionV3's weights can't be reached. From scratch
    it takes the net that the pretrained arms beside it take, so that a grid compares one net.

    Raises:
        SeedsweepError: no such net, or its weights can't be had or don't fit.
    """
    if config.name != "auto":
        return _build(config)
    if config.weights not in ("auto", "none"):
        return _build(replace(config, name=PREFERRED))
    fallback = _why_not_preferred()
    built = _build(replace(config, name=OFFLINE if fallback else PREFERRED))
    if fallback:
        log.warning("!!! backbone=auto: %s", fallback)
    built.fallback = fallback
    return built


@cache
def _why_not_preferred() -> str | None:
    """Tries once a process; returns None if InceptionV3's weights are there."""
    try:
        _build(BackboneConfig(name=PREFERRED))
    except WeightsUnreachableError:
        return f"the weights of {PREFERRED} can't be reached, so {OFFLINE} stands in for it"
    return None


def _build(config: BackboneConfig) -> BuiltBackbone:
    builder, source = _timm(config.name) if config.library == "timm" else _own(config.name)
    net = builder()
    trunk = net.net.model if isinstance(net.net, _TimmTrunk) else net.net  # names as in the files
    origin = load_pretrained(trunk, config.name, config.weights, source)
    return BuiltBackbone(net, config.name, origin)


def names() -> list[str]:
    """Returns the nets that have a file of their own."""
    return sorted(module.name for module in pkgutil.iter_modules(nets.__path__))


def _own(name: str) -> tuple[Callable[[], Backbone], Source]:
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise SeedsweepError(
            f"backbone.name={name} is unknown: {hint}There are {', '.join(names())}, auto, and with "
            "backbone=timm every model of timm."
        )
    module = importlib.import_module(f"{nets.__name__}.{name}")
    return module.build, module.SOURCE


class _TimmTrunk(nn.Module):
    """A timm model without pooling and classifier, whose output is made a map [B, C, h, w]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.model(images)
        if features.ndim == 3:  # tokens [B, n, C]
            return features.transpose(1, 2).unsqueeze(-1)
        if features.ndim == 4 and features.shape[1] != self.model.num_features:  # [B, h, w, C]
            return features.permute(0, 3, 1, 2)
        return features if features.ndim == 4 else features[:, :, None, None]


def _timm(name: str) -> tuple[Callable[[], Backbone], Source]:
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), 3)
        raise SeedsweepError(
            f"backbone.name={name} is no model of timm{'; the nearest are ' + ', '.join(near) if near else ''}."
        )

    def builder() -> Backbone:
        model: Any = timm.create_model(name, pretrained=False, num_classes=0, global_pool="")
        cfg = model.pretrained_cfg
        return Backbone(_TimmTrunk(model), model.num_features, InputSpec(cfg["mean"], cfg["std"]), 32)

    return builder, Source(timm=name)
