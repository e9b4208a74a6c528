"""Reads the command line and arranges it for Hydra; what it can't mean is one sentence."""

from __future__ import annotations

import difflib
from argparse import Namespace
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from seedsweep.bounds import file_name
from seedsweep.cli.other_names import as_setting
from seedsweep.cli.words import RESUME, as_overrides
from seedsweep.config.override_values import as_meant
from seedsweep.errors import SeedsweepError
from seedsweep.overrides import key_of, plus, split, text_of
from seedsweep.study.password import without_password

# tasks that leave nothing in a run folder: Hydra makes none
NO_FOLDER = ("hydra.run.dir=.",)
WITHOUT_FOLDER = {f"task={name}": NO_FOLDER for name in ("cache", "dashboard", "proxy")}
# no experiments: their folders are outputs/<task>/<date_time>
NAMED_BY_TASK = ("predict", "export")
WITH_IMAGES = ("train", "study", "diagnose")  # tasks that read data.root by data=
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
        if unknown and not near and (written := as_setting(unknown[0], args)):
            hint = f"; settings are written without dashes: {written}"
        raise SeedsweepError(message.splitlines()[0] + hint)

    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_intermixed_args(args)


def arrange(args: list[str]) -> list[str]:
    """Puts options before overrides (Hydra insists), and writes overrides as Hydra must have them.

    Words without ``=`` become overrides (``cli/words.py``), texts stay texts (``cli/values.py``), and a + stands before
    ``experiment=``, ``rung=``, ``sweep=`` and ``study=``. What is arranged already stays as it is.

    Raises:
        SeedsweepError: an option or a word is unknown, a value has two meanings, or a study whose winner is to run has
            not ended.
    """
    given = list(parse(args).overrides)
    options = []
    left = list(given)
    for arg in args:
        if arg in left:
            left.remove(arg)
        else:
            options.append(arg)
    overrides = [plus(as_meant(without_password(override))) for override in as_overrides(given)]
    for task, settings in WITHOUT_FOLDER.items():
        if task in overrides:
            overrides += [setting for setting in settings if setting not in overrides]
    keys = {key_of(override) for override in overrides}
    for task in NAMED_BY_TASK:
        if f"task={task}" in overrides and not keys & {"experiment", "experiment.name"}:
            overrides.append(f"experiment.name={task}")
    options += _folder_of_winner(options, overrides)
    return [*options, *overrides, *_folder_of_images(options, overrides)]


def _folder_of_images(options: list[str], overrides: list[str]) -> list[str]:
    """Returns ``data=folder`` where ``data.root`` is given and nothing says how it is read."""
    given = {key_of(override): text_of(override.partition("=")[2]) for override in overrides}
    if given.get("data.root", "null") == "null" or given.keys() & {"data", "data.name", RESUME}:
        return []
    if given.get("task", "train") not in WITH_IMAGES:
        return []
    if any(option.split("=")[0] in ("--config-dir", "-cd", "--config-name", "-cn") for option in options):
        from seedsweep.cli.preflight import data_name  # it takes a tenth of a second

        return ["data=folder"] if data_name(parse([*options, *overrides])) == "demo" else []
    return ["data=folder"]


def _folder_of_winner(options: list[str], overrides: list[str]) -> list[str]:
    """Adds the --config-dir that ``+experiment=best_of_STUDY`` is in, unless one is given."""
    values = [part for o in overrides if key_of(o) == "experiment" for part in split(o.partition("=")[2])]
    studies = [name.removeprefix(BEST_OF) for name in map(text_of, values) if name.startswith(BEST_OF)]
    if not studies or any(option.split("=")[0] in ("--config-dir", "-cd") for option in options):
        return []
    file_name(f"the study of experiment={BEST_OF}...", studies[0])
    outputs = [text_of(o.partition("=")[2]) for o in overrides if o.startswith("paths.outputs=")]
    root = Path(outputs[-1] if outputs else "outputs") / "studies"
    folder = root / studies[0] / "conf"
    if not folder.is_dir():
        ended = sorted(path.parents[2].name for path in root.glob(f"*/conf/experiment/{BEST_OF}*.yaml"))
        known = f"there are: {', '.join(ended)}" if ended else "there is none yet"
        raise SeedsweepError(f"{BEST_OF}{studies[0]}: no study of that name has ended in {root} ({known}).")
    return ["--config-dir", str(folder.absolute())]
