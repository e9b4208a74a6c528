"""``task=cache``: lists or clears the stored features."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from seedsweep.cli.config.schema import Config
from seedsweep.errors import SeedsweepError
from seedsweep.features import budget


def run(config: Config, folder: Path, *, label: str, resume: bool) -> None:
    """Does what ``cache.action`` says: list | clear.

    Raises:
        SeedsweepError: ``cache.key`` names no features, or others are being written.
    """
    root = config.cache_dir / "features"
    console = Console(highlight=False, soft_wrap=True, width=max(Console().width, 120))
    spaces = budget.spaces_in(root) if root.is_dir() else []
    if config.cache.key:
        spaces = [space for space in spaces if space.folder.name.startswith(config.cache.key)]
        if not spaces:
            raise SeedsweepError(f"cache.key={config.cache.key} is none of the features in {root}.")
    if config.cache.action == "clear":
        _clear(spaces, console)
    else:
        _list(spaces, root, config.features.budget_gib, console)


def _list(spaces: list[budget.StoredSpace], root: Path, budget_gib: float, console: Console) -> None:
    total = sum(space.n_bytes for space in spaces) / 2**30
    console.print(f"{len(spaces)} nets, {total:.2f} of {budget_gib:g} GiB, in {root}", markup=False)
    if not spaces:
        return
    table = Table(
        "key", "backbone", "BatchNorm", "size", "engine", "views", "rows", "MiB", "last used", box=None
    )
    for space in spaces:
        about = space.about
        size = "x".join(str(side) for side in about.get("image_size", []))
        table.add_row(
            space.folder.name,
            str(about.get("backbone", "?")),
            f"{about.get('batchnorm', '?')}, {about.get('preprocess', '?')}",
            size,
            f"{about.get('engine', '?')} {about.get('precision', '')}",
            str(space.views),
            f"{space.images:,}",
            f"{space.n_bytes / 2**20:.1f}",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(space.used)),
        )
    console.print(table)
    console.print("remove: cache.action=clear [cache.key=KEY]", markup=False)


def _clear(spaces: list[budget.StoredSpace], console: Console) -> None:
    freed = 0
    for space in spaces:
        if not budget.remove(space.folder):
            raise SeedsweepError(f"{space.folder} is being written by another process: try again later.")
        freed += space.n_bytes
    console.print(f"{len(spaces)} nets removed, {freed / 2**20:.1f} MiB freed", markup=False)
