"""Trains the heads of several runs at once where the runs share features and schedule."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict

from seedsweep import signals
from seedsweep.config.schema import Config
from seedsweep.data.prepare import PreparedImages
from seedsweep.features.image_features import FeatureImages
from seedsweep.training.assemble import build_module
from seedsweep.training.device import device_of
from seedsweep.training.heads.company import Company, Setup
from seedsweep.training.heads.replay import Replay, trained
from seedsweep.training.run import open_images
from seedsweep.training.stored import head_data, schedule_of

log = logging.getLogger(__name__)

OF_ONE_HEAD = ("head", "optim", "experiment")  # what may differ between heads of one company


def train_heads(configs: list[Config], images: Callable[[Config], PreparedImages]) -> list[Replay | None]:
    """Trains the heads of runs that differ in head and optimiser alone, each as it would be trained by itself.

    Args:
        configs: of the runs.
        images: finds a run's.

    Returns:
        For each run what :class:`seedsweep.training.shared_setup.Given` has as ``ready``; None where it must train by
        itself: its images go online, no other run has its features and schedule, or company failed.
    """
    alike: dict[str, list[int]] = {}
    for place, config in enumerate(configs):
        alike.setdefault(_shared(config), []).append(place)
    found: list[Replay | None] = [None] * len(configs)
    for places in alike.values():
        if len(places) == 1:
            continue
        try:
            made = _company([configs[place] for place in places], images)
        except Exception as error:  # memory, bad input: each run alone says and records what it meets
            signals.check()
            log.warning("%d heads can't be trained together (%s): one after the other", len(places), error)
            continue
        for place, replay in zip(places, made, strict=False):
            found[place] = replay
    return found


def _company(configs: list[Config], find: Callable[[Config], PreparedImages]) -> list[Replay]:
    """Returns what became of each head; nothing if their images go online."""
    first = configs[0]
    trunk, images = open_images(first, find(first))
    if not isinstance(images, FeatureImages):
        return []
    device = device_of(first)
    setups = []
    for config in configs:
        module, _ = build_module(config, images.prepared, trunk)
        head = module.classifier.head.to(device)
        setups.append(Setup(head, config.optim, module.class_weights, module.label_smoothing))
    return trained(Company(setups, head_data(first, images, device), schedule_of(first, device)))


def _shared(config: Config) -> str:
    content = asdict(config)
    for key in OF_ONE_HEAD:
        content.pop(key)
    return json.dumps(content, sort_keys=True, default=str, allow_nan=False)
