"""``resume=DIR``: the command line that DIR was made with, again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from seedsweep.errors import SeedsweepError

OUR_MARK = "resume=true"  # tells the job to go on instead of refusing a used folder
NOT_AGAIN = ("hydra.run.dir", "hydra.sweep.dir", "hydra.mode", "resume")


def expand_resume(args: list[str]) -> list[str]:
    """Replaces ``resume=DIR`` by the overrides recorded in DIR; further overrides stay and win.

    Args:
        args: options first, then overrides (see ``arguments.arrange``).

    Raises:
        SeedsweepError: DIR was not made by seedsweep.
    """
    asked = [arg for arg in args if _key(arg) == "resume"]
    if not asked:
        return args
    given = asked[-1].partition("=")[2].strip("'\"")
    if not given:
        raise SeedsweepError("resume= lacks its folder: write resume=DIR, with the folder that was printed.")
    folder = Path(given).expanduser()
    rest = [arg for arg in args if arg not in asked]
    grid, single = folder / "multirun.yaml", folder / ".hydra" / "hydra.yaml"
    if grid.is_file():
        options, overrides = _recorded(grid, rest)
        rest = [arg for arg in rest if arg not in ("-m", "--multirun")]
        return ["-m", *options, *overrides, f"hydra.sweep.dir={_quoted(folder)}", *rest]
    if single.is_file():
        options, overrides = _recorded(single, rest)
        if "-m" in rest or "--multirun" in rest:
            raise SeedsweepError(f"resume={folder} is a single run: leave out -m.")
        return [*options, *overrides, f"hydra.run.dir={_quoted(folder)}", OUR_MARK, *rest]
    raise SeedsweepError(
        f"resume={folder} holds neither a run (.hydra/) nor a grid (multirun.yaml): "
        "give the folder that was printed."
    )


def _recorded(path: Path, rest: list[str]) -> tuple[list[str], list[str]]:
    """Returns the --config-dir and the overrides written in ``path``, less those that ``rest`` gives anew.

    The file is read as plain YAML: OmegaConf would put values in the place of ``${...}``.
    """
    try:
        content: Any = yaml.safe_load(path.read_text())
        hydra = content["hydra"]
        overrides = [str(o) for o in [*hydra["overrides"]["task"], *hydra["overrides"]["hydra"]]]
        sources = hydra["runtime"]["config_sources"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise SeedsweepError(f"{path} was not written by Hydra, or is damaged: start anew.") from error
    anew = {_key(arg) for arg in rest if "=" in arg}
    again = [o for o in overrides if _key(o) not in NOT_AGAIN and _key(o) not in anew]
    if "hydra/launcher" in anew:  # the settings of another launcher don't fit
        again = [o for o in again if not _key(o).startswith("hydra.launcher.")]
    given = any(arg.split("=")[0] in ("--config-dir", "-cd") for arg in rest)
    folders = [] if given else [s["path"] for s in sources if s["provider"] == "command-line"]
    return [part for folder in folders for part in ("--config-dir", folder)], again


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "\\'") + "'"
