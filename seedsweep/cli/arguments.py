"""Reads the command line as a user types it, and writes it as Hydra must have it.

Words without ``=`` become overrides (``words.py``), texts stay texts (``config/override_values.py``), and
``resume=DIR`` becomes the command line that DIR was made with.
"""

from __future__ import annotations

import difflib
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from omegaconf.errors import OmegaConfBaseException

from seedsweep.bounds import file_name
from seedsweep.cli.config.override_values import as_meant
from seedsweep.cli.words import RESUME, as_overrides, as_setting
from seedsweep.errors import SeedsweepError
from seedsweep.names import path_of
from seedsweep.overrides import CONFIG, key_of, plus, setting, split, text_of
from seedsweep.runs.recorded import GRID, SINGLE, read_recorded
from seedsweep.study.password import without_password

NO_FOLDER = "hydra.run.dir=."  # of tasks that leave nothing in a run folder: Hydra makes none
WITHOUT_FOLDER = ("cache", "dashboard", "proxy")
# no experiments: their folders are outputs/<task>/<date_time>
NAMED_BY_TASK = ("answer", "audit", "backbones", "predict", "evaluate", "export")
# tasks that read data.root by data=; a diagnosis does where it has nothing but settings
WITH_IMAGES = ("answer", "audit", "backbones", "train", "study", "diagnose", "evaluate")
BEST_OF = "best_of_"
OUR_MARK = "resume=true"  # tells the job to go on instead of refusing a used folder
CONFIG_DIR, CONFIG_NAME = ("--config-dir", "-cd"), ("--config-name", "-cn")
NOT_OURS = {"--config-path": "--config-dir", "-cp": "--config-dir", "--experimental-rerun": "resume=DIR"}


def interpret(args: list[str]) -> list[str]:
    """Returns the command line that Hydra can read, options first.

    Raises:
        SeedsweepError: an option or a word is unknown, a value has two meanings, a folder to resume holds nothing, or
            a study whose winner is to run has not ended.
    """
    return arrange(_expand_resume(arrange(args)))


def parse(args: list[str]) -> Namespace:
    """Returns Hydra's options and overrides, in whatever order they were given.

    Raises:
        SeedsweepError: an option is unknown, or lacks its value.
    """
    parser = get_args_parser()
    parser.allow_abbrev = False  # --experiment=x must not be read as --experimental-rerun=x
    known = [option for option in parser._option_string_actions if option.startswith("--")]
    for arg in args:
        if instead := NOT_OURS.get(arg.split("=")[0]):
            raise SeedsweepError(f"{arg.split('=')[0]} is Hydra's, and not used here: give {instead}.")

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

    A + stands before ``experiment=``, ``rung=``, ``sweep=`` and ``study=``. What is arranged already stays as it is.
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
    values = {key_of(override): text_of(override.partition("=")[2]) for override in overrides}
    task = values.get("task", "train")
    if task in WITHOUT_FOLDER and NO_FOLDER not in overrides:
        overrides.append(NO_FOLDER)
    if task in NAMED_BY_TASK and not values.keys() & {"experiment", "experiment.name"}:
        overrides.append(f"experiment.name={task}")
    options += _folder_of_winner(options, overrides)
    from_table = values.get("data.file", "null") != "null"
    if (
        (from_table or values.get("data.root", "null") != "null")
        and task in WITH_IMAGES
        and not values.keys() & {"data", "data.name", RESUME}
        and _is_demo(options, overrides)
    ):
        overrides.append("data=table" if from_table else "data=folder")
    return [*options, *overrides]


def _is_demo(options: list[str], overrides: list[str]) -> bool:
    """Says whether nothing else than the default says how images are read; files of one's own may."""
    if not _has(options, *CONFIG_DIR, *CONFIG_NAME):
        return True
    from seedsweep.cli.composing import composing, read_overrides

    parsed = parse([*options, *overrides])
    try:
        with composing(parsed) as compose:
            fixed = [o.input_line or "" for o in read_overrides(overrides) if not o.is_sweep_override()]
            return str(compose(fixed).data.name) == "demo"
    except (SeedsweepError, OmegaConfBaseException):  # the check says so
        return False


def _has(options: list[str], *names: str) -> bool:
    return any(option.split("=")[0] in names for option in options)


def _folder_of_winner(options: list[str], overrides: list[str]) -> list[str]:
    """Adds the --config-dir that ``+experiment=best_of_STUDY`` is in, unless one is given."""
    values = [part for o in overrides if key_of(o) == "experiment" for part in split(o.partition("=")[2])]
    studies = [name.removeprefix(BEST_OF) for name in map(text_of, values) if name.startswith(BEST_OF)]
    if not studies or _has(options, *CONFIG_DIR):
        return []
    file_name(f"the study of experiment={BEST_OF}...", studies[0])
    outputs = [text_of(o.partition("=")[2]) for o in overrides if o.startswith("paths.outputs=")]
    root = path_of(outputs[-1] if outputs else "outputs") / "studies"
    folder = root / studies[0] / "conf"
    if not folder.is_dir():
        ended = sorted(path.parents[2].name for path in root.glob(f"*/conf/experiment/{BEST_OF}*.yaml"))
        known = f"there are: {', '.join(ended)}" if ended else "there is none yet"
        raise SeedsweepError(f"{BEST_OF}{studies[0]}: no study of that name has ended in {root} ({known}).")
    return ["--config-dir", str(folder.absolute())]


def _expand_resume(args: list[str]) -> list[str]:
    """Replaces ``resume=DIR`` by the overrides recorded in DIR; further overrides stay and win."""
    asked = [arg for arg in args if key_of(arg) == RESUME]
    if not asked:
        return args
    given = text_of(asked[-1].partition("=")[2])
    if not given:
        raise SeedsweepError("resume= lacks its folder: write resume=DIR, with the folder that was printed.")
    folder = path_of(given)
    rest = [arg for arg in args if arg not in asked]
    if (folder / GRID).is_file():
        rest = [arg for arg in rest if arg not in ("-m", "--multirun")]
        return ["-m", *_recorded(folder / GRID, rest), setting("hydra.sweep.dir", str(folder)), *rest]
    if not (folder / SINGLE).is_file():
        raise SeedsweepError(
            f"resume={folder} holds neither a run (.hydra/) nor a grid (multirun.yaml): "
            "give the folder that was printed."
        )
    if "-m" in rest or "--multirun" in rest:
        raise SeedsweepError(f"resume={folder} is a single run: leave out -m.")
    return [*_recorded(folder / SINGLE, rest), setting("hydra.run.dir", str(folder)), OUR_MARK, *rest]


def _recorded(path: Path, rest: list[str]) -> list[str]:
    """Returns the options and the overrides written in ``path``, less those that ``rest`` gives anew."""
    recorded = read_recorded(path)
    anew = {key_of(arg) for arg in rest if "=" in arg}
    again = [o for o in recorded.overrides if key_of(o) not in anew]
    if "hydra/launcher" in anew:  # the settings of another launcher don't fit
        again = [o for o in again if not key_of(o).startswith("hydra.launcher.")]
    if _has(rest, *CONFIG_DIR):
        recorded = replace(recorded, config_dirs=[])
    if _has(rest, *CONFIG_NAME):
        recorded = replace(recorded, config_name=CONFIG)
    return [*recorded.options, *again]
