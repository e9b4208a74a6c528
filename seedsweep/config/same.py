"""What makes two configurations one run, so that a grid or a study that is resumed repeats nothing."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seedsweep.affects import SPLIT, content
from seedsweep.config.schema import Config
from seedsweep.errors import SeedsweepError
from seedsweep.training.identity import what_counts
from seedsweep.training.options import ArmSettings

log = logging.getLogger(__name__)

# what a run that is gone on with may change: how long it trains and where; and its images may have moved, for they are
# compared by content
MAY_CHANGE = ("trainer", "features", "experiment", "data.root")


def what_counts_of_study(config: Config) -> dict[str, Any]:
    """Returns what a study's trials depend on beside the settings that they share: how they are drawn and judged."""
    study = config.study
    compared: dict[str, Any] = {key: getattr(study, key) for key in ("metric", "rule", "tail", "seed")}
    compared["space"] = {param.key: asdict(param) for param in study.space.values()}
    return {"sampler": asdict(config.sampler), "pruner": asdict(config.pruner), "study": compared}


def check_same_split(study: ArmSettings, trial: ArmSettings) -> None:
    """Checks that a trial asks for the images of its study, for other scores can't be compared.

    Raises:
        SeedsweepError: it asks for others.
    """
    asked = (flat(content(config.data, only=SPLIT), "data.") for config in (study, trial))
    if told := differences(*asked):
        raise SeedsweepError(
            f"a trial would have other images than its study ({told}), and scores on different images are no ranking: "
            "leave it out of the space, and make a study or a grid for each."
        )


def flat(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings by their dotted keys."""
    return dict(sorted(_flat(node, prefix)))


def differences(begun: dict[str, Any], now: dict[str, Any]) -> str:
    """Returns the first few keys whose values differ, with both values, and how many more; empty if none does.

    Args:
        begun: flat settings.
        now: likewise.
    """
    keys = [key for key in sorted(begun.keys() | now.keys()) if begun.get(key) != now.get(key)]
    shown = ", ".join(f"{key} was {begun.get(key)} and is {now.get(key)}" for key in keys[:3])
    return shown + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def refuse_other_settings(folder: Path, config: Config) -> None:
    """Stops a run from going on with settings that it did not begin with.

    Args:
        folder: of the run, with the settings that Hydra wrote at its beginning.
        config: of the command line that goes on.

    Raises:
        SeedsweepError: settings differ that the run's numbers depend on.
    """
    if told := other_settings(folder, config, MAY_CHANGE):
        raise SeedsweepError(
            f"the run in {folder} was begun with other settings ({told}), and keeps those: leave them out, or "
            "begin a new run (the command without resume=, with another hydra.run.dir)."
        )


def other_settings(folder: Path, config: Config, may_change: tuple[str, ...]) -> str:
    """Returns which settings differ from those that a run's numbers depend on; empty if none does.

    Args:
        folder: of the run, with the settings that Hydra wrote at its beginning.
        config: of the command line.
        may_change: what the keys begin with that are not compared.
    """
    saved = saved_config(folder)
    begun, now = flat(saved), flat(what_counts(config))
    keys = [key for key in now if key in begun and not key.startswith(may_change)]
    return differences({key: begun[key] for key in keys}, {key: now[key] for key in keys})


def saved_config(folder: Path) -> dict[str, Any]:
    """Returns the settings that Hydra wrote in a run's folder; empty where there are none, or they are damaged."""
    path = folder / ".hydra" / "config.yaml"
    if not os.path.isfile(path):  # of a path that can't be it says no, where Path.is_file raises
        return {}
    try:
        saved = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException):
        log.warning(
            "%s/.hydra/config.yaml is damaged: whether these are the settings that the run began with is not known",
            folder,
        )
        return {}
    return {str(key): value for key, value in saved.items()} if isinstance(saved, dict) else {}


def _flat(node: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
