"""Makes the page of all settings from the schema, its comments and bounds, and the files of conf/."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import omegaconf
import yaml

from seedsweep.cli.config.schema import Config
from seedsweep.names import conf_dir
from seedsweep.study.options import ParamConfig

CHECKS = ("at_least", "between", "positive", "one_of", "file_name")
HEAD = """\
# All settings

Each row is a setting of the command line: `KEY=VALUE`. This page is made from `seedsweep/cli/config/schema.py`, the
`options.py` of each package and the files of `conf/` whenever the documentation is built. `--cfg job` prints the values
that a command line comes to.

A value outside its bounds, a wrong type and an unknown key end in one sentence, with exit status 2.
"""
CHOICES = """
## Choices

A group is set as a whole by the name of one of its files: `batchnorm=inference`. Single values of it win over the
choice: `batchnorm.recalibrate=true`. With `+`: `+experiment=`, `+study=`, `+rung=`, `+sweep=` (the last two with `-m`).
"The question" is the one behind this project, [told here](../concepts/batchnorm.md#the-trap).
"""


@dataclass(frozen=True)
class Setting:
    """One row: its key, type, default, bounds and meaning, as text; ``meaning`` is empty where the schema has none."""

    key: str
    kind: str
    default: str
    allowed: str
    meaning: str


def sections() -> list[tuple[str, str, list[Setting]]]:
    """Returns the name of each part of the schema, its docstring, and its settings, as they stand in the schema."""
    return [*_sections(Config, ""), _part(ParamConfig, "study.space.NAME")]


def page() -> str:
    """Returns the page as Markdown."""
    parts = [HEAD]
    for name, doc, settings in sections():
        if not settings:
            continue
        parts.append(f"\n## {name or 'The run'}\n\n{_plain(doc)}\n")
        parts.append("| setting | default | allowed | meaning |\n|---|---|---|---|")
        parts += [
            f"| `{each.key}` | {_code(each.default)} | {_cell(each.allowed or each.kind)} | {_cell(each.meaning)} |"
            for each in settings
        ]
    parts.append(CHOICES)
    for folder in sorted(path for path in conf_dir().iterdir() if path.is_dir()):
        if found := sorted(folder.rglob("*.yaml")):
            parts.append(f"\n### {folder.name}\n\n| choice | what it is |\n|---|---|")
            parts += [
                f"| `{path.relative_to(folder).with_suffix('').as_posix()}` | {_cell(_comment(path))} |"
                for path in found
            ]
    return "\n".join(parts) + "\n"


def _sections(kind: type, name: str) -> Iterator[tuple[str, str, list[Setting]]]:
    yield _part(kind, name)
    for key, below in get_type_hints(kind).items():
        if is_dataclass(below):
            yield from _sections(below, f"{name}.{key}" if name else key)  # type: ignore[arg-type]


def _part(kind: type, name: str) -> tuple[str, str, list[Setting]]:
    hints = get_type_hints(kind)
    bounds: dict[str, str] = {}
    written: dict[
        str, tuple[str, str]
    ] = {}  # the annotation and the meaning of a field, where its class is written
    for base in (base for base in reversed(kind.__mro__) if is_dataclass(base)):
        lines = textwrap.dedent(inspect.getsource(base)).splitlines()
        tree = ast.parse("\n".join(lines)).body[0]
        assert isinstance(tree, ast.ClassDef)
        bounds |= _bounds(tree, vars(sys.modules[base.__module__]))
        for node in tree.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                written[node.target.id] = ast.unparse(node.annotation), _meaning(lines, node)
    found = []
    for each in fields(kind):  # type: ignore[arg-type]
        if is_dataclass(hints[each.name]):
            continue
        key = f"{name}.{each.name}" if name else each.name
        annotation, meaning = written[each.name]
        found.append(
            Setting(
                key,
                _kind(annotation),
                _default(each, name),
                bounds.get(key, ""),
                meaning,
            )
        )
    return name, inspect.getdoc(kind) or "", found


def _bounds(tree: ast.ClassDef, names: dict[str, Any]) -> dict[str, str]:
    """Reads what the checks of ``__post_init__`` allow, by key."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CHECKS:
            key, *_ = node.args
            if not isinstance(key, ast.Constant) or "+" in str(key.value):
                continue
            try:
                values = [eval(ast.unparse(value), dict(names)) for value in node.args[2:]]
            except NameError:  # of the method, not of the module
                continue
            found[str(key.value)] = _allowed(node.func.id, values)
    return found


def _allowed(check: str, values: list[Any]) -> str:
    if check == "one_of":
        return ", ".join(f"`{value}`" for value in values[0] if value)
    if check == "between":
        return f"{_number(values[0])} to {_number(values[1])}"
    if check == "positive":
        return "above 0"
    if check == "at_least":
        return (
            f"{_number(values[0])} to {_number(values[1])}"
            if len(values) > 1
            else f"at least {_number(values[0])}"
        )
    return "a plain name"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _kind(annotation: str) -> str:
    words = {
        "str": "text",
        "int": "a whole number",
        "float": "a number",
        "bool": "`true`, `false`",
        "str | None": "text, `null`",
        "list[int]": "list of whole numbers",
        "list[float]": "list of numbers",
        "list[list[int]]": "list of lists of whole numbers",
        "list[NetConfig]": "list of `{name:...,weights:...}`",
        "list[str]": "list of texts",
        "list[list[str]]": "list of lists of texts",
        "float | None": "a number, `null`",
        "int | None": "a whole number, `null`",
        "list[Any] | None": "list, `null`",
        "dict[str, Any]": "names with values",
    }
    return words[annotation]


def _default(each: Field[Any], section: str) -> str:
    value = each.default if each.default is not MISSING else None
    if each.default_factory is not MISSING:
        value = each.default_factory()
    if value == omegaconf.MISSING:
        return _chosen().get(section, "")
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _chosen() -> dict[str, str]:
    """Returns the choice of each group that ``conf/config.yaml`` takes."""
    content = yaml.safe_load((conf_dir() / "config.yaml").read_text())
    return {
        group: str(choice)
        for entry in content["defaults"]
        if isinstance(entry, dict)
        for group, choice in entry.items()
    }


def _meaning(lines: list[str], node: ast.AnnAssign) -> str:
    """Returns the comment lines right above a field and the comment behind it."""
    above = []
    row = node.lineno - 2
    while row >= 0 and lines[row].strip().startswith("#"):
        above.insert(0, lines[row].strip().lstrip("# "))
        row -= 1
    behind = lines[(node.end_lineno or node.lineno) - 1].partition("  # ")[2]
    return " ".join([*above, behind]).strip()


def _comment(path: Path) -> str:
    """Returns the comment that a file of conf/ opens with, without directives and commands."""
    found = []
    for line in path.read_text().splitlines():
        if line.startswith("# @"):
            continue
        if not line.startswith("#"):
            break
        found.append(line.lstrip("# ") if not line.startswith("#   ") else "")
    return re.split(r" Measured on ", " ".join(filter(None, found)))[0]


def _plain(doc: str) -> str:
    return " ".join(re.sub(r"``([^`]+)``", r"`\1`", doc).split())


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(page())
