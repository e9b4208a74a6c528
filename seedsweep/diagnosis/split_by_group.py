"""A split that keeps photographs together: what it would lack, and the setting that makes it."""

from __future__ import annotations

from pathlib import Path

from seedsweep.data.group_file import write_groups
from seedsweep.data.options import DataConfig
from seedsweep.data.split import groups_of, split_images
from seedsweep.diagnosis.audited import Audited
from seedsweep.diagnosis.grouping import Grouping
from seedsweep.errors import SeedsweepError
from seedsweep.names import and_more

LIST = "groups.csv"


def lacking_if_grouped(facts: Audited, grouping: Grouping, data: DataConfig) -> str:
    """Rehearses a split by groups; returns which class would be missing where, or nothing if all is well."""
    table = facts.table
    shares = {"train": 1 - data.val_fraction - data.test_fraction, "val": data.val_fraction}
    try:
        splits = split_images(
            table.labels,
            grouping.groups,
            table.classes,
            shares | {"test": data.test_fraction},
            data.split_seed,
        )
    except SeedsweepError as error:
        return str(error).rstrip(".")
    missing = [
        f"{name} would have no image in {split}"
        for split in shares
        for number, name in enumerate(table.classes)
        if not ((splits == split) & (table.labels == number)).any()
    ]
    return and_more(missing)


def setting_that_groups(facts: Audited, grouping: Grouping, folder: Path) -> str:
    """Returns the setting that makes the groups: the expression where it does, else a list that is written here."""
    table = facts.table
    if grouping.regex is not None:
        made = groups_of(table.paths, grouping.regex)
        if len({*zip(made, grouping.groups, strict=True)}) == len(set(made)) == grouping.count:
            return f"data.group_regex='{grouping.regex}'"
    path = (folder / LIST).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_groups(table.names(), grouping.groups, path)
    return f"data.group='{path}'"
