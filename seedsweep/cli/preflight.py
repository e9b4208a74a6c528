"""Composes and checks the configuration before Hydra runs, so that mistakes cost a sentence, not a grid."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seedsweep.bounds import file_name
from seedsweep.cli.grid_pins import check_pin
from seedsweep.cli.grid_settings import check_settings
from seedsweep.cli.grid_size import check_size, is_range, values_of
from seedsweep.cli.sentences import choices_of, is_choice, sentence, unknown_choice, unreadable
from seedsweep.cli.shadowed import refuse_shadowed, shadowed
from seedsweep.cli.study_names import Job, check_names
from seedsweep.config.compose import searching
from seedsweep.config.hydra_setup import to_config
from seedsweep.config.override_values import how_to_quote
from seedsweep.config.schema import Config
from seedsweep.data.folder import check_root
from seedsweep.errors import SeedsweepError
from seedsweep.overrides import CONFIG, key_of, merged, text_of
from seedsweep.runs.command import typed
from seedsweep.runs.job_record import holds_run
from seedsweep.runs.recorded import GRID
from seedsweep.runs.settings import refuse_other_settings, saved_config
from seedsweep.study.options import OF_THE_STUDY
from seedsweep.study.password import check_url
from seedsweep.training.identity import what_counts

MOST_VALUES = 16  # of one swept setting that are composed; of a group's further ones the name is checked
CIRCLE = "settings or files refer to one another in a circle (${...}, or defaults that lead back to their own file)."
PARTS = ("run", "sweep", "sweeper", "launcher", "job", "runtime", "callbacks", "overrides")  # of hydra
NAMES = ("experiment.name", "study.name")
WITH_IMAGES = ("train", "study")  # tasks that read them; a diagnosis does where it has nothing but settings


def check(parsed: Namespace) -> bool:
    """Composes every alternative once and validates it.

    Args:
        parsed: the command line as Hydra's own parser reads it.

    Returns:
        Whether it is a grid.

    Raises:
        SeedsweepError: an unknown key, group, choice or type, a value out of bounds, no such folder of
            images, or a used folder.
    """
    if parsed.config_dir and not Path(parsed.config_dir).is_dir():
        raise SeedsweepError(f"--config-dir {parsed.config_dir} is no folder.")
    with searching([parsed.config_dir] if parsed.config_dir else []):
        overrides = _parse(parsed.overrides)
        swept = [o for o in overrides if o.is_sweep_override()]
        fixed = [o for o in overrides if not o.is_sweep_override()]
        _names_first(overrides)
        name = parsed.config_name or CONFIG
        cfg = _compose(name, [o.input_line or "" for o in fixed])
        if wrong := [part for part in PARTS if not OmegaConf.is_dict(cfg.hydra[part])]:
            raise SeedsweepError(
                f"hydra.{wrong[0]} holds settings of its own: give one of them, not a value."
            )
        multirun = parsed.multirun or cfg.hydra.mode == RunMode.MULTIRUN
        grid = multirun or swept or any(o.key_or_group == "sweep" for o in fixed)
        if grid and (parsed.cfg or parsed.info):
            raise SeedsweepError("--cfg and --info show one run: leave out -m and the lists of values.")
        if multirun:
            _check_alternatives(name, cfg, overrides)
            return True
        if swept:
            line = str(swept[0].input_line)
            raise SeedsweepError(
                f"{line} is a list of values: add -m to run them as a grid{how_to_quote(line)}."
            )
        for override in fixed:
            if override.key_or_group == "sweep":
                raise SeedsweepError(f"{override.input_line} is a grid of runs: add -m to run it.")
        config = _validate(cfg, parsed.overrides)
        if not cfg.resume:
            found = shadowed(parsed.overrides, cfg, partial(_compose, name))
            refuse_shadowed(found, parsed.overrides, cfg, partial(_compose, name))
        if config.task == "study":
            _check_space(name, config, parsed.overrides, set())
        if config.task == "train" and not cfg.resume:
            _refuse_idle(config, fixed)
        if not parsed.cfg and not parsed.info:
            _check_images(config)
            _refuse_used_folder(cfg, config)
        return False


def data_name(parsed: Namespace) -> str | None:
    """Returns ``data.name`` of what is not swept; None where it can't be composed, which :func:`check` will tell."""
    try:
        with searching([parsed.config_dir] if parsed.config_dir else []):
            fixed = [o.input_line or "" for o in _parse(parsed.overrides) if not o.is_sweep_override()]
            return str(_compose(parsed.config_name or CONFIG, fixed).data.name)
    except (SeedsweepError, OmegaConfBaseException):
        return None


def _check_alternatives(name: str, cfg: DictConfig, overrides: list[Override]) -> None:
    params: Mapping[str, Any] = cfg.hydra.sweeper.get("params") or {}
    of_sweep = _parse([f"{key}={value}" for key, value in params.items()])
    _names_first(of_sweep)
    by_key = {o.key_or_group: o for o in [*of_sweep, *overrides]}  # the sweeper's own rule: the last one wins
    basic = str(cfg.hydra.sweeper.get("_target_")).endswith(".BasicSweeper")
    if basic and (ranges := [o for o in by_key.values() if is_range(o)]):
        raise SeedsweepError(
            f"{ranges[0].input_line} is a range without steps: list the values, for example 1e-3,1e-4."
        )
    here = str(cfg.hydra.launcher.get("_target_")).endswith(".BasicLauncher")
    choices = [values_of(override) for override in by_key.values()]
    check_size(choices)
    for override, lines in zip(by_key.values(), choices, strict=True):
        if override.key_or_group in NAMES:  # all of them: a folder is made by each
            for line in lines:
                file_name(override.key_or_group, text_of(line.partition("=")[2]))
    base = [values[0] for values in choices]
    alternatives = [(base, True)]
    for place, (override, values) in enumerate(zip(by_key.values(), choices, strict=True)):
        counts = _changes_space(override)
        alternatives += [
            ([*base[:place], value, *base[place + 1 :]], counts) for value in values[1:MOST_VALUES]
        ]
    studies = []
    trained: list[DictConfig] = []
    pins: set[Path] = set()
    for lines, counts in alternatives:
        composed = _compose(name, lines)
        config = _validate(composed, lines)
        if here:  # another launcher's machines may see other disks
            _check_images(config)
        if config.task == "train":
            trained.append(composed)
        if here and config.task == "train" and (grid := _grid_folder(composed)):
            check_pin(grid, config, pins)
        if config.task == "study":
            studies.append((Job(composed, config, lines), counts))
    _refuse_shadowed(name, [lines for lines, _ in alternatives], _compose(name, base))
    check_names((job for job, _ in studies), at_once=not here)
    if trained and (grid := _grid_folder(trained[0])):
        taken = dict(zip(by_key, choices, strict=True))
        check_settings(grid, taken, lambda each: _validate(_compose(name, each), each))
    seen: set[tuple[str, ...]] = set()
    for job, counts in studies:
        if counts:
            _check_space(name, job.config, job.lines, seen)


def _grid_folder(composed: DictConfig) -> Path | None:
    """Returns a grid's folder; None where its name needs what only the running grid knows."""
    try:
        return Path(composed.hydra.sweep.dir)
    except OmegaConfBaseException:
        return None


def _refuse_shadowed(name: str, alternatives: list[list[str]], composed: DictConfig) -> None:
    """Stops where a choice that every job has changes nothing in any of them; the control of a grid may pin its own."""
    grid = _grid_folder(composed)
    if grid is not None and (grid / GRID).is_file():  # its jobs have the settings that they began with
        return
    compose = partial(_compose, name)
    found = shadowed(alternatives[0], composed, compose)
    for lines in alternatives[1:]:
        if not found:
            return
        theirs = shadowed(lines, compose(lines), compose)
        found = {line: told for line, told in found.items() if line in theirs or line not in lines}
    refuse_shadowed(found, alternatives[0], composed, compose)


def _changes_space(override: Override) -> bool:
    """Says whether other values of it make another space, or the same space another matter; a seed doesn't."""
    group = override.key_or_group
    return bool(choices_of(group)) or group.split(".")[0] in OF_THE_STUDY


def _names_first(overrides: list[Override]) -> None:
    """Checks the names of choices: quick, and all of a sweep's at once."""
    for override in overrides:
        group = override.key_or_group
        known = choices_of(group)
        if not known or override.is_delete() or not (override.is_discrete_sweep() or _is_plain(override)):
            continue
        for line in values_of(override):
            choice = text_of(line.split("=", 1)[1])
            if (
                choice not in known
                and choice != "null"
                and "/" not in choice
                and not is_choice(group, choice)
            ):
                raise SeedsweepError(unknown_choice(group, choice))


def _is_plain(override: Override) -> bool:
    return isinstance(override.value(), str)


def _parse(overrides: list[str]) -> list[Override]:
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    try:
        return parser.parse_overrides(overrides)
    except OverrideParseException as error:
        raise SeedsweepError(unreadable(error)) from error


def _compose(name: str, overrides: list[str]) -> DictConfig:
    try:
        return compose(name, overrides, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise SeedsweepError(sentence(error, overrides)) from error
    except RecursionError as error:
        raise SeedsweepError(CIRCLE) from error
    except (
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        AssertionError,
    ) as error:  # of Hydra, which trusts files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SeedsweepError(
            f"these settings and files can't be put together: {reason.rstrip('.')}."
        ) from error


def _check_space(name: str, config: Config, overrides: list[str], composed: set[tuple[str, ...]]) -> None:
    """Composes every end of the space and every choice once, so that no trial finds the mistake.

    The jobs of one study differ in nothing that its trials read: what ``composed`` holds is passed over.
    """
    from seedsweep.config.studies import as_meant_in  # Optuna takes a quarter of a second
    from seedsweep.study.plan import check_same_split
    from seedsweep.study.space import probes

    theirs = [o for o in overrides if key_of(o).split(".")[0] not in OF_THE_STUDY]
    for lines in probes(as_meant_in(config.study)):
        for group, _, choice in (line.lstrip("+").partition("=") for line in lines):
            known = choices_of(group)
            if known and (name_of := text_of(choice)) not in known and not is_choice(group, name_of):
                raise SeedsweepError(f"study.space: {unknown_choice(group, name_of)}")
        together = merged(theirs, lines)
        if tuple(together) not in composed:
            check_same_split(config, _validate(_compose(name, together), together))
            composed.add(tuple(together))


def _validate(cfg: DictConfig, overrides: list[str]) -> Config:
    try:
        check_url(str(OmegaConf.to_container(cfg.storage, resolve=False).get("url")))  # type: ignore[union-attr]
        return to_config(cfg)
    except OmegaConfBaseException as error:
        raise SeedsweepError(sentence(error, overrides)) from error


def _refuse_idle(config: Config, given: list[Override]) -> None:
    """Stops where a setting is given that the run has no use for; in a grid another arm may have."""
    if config.optim.name != "sgd" and any(override.key_or_group == "optim.momentum" for override in given):
        raise SeedsweepError(
            f"optim.momentum is given, but optim.name={config.optim.name} has none to set: leave it out, or take "
            "optim=sgd."
        )


def _check_images(config: Config) -> None:
    plan = config.task == "diagnose" and config.diagnose.run is None and config.diagnose.checkpoint is None
    if config.task in WITH_IMAGES or plan:
        check_root(config.data)


def _refuse_used_folder(cfg: DictConfig, config: Config) -> None:
    """Stops before Hydra overwrites the .hydra/ of an earlier run, or of one that was begun otherwise."""
    try:
        folder = Path(cfg.hydra.run.dir)
    except OmegaConfBaseException:  # it needs what only the running job knows; the job looks again
        return
    if not cfg.resume and holds_run(folder):
        raise SeedsweepError(
            f"{folder} holds a run already: give another hydra.run.dir; {typed(('resume', folder))} goes on with it."
        )
    task = saved_config(folder).get("task", config.task)
    if task != config.task and (cfg.resume or task == "study"):
        raise SeedsweepError(
            f"{folder} is of task={task}, and task={config.task} would overwrite its settings: leave out resume=, and "
            "give another hydra.run.dir or none."
        )
    if cfg.resume and config.task == "train" and holds_run(folder):
        refuse_other_settings(folder, what_counts(config))
