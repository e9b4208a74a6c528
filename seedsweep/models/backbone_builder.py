"""Builds a backbone by name, with its weights."""

from __future__ import annotations

import difflib
import importlib
import logging
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import cast

import torch

from seedsweep.errors import SeedsweepError
from seedsweep.models import nets
from seedsweep.models.backbone import Backbone
from seedsweep.models.fitting import WeightsMisfitError
from seedsweep.models.keras_file import is_keras
from seedsweep.models.keras_twin import KerasTwin, behave_as_keras
from seedsweep.models.options import BackboneConfig
from seedsweep.models.weight_file import RANDOM_AND_FROZEN, WeightFile, read_tensors
from seedsweep.models.weights import (
    WeightsOrigin,
    WeightsUnreachableError,
    load_pretrained,
    locate_pretrained,
)
from seedsweep.names import path_of

log = logging.getLogger(__name__)

PREFERRED, OFFLINE = "inception_v3", "efficientnet_lite0"
BY_FILE = (PREFERRED, OFFLINE, "vgg16")  # what a weight file may be when the name is left to us


@dataclass
class BuiltBackbone:
    """A backbone, what it is called, where its weights came from, and why it is another than the preferred one."""

    net: Backbone
    name: str
    weights: WeightsOrigin
    fallback: str | None = None


def build_backbone(config: BackboneConfig) -> BuiltBackbone:
    """Builds the backbone that the configuration names; its weights' note says where a random part stays random.

    ``auto`` takes InceptionV3, or EfficientNet-Lite0 where InceptionV3's weights can't be reached. From scratch
    it takes the net that the pretrained arms beside it take, so that a grid compares one net. With a weight
    file it takes the net that the file fits.

    Raises:
        SeedsweepError: no such net, or its weights can't be had or don't fit.
    """
    if config.library == "timm":
        built = _build_timm(config)
    elif config.name != "auto":
        built = _build_own(config)
    elif config.weights not in ("auto", "none"):
        built = _build_by_file(config)
    elif reason := _why_not_preferred():
        _warn(reason, _terminal_shows_warnings())
        built = replace(_build_own(replace(config, name=OFFLINE)), fallback=reason)
    else:
        built = _build_own(replace(config, name=PREFERRED))
    if built.weights.source == "none" and (config.freeze or config.train_from is not None):
        built.weights = replace(built.weights, note=RANDOM_AND_FROZEN)
    return built


def rebuild_backbone(name: str, library: str, keras: bool) -> Backbone:
    """Returns a net without its weights, which follow from a checkpoint; nothing is looked for or downloaded.

    Args:
        name: as :class:`BuiltBackbone` has it.
        library: own | timm.
        keras: whether its weights were Keras', so that it must behave as Keras' net does.

    Raises:
        SeedsweepError: this installation has no such net.
    """
    net = build_backbone(BackboneConfig(name, library, weights="none")).net
    twin = _twin(_own(name)) if keras and library == "own" else None
    if twin is not None:
        behave_as_keras(net, twin)
    return net


@cache
def _why_not_preferred() -> str | None:
    """Looks once a process, so that all arms of a grid use one net; returns None if the weights are there.

    No net is built here: that would move the random stream of the first arm, but not of the later ones.
    """
    try:
        locate_pretrained(PREFERRED, _own(PREFERRED).SOURCE)
    except WeightsUnreachableError:
        return f"the weights of {PREFERRED} can't be reached, so {OFFLINE} stands in for it"
    return None


@cache
def _warn(reason: str, is_shown: bool) -> None:
    """Says why another net is taken, once a process: a grid of 24 jobs has one notice, not 24.

    Each run's metrics.json has the reason too.

    Args:
        reason: of it.
        is_shown: whether a terminal shows warnings; after one that is muted (in a study's trials), it is said again.
    """
    log.warning("!!! backbone=auto: %s", reason)


def _terminal_shows_warnings() -> bool:
    return any(
        handler.level <= logging.WARNING
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)
    )


def licence_of(config: BackboneConfig) -> str:
    """Returns the licence of a net's pretrained weights; ``none`` of random ones, or ``not stated``."""
    if config.weights == "none":
        return "none"
    if config.weights != "auto":
        return "not stated"
    from seedsweep.models import timm_model

    source = timm_model.source(config.name) if config.library == "timm" else _own(config.name).SOURCE
    return source.licence or "not stated"


def _build_own(config: BackboneConfig, read: WeightFile | None = None) -> BuiltBackbone:
    module = _own(config.name)
    net: Backbone = module.build()
    twin = _twin(module)
    origin = load_pretrained(net.net, config.name, config.weights, module.SOURCE, twin, read)
    if origin.keras and twin is not None:
        behave_as_keras(net, twin)
    return BuiltBackbone(net, config.name, origin)


def _build_by_file(config: BackboneConfig) -> BuiltBackbone:
    """Takes the net that a checkpoint of ours names, or else the first that the weight file fits."""
    path = path_of(config.weights)
    read = read_tensors(path) if path.is_file() and not is_keras(path) else None
    candidates: tuple[str, ...] = BY_FILE
    if read is not None and read.card is not None:
        if read.backbone["library"] != "own":
            raise WeightsMisfitError(
                f"{config.weights} is a checkpoint of seedsweep with the backbone {read.backbone['name']}: take "
                f"{read.choice}."
            )
        candidates = (read.backbone["name"],)
    for name in candidates:
        before = torch.get_rng_state()
        try:
            return _build_own(replace(config, name=name), read)
        except WeightsMisfitError:
            torch.set_rng_state(before)  # a net that was only tried leaves no trace
    raise WeightsMisfitError(
        f"{config.weights} fits none of {', '.join(candidates)}: name its net with backbone=NAME, or one of "
        "timm with backbone=timm backbone.name=NAME."
    )


def _build_timm(config: BackboneConfig) -> BuiltBackbone:
    from seedsweep.models import timm_model

    net = timm_model.build(config.name)
    model = cast(timm_model.TimmNet, net.net).model  # its keys are those of the files
    origin = load_pretrained(model, config.name, config.weights, timm_model.source(config.name))
    return BuiltBackbone(net, config.name, origin)


def _own(name: str) -> ModuleType:
    """Returns the module of a net that has a file of its own."""
    known = nets.names()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise SeedsweepError(
            f"backbone.name={name} is unknown: {hint}There are {', '.join(known)}, auto, and with "
            "backbone=timm every model of timm."
        )
    return importlib.import_module(f"{nets.__name__}.{name}")


def _twin(module: ModuleType) -> KerasTwin | None:
    return getattr(module, "KERAS", None)
