"""Reads the command line as Hydra does, but answers with a sentence."""

from __future__ import annotations

import difflib
from argparse import Namespace
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from seedsweep.errors import SeedsweepError

# tasks that leave nothing in a run folder: Hydra makes none
WITHOUT_FOLDER = {"task=cache": ("hydra.run.dir=.", "hydra.output_subdir=null")}
GROUPS_TO_APPEND = ("experiment", "sweep")  # not in conf/config.yaml's defaults, so Hydra wants a +


def parse(args: list[str]) -> Namespace:
    """Returns Hydra's options and overrides, in whatever order they were given.

    Raises:
        SeedsweepError: an option is unknown, or lacks its value.
    """
    parser = get_args_parser()
    known = [option for option in parser._option_string_actions if option.startswith("--")]

    def refuse(message: str) -> NoReturn:
        unknown = [
            arg.split("=")[0] for arg in args if arg.startswith("--") and arg.split("=")[0] not in known
        ]
        near = difflib.get_close_matches(unknown[0], known, 1) if unknown else []
        hint = f"; did you mean {near[0]}?" if near else "; -h lists what there is."
        raise SeedsweepError(message.splitlines()[0] + hint)

    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_intermixed_args(args)


def arrange(args: list[str]) -> list[str]:
    """Puts options before overrides (Hydra insists), and a + before ``experiment=`` and ``sweep=``."""
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
    return options + [f"+{o}" if o.split("=")[0] in GROUPS_TO_APPEND else o for o in overrides]
