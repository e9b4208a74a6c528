"""Turns the errors of Hydra and OmegaConf into one sentence with the nearest valid names."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import get_origin, get_type_hints

from hydra.core.global_hydra import GlobalHydra
from hydra.errors import OverrideParseException

from seedsweep.bounds import LONGEST_NAME
from seedsweep.cli.config.override_values import kinds
from seedsweep.cli.config.schema import Config
from seedsweep.cli.config.yaml_file import line_of
from seedsweep.cli.words import OTHER_NAMES, instead_of, not_yet
from seedsweep.models import nets
from seedsweep.names import conf_dir
from seedsweep.overrides import key_of, quoted, text_of
from seedsweep.runs.command import shown, typed

LAUNCHERS = {  # what conf/hydra/launcher/ builds on: the package that brings it, which is our extra of that name
    "joblib": ("hydra-joblib-launcher", "joblib"),
    "submitit_slurm": ("hydra-submitit-launcher", "slurm"),
    "submitit_local": ("hydra-submitit-launcher", "slurm"),
    "ray": ("hydra-ray-launcher", "ray"),
}
TYPES = (
    (r"could not be converted to Float", "a number"),
    (r"could not be converted to Integer", "a whole number"),
    (r"is not a valid bool", "true or false"),
    (r"is not a ListConfig", "a list such as [224,224]"),
)


def is_choice(group: str, choice: str) -> bool:
    """Says whether the running Hydra knows the choice, listed or not: any model of timm is one of ``backbone``."""
    if "\0" in choice or len(os.fsencode(choice)) > LONGEST_NAME:
        return False
    sources = GlobalHydra.instance().config_loader().get_sources()
    return any(source.is_config(f"{group}/{choice}") for source in sources)


def unreadable(error: OverrideParseException) -> str:
    """Says which override Hydra's grammar can't read, and how it is written."""
    text = str(error.override)
    key, _, value = text.partition("=")
    if not value and "=" not in text:
        hint = f" (+experiment={text}?)" if text in choices_of("experiment") else ""
        return f"'{text}' can't be read: write a setting as key=value{hint}."
    return (
        f"'{text}' can't be read as key=value: close its brackets and quotes, "
        f"or, if the value is plain text, write {typed(f'{key}={quoted(value)}')}."
    )


def sentence(error: Exception, overrides: Sequence[str]) -> str:
    """Returns what the user can do about an error of Hydra or OmegaConf."""
    cause = error.__cause__ or error
    text = f"{error}\n{cause}"
    key = found[1] if (found := re.search(r"full_key: (\S+)", text)) else ""
    if match := re.search(r"Cannot find primary config '([^']+)'", text):
        return f"--config-name {match[1]} is no file of {conf_dir()}."
    if match := re.search(r"Could not (?:find|load) '([^']+)'", text):
        return unknown_choice(*_group_and_choice(match[1], overrides))
    if match := re.search(r"Could not override '([^']+)'\.\n(?:No match in the defaults list|To app)", text):
        return _unknown_key(match[1])
    if match := re.search(r"Could not delete from config\. '([^']+)' does not exist", text):
        return _unknown_key(match[1])
    if match := re.search(r"Interpolation key '([^']+)' not found", text):
        return f"${{{match[1]}}} refers to nothing; " + _hint(match[1]) + _where(key, overrides)
    if re.search(r"[Kk]ey '\w+' (?:is )?not in|not in struct", text):
        for override in overrides:
            name = key_of(override)
            if "/" not in name and not _is_known(name):
                return _unknown_key(name)
        return _unknown_key(key) + _where(key, overrides)
    if match := re.search(r"Could not append to config\. An item is already at '([^']+)'", text):
        return f"{match[1]} exists already: leave out the + before it."
    if match := re.search(r"Multiple values for ([\w/]+)|([\w/]+) appears more than once", text):
        return f"{match[1] or match[2]} is given twice: name it once."
    if "missing mandatory value" in text and key:
        return f"{key} has no value: choose {key}={' or '.join(choices_of(key)) or '...'}."
    if key:
        reasons = [
            line.strip() for line in str(cause).splitlines() if "raised while composing config" not in line
        ]
        return _wrong_value(key, reasons[0]) + _where(key, overrides)
    if match := re.search(r"Merge error: (\w+) is not a subclass of (\w+)", text):
        names = [
            name for name, kind in get_type_hints(Config).items() if getattr(kind, "__name__", "") == match[2]
        ]
        return f"{' or '.join(names) or match[2]} is a {match[1]}, but must be settings: key: value." + _file(
            text
        )
    return " ".join(line.strip() for line in str(error).splitlines() if line.strip())


def _where(key: str, overrides: Sequence[str]) -> str:
    """Says which file of --config-dir sets ``key``, and in which line, where it is one and no override does."""
    hydra = GlobalHydra.instance()
    if not hydra.is_initialized() or any(key_of(override) == key for override in overrides):
        return ""
    chosen = {(key_of(o), text_of(o.partition("=")[2])) for o in overrides}
    found = []
    for source in hydra.config_loader().get_sources():
        if source.provider == "command-line":
            root = Path(source.path)
            files = [root / group / f"{choice}.yaml" for group, choice in chosen] + [root / "config.yaml"]
            for path in files:
                line = line_of(path, str(path.parent.relative_to(root)).strip("."), re.split(r"\[", key)[0])
                found += [f" It stands in {shown(path)}, line {line}."] if line else []
    return found[0] if len(found) == 1 else ""


def _file(text: str) -> str:
    found = re.search(r"In '([^']+)'", text)
    return f" It stands in {found[1]}.yaml." if found else ""


def _wrong_value(key: str, reason: str) -> str:
    value = f"is {match[1]}, but " if (match := re.search(r"Value ('.*?') ", reason)) else ""
    for pattern, wanted in TYPES:
        if re.search(pattern, reason):
            return f"{key} {value}must be {wanted}."
    if "is not a subclass of" in reason:
        return f"{key} holds settings of its own: give one of them, not a value."
    if "is not Optional" in reason:
        return f"{key} can't be null."
    if "does not support deletion" in reason:
        return f"{key} can't be removed: give it another value."
    return f"{key}: {reason.rstrip('.')}."


def unknown_choice(group: str, choice: str) -> str:
    """Names the nearest choice of a group, and all of them; of a launcher, the package that lacks."""
    if group == "hydra/launcher" and choice in LAUNCHERS:
        package, extra = LAUNCHERS[choice]
        return f"this launcher needs {package}: pip install {package}, or seedsweep with its extra '{extra}'."
    choices = choices_of(group)
    if not choices:
        return _unknown_key(group or choice)
    near = difflib.get_close_matches(choice, choices, 1)
    others = ", any model of timm" if group == "backbone" else ""
    hint = f"; did you mean {near[0]}?" if near else instead_of(group, choice)
    if group == "data" and "/" in choice:
        hint = f"; for a folder of your own: data=folder data.root={choice}"
    return f"{group}={choice} is unknown (choices: {', '.join(choices)}{others}){hint}"


def _group_and_choice(path: str, overrides: Sequence[str]) -> tuple[str, str]:
    """Splits what Hydra looked for; a choice that is a path has slashes of its own."""
    for override in overrides:
        group, _, choice = override.lstrip("+").partition("=")
        choice = choice.strip('"')
        if path == f"{group}/{choice}":
            return group, choice
    group, _, choice = path.rpartition("/")
    return group, choice


def _unknown_key(key: str) -> str:
    if get_origin(kinds().get(key)) is dict:
        return f"{key} takes entries of its own, each with a +: +{key}.NAME=VALUE."
    return f"{key} is not a setting; {not_yet(key) or _hint(key)}"


def _hint(key: str) -> str:
    known = _known_keys(hydra=key.startswith("hydra"))
    if key in known:  # a setting that is one: what is under it is not
        return f"{key} is one, but can't be given like this."
    last = key.rpartition(".")[2]

    def named(word: str | None) -> list[str]:
        return [name for name in known if name.rpartition(".")[2] == word][:1]

    # the last: the right name in the wrong group, lr=1 for optim.lr
    other = OTHER_NAMES.get(last.lower().replace("-", "_"))
    near = [other] if other else named(last) if "." not in key else []
    near = near or difflib.get_close_matches(key, known, 1, 0.5) or named(last)
    return f"did you mean {near[0]}?" if near else "python -m seedsweep --help lists the settings."


def choices_of(group: str) -> list[str]:
    """Returns the choices of a config group: of the running Hydra, else of the package's own ``conf/``."""
    if not group or "." in group:
        return []
    hydra = GlobalHydra.instance()
    if not hydra.is_initialized():
        found = {path.stem for path in (conf_dir() / group).glob("*.yaml")}
        return sorted(found | set(nets.names() if group == "backbone" else []))
    return sorted(hydra.config_loader().get_group_options(group.split("@")[0]))


def _is_known(key: str) -> bool:
    return key in _known_keys(key.startswith("hydra")) or key.startswith(tuple(f"{one}." for one in kinds()))


def _known_keys(hydra: bool) -> list[str]:
    """Returns all settings, and what they are grouped in: Hydra's own, or the others."""
    found = ["experiment", "sweep", "resume"]
    for key in kinds():
        if key.startswith("hydra.") == hydra:
            parts = key.split(".")
            found += [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    return list(dict.fromkeys(found))
