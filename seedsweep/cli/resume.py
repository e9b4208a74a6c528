"""``resume=DIR``: the command line that DIR was made with, again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from seedsweep.errors import SeedsweepError
from seedsweep.names import path_of
from seedsweep.overrides import CONFIG, key_of, setting, text_of
from seedsweep.runs.recorded import GRID, SINGLE, read_recorded

OUR_MARK = "resume=true"  # tells the job to go on instead of refusing a used folder


def expand_resume(args: list[str]) -> list[str]:
    """Replaces ``resume=DIR`` by the overrides recorded in DIR; further overrides stay and win.

    Args:
        args: options first, then overrides (see ``arguments.arrange``).

    Raises:
        SeedsweepError: DIR was not made by seedsweep.
    """
    asked = [arg for arg in args if key_of(arg) == "resume"]
    if not asked:
        return args
    given = text_of(asked[-1].partition("=")[2])
    if not given:
        raise SeedsweepError("resume= lacks its folder: write resume=DIR, with the folder that was printed.")
    folder = path_of(given)
    rest = [arg for arg in args if arg not in asked]
    grid, single = folder / GRID, folder / SINGLE
    if grid.is_file():
        options, overrides = _recorded(grid, rest)
        rest = [arg for arg in rest if arg not in ("-m", "--multirun")]
        return ["-m", *options, *overrides, setting("hydra.sweep.dir", str(folder)), *rest]
    if single.is_file():
        options, overrides = _recorded(single, rest)
        if "-m" in rest or "--multirun" in rest:
            raise SeedsweepError(f"resume={folder} is a single run: leave out -m.")
        return [*options, *overrides, setting("hydra.run.dir", str(folder)), OUR_MARK, *rest]
    raise SeedsweepError(
        f"resume={folder} holds neither a run (.hydra/) nor a grid (multirun.yaml): "
        "give the folder that was printed."
    )


def _recorded(path: Path, rest: list[str]) -> tuple[list[str], list[str]]:
    """Returns the options and the overrides written in ``path``, less those that ``rest`` gives anew."""
    recorded = read_recorded(path)
    anew = {key_of(arg) for arg in rest if "=" in arg}
    again = [o for o in recorded.overrides if key_of(o) not in anew]
    if "hydra/launcher" in anew:  # the settings of another launcher don't fit
        again = [o for o in again if not key_of(o).startswith("hydra.launcher.")]
    options = {arg.split("=")[0] for arg in rest}
    if options & {"--config-dir", "-cd"}:
        recorded = replace(recorded, config_dirs=[])
    if options & {"--config-name", "-cn"}:
        recorded = replace(recorded, config_name=CONFIG)
    return recorded.options, again
