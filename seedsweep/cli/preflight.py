"""Composes and checks the configuration before Hydra runs, and answers mistakes in one sentence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seedsweep.config.location import conf_dir
from seedsweep.config.store import to_config
from seedsweep.errors import SeedsweepError

MOST_VALUES = 12  # of one swept setting that are tried


def check(args: list[str]) -> None:
    """Composes every alternative once and validates it.

    Raises:
        SeedsweepError: an unknown key, group, choice or type, or a value out of bounds.
    """
    parsed = get_args_parser().parse_args(args)
    overrides = _parse(parsed.overrides)
    if parsed.config_dir and not Path(parsed.config_dir).is_dir():
        raise SeedsweepError(f"--config-dir {parsed.config_dir} is no folder.")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        extra = []
        if parsed.config_dir:
            extra = [f"hydra.searchpath=['file://{Path(parsed.config_dir).resolve()}']"]
        ours = [o for o in overrides if o.key_or_group != "resume"]
        fixed = extra + [o.input_line or "" for o in ours if not o.is_sweep_override()]
        swept = [o for o in ours if o.is_sweep_override()]
        if swept and not parsed.multirun:
            raise SeedsweepError(f"{swept[0].input_line} is a list of values: add -m to run them as a grid.")
        cfg = _compose(fixed) if not swept or parsed.multirun else None
        if parsed.multirun and cfg is not None:
            params: Mapping[str, Any] = cfg.hydra.sweeper.params or {}
            swept = _parse([f"{key}={value}" for key, value in params.items()]) + swept
            _check_alternatives(fixed, swept)
        elif cfg is not None:
            _validate(cfg, fixed)


def _check_alternatives(fixed: list[str], swept: list[Override]) -> None:
    choices = [_values(override) for override in swept]
    base = [values[0] for values in choices]
    _validate(_compose(fixed + base), fixed + base)
    for place, values in enumerate(choices):
        for value in values[1:MOST_VALUES]:
            overrides = fixed + base[:place] + [value] + base[place + 1 :]
            _validate(_compose(overrides), overrides)


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [override.input_line or ""]
    key = override.get_key_element()
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def _parse(overrides: list[str]) -> list[Override]:
    try:
        return OverridesParser.create().parse_overrides(overrides)
    except OverrideParseException as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise SeedsweepError(
            f"The override {error.override} can't be read ({reason}): write key=value, and quote special characters."
        ) from error


def _compose(overrides: list[str]) -> DictConfig:
    try:
        return compose("config", overrides, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise SeedsweepError(_sentence(error, overrides)) from error


def _validate(cfg: DictConfig, overrides: list[str]) -> None:
    try:
        to_config(cfg)
    except OmegaConfBaseException as error:
        raise SeedsweepError(_sentence(error, overrides)) from error


def _sentence(error: Exception, overrides: list[str]) -> str:
    cause = error.__cause__ or error
    text = f"{error}\n{cause}"
    if match := re.search(r"Could not find '([^']+)'", text) or re.search(
        r"In '[^']*': Could not (?:load|find) '([^']+)'", text
    ):
        return _unknown_choice(match[1])
    if match := re.search(
        r"Could not override '([^']+)'\.\n(?:No match in the defaults list|To append)", text
    ):
        return _unknown_key(match[1], overrides)
    if re.search(r"(?:not in|is not in) (?:struct|'\w+')|[Kk]ey '\w+' not in", text):
        for override in overrides:
            key = override.split("=", 1)[0].lstrip("+~")
            if key not in _known_keys(key.startswith("hydra")):
                return _unknown_key(key, overrides)
        if match := re.search(r"full_key: (\S+)", text):
            return _unknown_key(match[1], overrides)
    if match := re.search(r"full_key: (\S+)", text):
        return f"{match[1]}: {str(cause).splitlines()[0].rstrip('.')}."
    if match := re.search(r"Could not append to config\. An item is already at '([^']+)'", text):
        return f"{match[1]} exists already: leave out the + before it."
    if match := re.search(r"Multiple values for ([\w/]+)", text):
        return f"{match[1]} is given twice: name it once."
    return " ".join(line.strip() for line in str(error).splitlines() if line.strip())


def _unknown_choice(name: str) -> str:
    group, _, choice = name.rpartition("/")
    choices = choices_of(group)
    if not choices:
        return _unknown_key(group or name, [])
    near = difflib.get_close_matches(choice, choices, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{group}={choice} is unknown: {hint}There are {', '.join(choices)}."


def _unknown_key(key: str, overrides: list[str]) -> str:
    near = difflib.get_close_matches(key, _known_keys(hydra=key.startswith("hydra")), 2, 0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "python -m seedsweep --help lists the settings."
    return f"{key} is no setting; {hint}"


def choices_of(group: str) -> list[str]:
    """Returns the choices of a config group, those of the package's own ``conf/``."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml")) if group else []


def _known_keys(hydra: bool = False) -> list[str]:
    try:
        cfg = compose("config", [], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException):  # the defaults themselves are broken
        return []
    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    groups = ["experiment", "sweep", "resume"]
    return groups + [k for k in _flat(plain) if k.startswith("hydra") == hydra]


def _flat(node: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
