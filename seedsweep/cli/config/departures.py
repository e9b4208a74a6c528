"""Where a run's settings are not those of the experiment file that it is called after."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import MISSING, OmegaConf

from seedsweep.cli.config.yaml_file import package_of, read_yaml
from seedsweep.errors import SeedsweepError
from seedsweep.names import conf_dir
from seedsweep.overrides import short_setting
from seedsweep.training.options import ArmSettings

NOT_SETTINGS = ("experiment", "rung", "hydra", "defaults")
CHANGES_NOTHING = ("name", "teaches")  # of a section: what it is called
NAMED = ("backbone", "optim", "data")  # sections whose name is a setting


def departures(config: ArmSettings, folders: Sequence[Path] | None = None) -> list[str]:
    """Returns the settings that a run has otherwise than the file of its experiment (or rung), as overrides.

    Values with ``${...}`` are passed over: they depend on other settings.

    Args:
        folders: that may hold experiment/NAME.yaml, the first wins; None: those that Hydra reads, or conf/.

    Returns:
        Such as ``batchnorm.training_statistics=batch``; empty where all agrees, or where there is no such file.
    """
    folders = config_folders() if folders is None else folders
    path = _file_of(config, folders)
    if path is None:
        return []
    choices, values = _said(path, folders)
    content = asdict(config)
    stated: dict[str, Any] = {}
    # as conf/config.yaml has them: a backbone's recipe wins over the files of other groups
    for group, choice in sorted(choices.items(), key=lambda each: each[0] == "backbone"):
        if is_dataclass(getattr(config, group, None)):
            kind = type(getattr(config, group))
            stated = _merged(stated, _chosen(kind, group, choice, folders))
    stated = _merged(stated, {key: value for key, value in values.items() if key not in NOT_SETTINGS})
    return _differences(stated, content)


def config_folders() -> list[Path]:
    """Returns the folders of configuration files, in the order in which Hydra looks."""
    if not HydraConfig.initialized():
        return [conf_dir()]
    sources = HydraConfig.get().runtime.config_sources
    return [Path(str(source.path)) for source in sources if source.schema == "file"]


def _file_of(config: ArmSettings, folders: Sequence[Path]) -> Path | None:
    name = config.experiment.name
    if not config.rung.kind:
        return _find("experiment", name, folders)
    rungs = [path for folder in folders for path in sorted((folder / "rung").glob("*.yaml"))]
    return next((path for path in rungs if _name_in(path) == name), None)


def _name_in(path: Path) -> Any:
    try:
        experiment = _read(path).get("experiment")
    except SeedsweepError:  # a broken file that this run did not read
        return None
    return experiment.get("name") if isinstance(experiment, dict) else None


def _find(group: str, choice: str, folders: Sequence[Path]) -> Path | None:
    paths = (folder / group / f"{choice}.yaml" for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def _read(path: Path) -> dict[str, Any]:
    return read_yaml(path, path.parent.name)[0]


def _said(path: Path, folders: Sequence[Path]) -> tuple[dict[str, str], dict[str, Any]]:
    """Returns the choices that a file of overrides makes, and its values, with those of the files that it builds on."""
    content = _read(path)
    own = {key: value for key, value in content.items() if key != "defaults"}
    choices: dict[str, str] = {}
    values: dict[str, Any] = {}
    mine: dict[str, str] = {}
    defaults = list(content.get("defaults") or [])
    for entry in defaults if "_self_" in defaults else [*defaults, "_self_"]:
        if entry == "_self_":
            values = _merged(values, own)
            continue
        key, choice = next(iter(entry.items())) if isinstance(entry, dict) else (path.parent.name, entry)
        words = str(key).split()
        group = words[-1].lstrip("/")
        below = _find(group, str(choice), folders)
        if words[0] == "override":
            mine[group] = str(choice)
        elif group in ("experiment", "rung") and below is not None:
            further, their = _said(below, folders)
            choices |= further
            values = _merged(values, their)
        else:
            mine[group] = str(choice)
    return choices | mine, values


def _chosen(kind: type, group: str, choice: str, folders: Sequence[Path]) -> dict[str, Any]:
    """Returns what a group's file sets, with the schema's defaults for the rest of its section."""
    found = _choice(group, choice, folders)
    if found is None:
        return {}
    return _merged({group: OmegaConf.to_container(OmegaConf.structured(kind))}, found)


def _choice(group: str, choice: str, folders: Sequence[Path]) -> dict[str, Any] | None:
    """Returns the settings of a group's file with those of the files of the group that it builds on."""
    path = _find(group, choice, folders)
    if path is None:
        return None
    content, text = read_yaml(path, group)
    values: dict[str, Any] = {}
    for base in content.pop("defaults", None) or []:
        if isinstance(base, str) and base != "_self_":
            values = _merged(values, _choice(group, base, folders) or {})
    for part in reversed(package_of(text, group).split(".")[:-1]):
        content = {part: content}
    return _merged(values, content)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(made.get(key), dict)
        made[key] = _merged(made[key], value) if both else value
    return made


def _differences(stated: dict[str, Any], content: dict[str, Any], path: tuple[str, ...] = ()) -> list[str]:
    found = []
    for key, value in stated.items():
        if key not in content or (len(path) == 1 and key in CHANGES_NOTHING and path[0] not in NAMED):
            continue
        if isinstance(value, dict) and isinstance(content[key], dict):
            found += _differences(value, content[key], (*path, key))
        elif not _is_open(value) and _typed(value, content[key]) != content[key]:
            found.append(short_setting(".".join((*path, key)), content[key]))
    return found


def _is_open(value: Any) -> bool:
    """Says whether a value in a file depends on other settings, or is to be given."""
    if isinstance(value, (list, dict)):
        return any(map(_is_open, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and ("${" in value or value == MISSING)


def _typed(value: Any, held: Any) -> Any:
    """Returns a file's value as a setting holds it: ``"1e-3"`` is a number where one belongs, 2024 a text."""
    if isinstance(held, list | tuple) and isinstance(value, list | tuple):
        return type(held)(value)
    try:
        return value if value is None or isinstance(held, bool) else type(held)(value)
    except (TypeError, ValueError):
        return value
