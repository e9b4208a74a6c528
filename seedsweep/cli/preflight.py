"""Checks a command line before anything runs, so that mistakes cost a sentence, not a grid."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seedsweep.bounds import file_name
from seedsweep.cli.arguments import WITH_IMAGES
from seedsweep.cli.composing import Composer, check_size, is_range, read_overrides, values_of
from seedsweep.cli.config.override_values import how_to_quote
from seedsweep.cli.config.schema import Config
from seedsweep.cli.grid_again import check_images_of, check_settings
from seedsweep.cli.sentences import choices_of
from seedsweep.cli.shadowed import refusal_of_idle, refuse_shadowed, shadowed
from seedsweep.cli.study_checks import Job, check_names, check_space
from seedsweep.data.corrections import KIND as CORRECTIONS
from seedsweep.data.folder import check_root
from seedsweep.data.group_file import KIND as GROUPS
from seedsweep.data.listed import KIND as LISTED
from seedsweep.errors import SeedsweepError
from seedsweep.names import path_of
from seedsweep.overrides import text_of
from seedsweep.runs.jobs import holds_run, is_named_by_clock, refuse_used
from seedsweep.runs.recorded import GRID
from seedsweep.runs.settings import refuse_other_settings, saved_settings
from seedsweep.study.options import OF_THE_STUDY
from seedsweep.training.options import what_counts
from seedsweep.training.trackers import check_trackers

MOST_FOLDS = 10_000
MOST_VALUES = 16  # of one swept setting that are composed; of a group's further ones the name is checked
PARTS = ("run", "sweep", "sweeper", "launcher", "job", "runtime", "callbacks", "overrides")  # of hydra
TRAINING = ("answer", "train", "study")  # tasks that write to trackers
NAMES = ("experiment.name", "study.name")
ANSWER = "answer"  # the task of +sweep=answer, which is no grid itself
ONLY_NAMED = ("batchnorm", "preprocess", "augment")  # sections whose name is no setting


@dataclass(frozen=True)
class Checked:
    """A command line that can run."""

    composed: DictConfig  # its settings with Hydra's own among them
    config: Config | None  # the typed settings of a single run; None: it is a grid


def check(parsed: Namespace, compose: Composer) -> Checked:
    """Composes every alternative once and validates it.

    Raises:
        SeedsweepError: an unknown key, group, choice or type, a value out of bounds, no such folder of
            images, or a used folder.
    """
    lines = list(parsed.overrides)
    overrides = read_overrides(lines)
    swept = next((o for o in overrides if o.is_sweep_override()), None)
    file_of_grid = next((o for o in overrides if o.key_or_group == "sweep"), None)
    if (parsed.multirun or swept or file_of_grid) and (parsed.cfg or parsed.info):
        raise SeedsweepError("--cfg and --info show one run: leave out -m and the lists of values.")
    if sum(map(bool, (parsed.cfg, parsed.info, parsed.run))) > 1:
        raise SeedsweepError("give one of --cfg, --info and --run.")
    if not parsed.multirun:
        composed = compose([o.input_line or "" for o in overrides if not o.is_sweep_override()])
        _check_parts(composed)
    if parsed.multirun or composed.hydra.mode == RunMode.MULTIRUN:
        composed = compose([*lines, "hydra.mode=MULTIRUN"], RunMode.MULTIRUN)
        _check_parts(composed)
        if all_folds := _all_folds(composed, overrides):
            overrides += read_overrides([all_folds])
            composed = compose([*lines, all_folds, "hydra.mode=MULTIRUN"], RunMode.MULTIRUN)
        if str(composed.task) in (ANSWER, "backbones"):
            raise SeedsweepError(f"task={composed.task} runs its grids by itself: leave out -m.")
        _check_grid(compose, composed, overrides)
        return Checked(composed, None)
    if swept:
        line = str(swept.input_line)
        raise SeedsweepError(f"{line} is a list of values: add -m to run them as a grid{how_to_quote(line)}.")
    if file_of_grid and str(composed.task) != ANSWER:
        raise SeedsweepError(f"{file_of_grid.input_line} is a grid of runs: add -m to run it.")
    _refuse_folds(composed)
    config = compose.config(lines)
    _refuse_time(config)
    if not config.resume:
        refuse_shadowed(shadowed(lines, compose), lines, compose)
    if config.task == "study":
        check_space(compose, config, lines, set())
    if config.task == "train" and not config.resume:
        _refuse_idle([config], [override.key_or_group for override in overrides])
    if not parsed.cfg and not parsed.info:
        _check_images(config)
        _refuse_used_folder(composed, config)
    return Checked(composed, config)


def _all_folds(composed: DictConfig, overrides: list[Override]) -> str | None:
    """Returns the override that runs every fold in a grid; None: there are none, or which ones was said.

    Raises:
        SeedsweepError: the number of folds is to vary.
    """
    for override in overrides:
        if override.key_or_group in ("data.folds", "data.fold_repeats") and override.is_sweep_override():
            raise SeedsweepError(f"{override.input_line} is a list: a grid has one number of folds.")
    data = composed.data
    if data.folds is None or data.fold is not None or any(o.key_or_group == "data.fold" for o in overrides):
        return None
    n = max(1, min(data.folds * data.fold_repeats, MOST_FOLDS))  # other numbers are refused with their jobs
    return f"data.fold={','.join(map(str, range(n)))}"


def _refuse_folds(composed: DictConfig) -> None:
    """Stops where folds are given to what chooses or compares by one split."""
    if composed.data.folds is None:
        return
    by_task = {"study": "a study", ANSWER: "+sweep=answer", "backbones": "+study=backbones"}
    if what := "the ladder" if composed.rung.kind else by_task.get(str(composed.task)):
        raise SeedsweepError(
            f"{what} goes by one split: leave data.folds out; -m +experiment=... data.folds={composed.data.folds} "
            "compares experiments over folds."
        )


def _refuse_time(config: Config) -> None:
    """Stops where a budget or a forecast is asked for that a call can't keep or make."""
    asked = f"budget={config.budget}" if config.budget is not None else f"forecast={config.forecast}"
    if config.budget is None and config.forecast != "only":
        return
    if config.task not in ("study", ANSWER):
        raise SeedsweepError(
            f"{asked} is for a grid (-m), a study or +sweep=answer: leave it out, or add -m."
        )
    if config.task == ANSWER and config.forecast == "only":
        raise SeedsweepError(
            "forecast=only is for a grid or a study: -m +sweep=arms forecast=only measures all arms."
        )
    if config.budget is not None and (config.study.workers > 1 or config.study.job):
        raise SeedsweepError(f"{asked} needs a study with one worker: leave study.workers and study.job out.")


def _check_parts(composed: DictConfig) -> None:
    """Stops where a part of Hydra's own settings was replaced by a value, on which Hydra ends in a traceback."""
    if wrong := [part for part in PARTS if not OmegaConf.is_dict(composed.hydra[part])]:
        raise SeedsweepError(f"hydra.{wrong[0]} holds settings of its own: give one of them, not a value.")


def _check_grid(compose: Composer, composed: DictConfig, overrides: list[Override]) -> None:
    """Checks every value of a grid, each with the first of all others."""
    params: Mapping[str, Any] = composed.hydra.sweeper.get("params") or {}
    of_sweep = read_overrides([f"{key}={value}" for key, value in params.items()])
    by_key = {o.key_or_group: o for o in [*of_sweep, *overrides]}  # the sweeper's own rule: the last one wins
    basic = str(composed.hydra.sweeper.get("_target_")).endswith(".BasicSweeper")
    if basic and (ranges := [o for o in by_key.values() if is_range(o)]):
        raise SeedsweepError(
            f"{ranges[0].input_line} is a range without steps: list the values, for example 1e-3,1e-4."
        )
    here = str(composed.hydra.launcher.get("_target_")).endswith(".BasicLauncher")
    choices = {key: values_of(override) for key, override in by_key.items()}
    check_size(list(choices.values()))
    _refuse_names_alone(choices)
    for name in NAMES:  # all of them: a folder is made by each
        for line in choices.get(name, ()):
            file_name(name, text_of(line.partition("=")[2]))
    base = [values[0] for values in choices.values()]
    jobs = [Job(base, compose(base), compose.config(base))]
    _refuse_folds(jobs[0].composed)
    with_space = [jobs[0]]
    for place, (key, values) in enumerate(choices.items()):
        for value in values[1:MOST_VALUES]:
            lines = [*base[:place], value, *base[place + 1 :]]
            jobs.append(Job(lines, compose(lines), compose.config(lines)))
            _refuse_folds(jobs[-1].composed)
            # other values of these make another space, or the same space another matter; a seed doesn't
            if choices_of(key) or key.split(".")[0] in OF_THE_STUDY:
                with_space.append(jobs[-1])
    trained = [job for job in jobs if job.config.task == "train"]
    if trained:
        _refuse_idle([job.config for job in trained], choices)
    grid = _folder(trained[0].composed, "sweep") if trained else None
    compared: set[Path] = set()
    for job in jobs if here else ():  # another launcher's machines may see other disks
        _check_images(job.config)
        if job.config.task == "train" and (folder := _folder(job.composed, "sweep")):
            check_images_of(folder, job.config, compared)
    if not ((folder := _folder(jobs[0].composed, "sweep")) and (folder / GRID).is_file()):
        _refuse_shadowed(compose, [job.lines for job in jobs])  # a grid goes on with the settings that it has
    check_names([job for job in jobs if job.config.task == "study"], at_once=not here)
    if grid:
        check_settings(grid, choices, compose)
    seen: set[tuple[str, ...]] = set()
    for job in with_space:
        if job.config.task == "study":
            check_space(compose, job.config, job.lines, seen)


def _refuse_shadowed(compose: Composer, alternatives: list[list[str]]) -> None:
    """Stops where a choice that every job has changes nothing in any of them; the control of a grid may pin its own."""
    found = shadowed(alternatives[0], compose)
    for lines in alternatives[1:] if found else ():
        theirs = shadowed(lines, compose)
        found = {line: each for line, each in found.items() if line in theirs or line not in lines}
    refuse_shadowed(found, alternatives[0], compose)


def _folder(composed: DictConfig, of: str) -> Path | None:
    """Returns the folder of a ``run`` or ``sweep``; None where its name needs what only the running job knows."""
    try:
        return Path(composed.hydra[of].dir)
    except OmegaConfBaseException:
        return None


def _refuse_idle(configs: list[Config], given: Iterable[str]) -> None:
    """Stops where a setting is given that none of the runs has a use for."""
    if refused := refusal_of_idle(set(given), configs):
        raise SeedsweepError(refused)


def _refuse_names_alone(choices: dict[str, list[str]]) -> None:
    """Stops a grid over what a section is called: its arms would differ in nothing else."""
    for key, values in choices.items():
        section, _, last = key.partition(".")
        if len(values) > 1 and last == "name" and section in ONLY_NAMED:
            lines = ",".join(value.partition("=")[2] for value in values)
            raise SeedsweepError(
                f"{key}={lines} changes what {section} is called, and no setting: take {section}=..."
            )


def _check_images(config: Config) -> None:
    if config.task in TRAINING:
        check_trackers(config.logger)
    trained = config.task == "diagnose" and (config.diagnose.run or config.diagnose.checkpoint)
    if config.task in WITH_IMAGES and not trained:
        check_root(config.data)
        files = {
            "data.corrections": (config.data.corrections, f": {CORRECTIONS.give}"),
            "data.group": (config.data.group, f"; {GROUPS.give}"),
            "data.file": (config.data.file, f"; {LISTED.give}"),
        }
        for key, (given, advice) in files.items():
            if given and not config.resume and not path_of(given).is_file():
                raise SeedsweepError(f"{key}={given} is no file{advice}.")


def _refuse_used_folder(composed: DictConfig, config: Config) -> None:
    """Stops before the settings of an earlier run are overwritten, or of one that was begun otherwise."""
    folder = _folder(composed, "run")
    if folder is None or is_named_by_clock(composed.hydra.run):  # the job looks again, or gives it a new name
        return
    if not config.resume:
        refuse_used(folder)
    task = saved_settings(folder).get("task", config.task)
    if task != config.task and (config.resume or task == "study"):
        raise SeedsweepError(
            f"{folder} is of task={task}, and task={config.task} would overwrite its settings: leave out resume=, and "
            "give another hydra.run.dir or none."
        )
    if config.resume and config.task == "train" and holds_run(folder):
        refuse_other_settings(folder, what_counts(config))
