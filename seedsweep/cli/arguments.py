"""Reads the command line as Hydra does, but answers with a sentence."""

from __future__ import annotations

import difflib
import re
from argparse import Namespace
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from seedsweep.config.groups import key_of, plus
from seedsweep.errors import SeedsweepError

# tasks that leave nothing in a run folder: Hydra makes none
NO_FOLDER = ("hydra.run.dir=.", "hydra.output_subdir=null")
WITHOUT_FOLDER = {f"task={name}": NO_FOLDER for name in ("cache", "dashboard", "proxy")}
# no experiments: their folders are outputs/<task>/<date_time>
NAMED_BY_TASK = ("predict", "export")
BEST_OF = "best_of_"


def parse(args: list[str]) -> Namespace:
    """Returns Hydra's options and overrides, in whatever order they were given.

    Raises:
        SeedsweepError: an option is unknown, or lacks its value.
    """
    parser = get_args_parser()
    parser.allow_abbrev = False  # --experiment=x must not be read as --experimental-rerun=x
    known = [option for option in parser._option_string_actions if option.startswith("--")]

    def refuse(message: str) -> NoReturn:
        unknown = [
            arg.split("=")[0] for arg in args if arg.startswith("--") and arg.split("=")[0] not in known
        ]
        near = difflib.get_close_matches(unknown[0], known, 1, 0.8) if unknown else []
        hint = f"; did you mean {near[0]}?" if near else "; -h lists what there is."
        if unknown and not near and any(arg.startswith(f"{unknown[0]}=") for arg in args):
            hint = f"; settings are written without dashes: {unknown[0].lstrip('-')}=VALUE."
        raise SeedsweepError(message.splitlines()[0] + hint)

    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_intermixed_args(args)


def arrange(args: list[str]) -> list[str]:
    """Puts options before overrides (Hydra insists), and quotes and a + where Hydra wants them.

    The + stands before ``experiment=``, ``sweep=`` and ``study=``.

    Raises:
        SeedsweepError: an option is unknown, or a study whose winner is to run has not ended.
    """
    overrides = list(parse(args).overrides)
    options = []
    left = list(overrides)
    for arg in args:
        if arg in left:
            left.remove(arg)
        else:
            options.append(arg)
    for task, settings in WITHOUT_FOLDER.items():
        if task in overrides:
            overrides += [setting for setting in settings if setting not in overrides]
    keys = {key_of(override) for override in overrides}
    for task in NAMED_BY_TASK:
        if f"task={task}" in overrides and not keys & {"experiment", "experiment.name"}:
            overrides.append(f"experiment.name={task}")
    return [*options, *_folder_of_winner(options, overrides), *(plus(_quoted(o)) for o in overrides)]


def _quoted(override: str) -> str:
    """Puts quotes round a value that Hydra's grammar can't read: paths with ``~`` or spaces, regular expressions."""
    key, _, value = override.partition("=")
    escaped = re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + m[2].replace('"', '\\"'), value)
    quoted = f'{key}="{escaped}"'
    return quoted if value and not _can_read(override) and _can_read(quoted) else override


def _can_read(override: str) -> bool:
    try:
        OverridesParser.create().parse_overrides([override])
    except OverrideParseException:
        return False
    return True


def _folder_of_winner(options: list[str], overrides: list[str]) -> list[str]:
    """Adds the --config-dir that ``+experiment=best_of_STUDY`` is in, unless one is given."""
    names = [o.partition("=")[2] for o in overrides if key_of(o) == "experiment"]
    studies = [
        part.removeprefix(BEST_OF) for name in names for part in name.split(",") if part.startswith(BEST_OF)
    ]
    if not studies or any(option.split("=")[0] in ("--config-dir", "-cd") for option in options):
        return []
    outputs = [o.partition("=")[2] for o in overrides if o.startswith("paths.outputs=")]
    root = Path(outputs[-1] if outputs else "outputs") / "studies"
    folder = root / studies[0] / "conf"
    if not folder.is_dir():
        ended = sorted(path.parents[2].name for path in root.glob(f"*/conf/experiment/{BEST_OF}*.yaml"))
        known = f"there are: {', '.join(ended)}" if ended else "there is none yet"
        raise SeedsweepError(f"{BEST_OF}{studies[0]}: no study of that name has ended in {root} ({known}).")
    return ["--config-dir", str(folder.absolute())]
