"""``resume=DIR``: the command line that DIR was made with, again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from seedsweep.errors import SeedsweepError

OUR_MARK = "resume=true"  # tells the job to go on instead of refusing a used folder


def expand_resume(args: list[str]) -> list[str]:
    """Replaces ``resume=DIR`` by the overrides recorded in DIR; further overrides stay and win.

    Raises:
        SeedsweepError: DIR was not made by seedsweep.
    """
    asked = [arg for arg in args if arg.lstrip("+").startswith("resume=")]
    if not asked or asked[-1] == OUR_MARK:
        return args
    folder = Path(asked[-1].split("=", 1)[1]).expanduser()
    rest = [arg for arg in args if arg not in asked]
    grid, single = folder / "multirun.yaml", folder / ".hydra" / "hydra.yaml"
    if grid.is_file():
        node: Any = OmegaConf.load(grid)
        node = node.get("hydra", node)
        return ["-m", *_again(node), f"hydra.sweep.dir={_quoted(folder)}", *[a for a in rest if a != "-m"]]
    if single.is_file():
        node = OmegaConf.load(single)
        return [*_again(node["hydra"]), f"hydra.run.dir={_quoted(folder)}", OUR_MARK, *rest]
    raise SeedsweepError(
        f"resume={folder} holds neither a run (.hydra/) nor a grid (multirun.yaml): give the folder that was printed."
    )


def _again(hydra: Any) -> list[str]:
    """Returns the recorded overrides and the folders of configs given by --config-dir."""
    ours = ("hydra.run.dir=", "hydra.sweep.dir=", "hydra.mode=", OUR_MARK)
    overrides = [*hydra.overrides.task, *hydra.overrides.hydra]
    again = [o for o in overrides if not o.startswith(ours)]
    for source in hydra.runtime.config_sources:
        if source.provider == "command-line":
            again += ["--config-dir", source.path]
    return again


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "\\'") + "'"
