"""Reads a YAML file of settings; whatever is wrong with it is one sentence with file and line."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import yaml
from omegaconf._utils import get_yaml_loader

from seedsweep.cli.config.override_values import is_text
from seedsweep.errors import SeedsweepError
from seedsweep.runs.command import shown

MOST_BYTES = 1_000_000
MOST_VALUES = 10_000  # with each alias in the place of what it stands for
HEADER = "# @package "
NUMBERS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool"))
DEFAULTS = "an entry is a name, or one 'group: name' such as 'override /batchnorm: inference'"


def read_yaml(path: Path, group: str) -> tuple[dict[str, Any], str]:
    """Reads a file of settings.

    Numbers in the place of text (``root: 2024_10``) are read as the text that stands there.

    Args:
        group: whose choice it is, ``experiment``; empty for a config that stands alone.

    Returns:
        Its settings, and its text.

    Raises:
        SeedsweepError: it can't be read, is not YAML, or has a shape that settings can't have.
    """
    text = _text(path)
    try:
        loader = get_yaml_loader()(text)
        node = loader.get_single_node()
        if node is None:
            return {}, text
        if not isinstance(node, yaml.MappingNode):
            _refuse(path, node, "a file of settings holds 'key: value' lines, not a list or a single value")
        _count(path, node, {})
        _check_defaults(path, node)
        for key, value in _values(node, package_of(text, group)):
            if isinstance(value, yaml.ScalarNode) and value.tag in NUMBERS and is_text(key):
                value.tag = "tag:yaml.org,2002:str"
        return loader.construct_document(node), text  # type: ignore[no-any-return]
    except yaml.MarkedYAMLError as error:
        is_open = "quoted scalar" in str(error.context)
        mark = error.context_mark if is_open else error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}" if mark else ""
        raise SeedsweepError(f"{shown(path)}{place}: {_reason(error)}.") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SeedsweepError(
            f"{shown(path)}, line {line}: a character that YAML does not allow ({chr(error.character)!r})."
        ) from error
    except RecursionError as error:
        raise SeedsweepError(f"{shown(path)}: lists or settings are nested too deeply.") from error
    except (ValueError, TypeError) as error:  # of a tag: !!int x
        raise SeedsweepError(f"{shown(path)}: a value can't be read ({error}).") from error


def line_of(path: Path, group: str, key: str) -> int | None:
    """Returns the line, from 1 on, where a file sets ``key`` or something in it; None: it does not."""
    try:
        text = _text(path)
        node = yaml.compose(text, Loader=get_yaml_loader())
    except (SeedsweepError, yaml.YAMLError, RecursionError):
        return None
    if not isinstance(node, yaml.MappingNode):
        return None
    found = {name: value for name, value in _values(node, package_of(text, group))}
    return found[key].start_mark.line + 1 if key in found else None


def package_of(text: str, group: str) -> str:
    """Returns where a file's settings go: the beginning of their keys, with its dot."""
    package = group.replace("/", ".")
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            break
        if line.startswith(HEADER):
            named = line.removeprefix(HEADER).strip()
            package = "" if named == "_global_" else named.replace("_group_", package)
    return f"{package}." if package else ""


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise SeedsweepError(
                f"{shown(path)} is larger than {MOST_BYTES:,} bytes: no file of settings is."
            )
        content = path.read_bytes()
    except OSError as error:
        raise SeedsweepError(f"{shown(path)} can't be read ({error.strerror}).") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SeedsweepError(
            f"{shown(path)}, line {line}: the file is not UTF-8 text: save it as UTF-8."
        ) from error


def _reason(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem or error.context or "it is not YAML")
    if "'\\t'" in problem:
        return "a tab stands where YAML wants spaces"
    if "quoted scalar" in str(error.context):
        return "the quote that begins here is not closed, or holds what a quote can't"
    if "duplicate key" in problem:
        return problem.replace("found duplicate key", "this key stands there twice:")
    return f"it is not YAML ({problem})"


def _refuse(path: Path, node: yaml.Node, reason: str) -> NoReturn:
    raise SeedsweepError(f"{shown(path)}, line {node.start_mark.line + 1}: {reason}.")


def _below(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _count(path: Path, node: yaml.Node, known: dict[int, int]) -> int:
    """Returns how many values a node holds, each alias counted as what it stands for."""
    if id(node) in known:
        if not known[id(node)]:
            _refuse(path, node, "this holds itself")
        return known[id(node)]
    known[id(node)] = 0
    total = 1 + sum(map(partial(_count, path, known=known), _below(node)))
    if total > MOST_VALUES:
        _refuse(path, node, f"with its aliases this has more than {MOST_VALUES:,} values")
    known[id(node)] = total
    return total


def _values(node: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, yaml.Node]]:
    """Yields each setting's full key with its value; of a study's choices of text, each with the key of the text."""
    entries = {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}
    for name, value in entries.items():
        yield f"{prefix}{name}", value
        if isinstance(value, yaml.MappingNode):
            yield from _values(value, f"{prefix}{name}.")
    choices, chosen = entries.get("choices"), entries.get("key")
    if isinstance(choices, yaml.SequenceNode) and isinstance(chosen, yaml.ScalarNode):
        for value in choices.value:
            yield chosen.value, value


def _check_defaults(path: Path, node: yaml.MappingNode) -> None:
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            _refuse(path, key, "a key must be a word")
        if key.value != "defaults":
            continue
        if not isinstance(value, yaml.SequenceNode):
            _refuse(path, value, f"defaults is a list: {DEFAULTS}")
        for entry in value.value:
            if isinstance(entry, yaml.ScalarNode) and entry.value:
                continue
            if not isinstance(entry, yaml.MappingNode) or len(entry.value) != 1:
                _refuse(path, entry, f"in defaults, {DEFAULTS}")
            ((group, choice),) = entry.value
            plain = isinstance(group, yaml.ScalarNode) and not isinstance(choice, yaml.MappingNode)
            names = choice.value if isinstance(choice, yaml.SequenceNode) else [choice]
            if not plain or not all(isinstance(name, yaml.ScalarNode) for name in names):
                _refuse(path, entry, f"in defaults, {DEFAULTS}")
            for name in names:  # 2024_10 and true are names of files, too
                if name.tag in NUMBERS:
                    name.tag = "tag:yaml.org,2002:str"
