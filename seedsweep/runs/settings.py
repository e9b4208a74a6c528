"""The settings saved beside a run, and how they differ from others."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seedsweep.batchnorm.options import BatchNormConfig
from seedsweep.errors import SeedsweepError
from seedsweep.models.called import batchnorm_called, preprocess_called
from seedsweep.models.options import PreprocessConfig
from seedsweep.names import and_more

log = logging.getLogger(__name__)

# what a run that is gone on with may change: how long it trains and where; and its images may have moved, for they are
# compared by content
MAY_CHANGE = ("trainer", "features", "experiment", "data.root")


def flat(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings by their dotted keys."""
    return dict(sorted(_flat(node, prefix)))


def _flat(node: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(begun: dict[str, Any], now: dict[str, Any]) -> str:
    """Returns the first few keys whose values differ, with both values, and how many more; empty if none does."""
    keys = [key for key in sorted(begun.keys() | now.keys()) if begun.get(key) != now.get(key)]
    return and_more([f"{key} was {begun.get(key)} and is {now.get(key)}" for key in keys])


def refuse_other_settings(folder: Path, now: dict[str, Any]) -> None:
    """Stops a run from going on with settings that it did not begin with."""
    if others := other_settings(folder, now, MAY_CHANGE):
        raise SeedsweepError(
            f"the run in {folder} was begun with other settings ({others}), and keeps those: leave them out, or "
            "begin a new run (the command without resume=, with another hydra.run.dir)."
        )


def other_settings(folder: Path, now: dict[str, Any], may_change: tuple[str, ...] = ()) -> str:
    """Returns which settings differ from those that a run began with; empty if none does.

    Args:
        may_change: what the keys begin with that are not compared.
    """
    begun, flat_now = flat(saved_settings(folder)), flat(now)
    keys = [key for key in flat_now if key in begun and not key.startswith(may_change)]
    return differences({key: begun[key] for key in keys}, {key: flat_now[key] for key in keys})


def saved_settings(folder: Path) -> dict[str, Any]:
    """Returns the settings that Hydra wrote in a run's folder; empty where there are none, or they are damaged."""
    path = folder / ".hydra" / "config.yaml"
    if not os.path.isfile(path):  # of a path that can't be it says no, where Path.is_file raises
        return {}
    try:
        return whole_settings(path)
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException):
        log.warning(
            "%s/.hydra/config.yaml is damaged: whether these are the settings that the run began with is not known",
            folder,
        )
        return {}


LAST = "storage"  # the last section of the file


def whole_settings(path: Path) -> dict[str, Any]:
    """Reads the settings that Hydra wrote into a file."""
    if not path.read_bytes().endswith(b"\n"):  # a part of a line can be a value, such as 10 of 1024
        raise ValueError("it ends within a line")
    saved = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    if not isinstance(saved, dict) or LAST not in saved:
        raise ValueError("its end is missing")
    return {str(key): value for key, value in saved.items()}


def names_of(settings: dict[str, Any]) -> dict[str, str]:
    """Returns what BatchNorm policy and input scaling are called; ``unknown`` where the settings are damaged."""
    try:
        batchnorm, preprocess = settings["batchnorm"], settings["preprocess"]
        return {
            "batchnorm": batchnorm_called(BatchNormConfig(**batchnorm)),
            "preprocess": preprocess_called(PreprocessConfig(**preprocess)),
        }
    except (KeyError, TypeError, SeedsweepError):
        return dict.fromkeys(("batchnorm", "preprocess"), "unknown")
