"""``data.group=FILE``: a list of which images belong together, as a person or the diagnosis wrote it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from seedsweep.data.given_csv import Kind, read_csv
from seedsweep.data.options import DataConfig
from seedsweep.data.split import groups_of
from seedsweep.errors import SeedsweepError
from seedsweep.names import of_cell, path_of, printable, some
from seedsweep.whole import write_csv

log = logging.getLogger(__name__)

KIND = Kind(
    "list of groups",
    ("path", "group"),
    "the columns path and group",
    "give a CSV file with a line for each image: its path below data.root, and its group",
)


def groups_by_settings(config: DataConfig, root: Path, paths: Sequence[Path]) -> list[str]:
    """Returns each image's group by ``data.group``, or else ``data.group_regex``; without both its own path.

    Raises:
        SeedsweepError: a mistake in either.
    """
    if config.group is not None:
        return read_groups(config.group, root, paths)
    return groups_of(paths, config.group_regex)


def read_groups(setting: str, root: Path, paths: Sequence[Path]) -> list[str]:
    """Returns each image's group; an image that the file does not name is a group by itself.

    Raises:
        SeedsweepError: no such file, or a mistake in it; says which line.
    """
    name = f"data.group={setting}"
    group_of: dict[str, str] = {}
    line_of: dict[str, int] = {}
    for line in read_csv(path_of(setting), name, KIND, root):
        where = f"{name}, line {line.number}"
        line.refuse_empty(KIND.needed, where)
        given, group = (of_cell(line.cells[column]) for column in KIND.needed)
        path = os.path.normpath(root / given)
        if group_of.setdefault(path, group) != group:
            raise SeedsweepError(
                f"{where}: {printable(given)} is of another group in line {line_of[path]}: write one group for it."
            )
        line_of.setdefault(path, line.number)
    known = [os.path.normpath(path) for path in paths]
    printed = {printable(path): path for path in known}
    group_of |= {printed[path]: group for path, group in group_of.items() if path in printed}
    named = [path for path in known if path in group_of]
    if not named:
        raise SeedsweepError(
            f"{name} names none of the {len(paths)} images ({some(list(group_of))}, ...): its paths must begin at "
            f"data.root={root}."
        )
    if len(named) < len(paths):
        log.warning(
            "%s names %d of %d images; each other image is its own group", name, len(named), len(paths)
        )
    return [f"group {group_of[path]}" if path in group_of else path for path in known]


def write_groups(names: Sequence[str], groups: Sequence[str], path: Path) -> None:
    """Writes the groups of images by name, for :func:`read_groups`."""
    write_csv(path, KIND.needed, zip(names, groups, strict=True))
