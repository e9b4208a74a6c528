"""Composes command lines with Hydra, each set of overrides once: what was checked is what runs."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seedsweep.cli.config.compose import searching
from seedsweep.cli.config.hydra_setup import to_config
from seedsweep.cli.config.schema import Config
from seedsweep.cli.sentences import choices_of, is_choice, sentence, unknown_choice, unreadable
from seedsweep.errors import SeedsweepError
from seedsweep.names import path_of
from seedsweep.overrides import CONFIG, text_of
from seedsweep.study.password import check_url

CIRCLE = "settings or files refer to one another in a circle (${...}, or defaults that lead back to their own file)."
FOLDERS = ("outputs", "multirun")  # of paths: Hydra makes folders in them, and knows no ~
MOST_JOBS = 10_000  # of a grid


class Composer:
    """Composes overrides with the running Hydra; asked again for the same ones, it returns the same object."""

    def __init__(self, name: str = CONFIG) -> None:
        self._name = name
        self._made: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, lines: Sequence[str], mode: RunMode = RunMode.RUN) -> DictConfig:
        """Returns the settings with Hydra's own among them.

        Raises:
            SeedsweepError: an unknown key or choice, a wrong type, or files that don't fit one another.
        """
        key = (mode.name, *lines)
        if key not in self._made:
            self._made[key] = self._composed(list(lines), mode)
        return self._made[key]

    def config(self, lines: Sequence[str], mode: RunMode = RunMode.RUN) -> Config:
        """Returns the typed settings, with their bounds checked.

        Raises:
            SeedsweepError: as above, or a value is out of bounds.
        """
        composed = self(lines, mode)
        try:
            check_url(str(OmegaConf.to_container(composed.storage, resolve=False).get("url")))  # type: ignore[union-attr]
            return to_config(composed)
        except OmegaConfBaseException as error:
            raise SeedsweepError(sentence(error, lines)) from error

    def _composed(self, lines: list[str], mode: RunMode) -> DictConfig:
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        try:
            composed = hydra.compose_config(self._name, lines, mode, from_shell=False)
            for key in FOLDERS:
                if str(OmegaConf.to_container(composed.paths, resolve=False)[key]).startswith("~"):  # type: ignore[index, call-overload]
                    composed.paths[key] = str(path_of(composed.paths[key]))
            return composed
        except (HydraException, OmegaConfBaseException) as error:
            raise SeedsweepError(sentence(error, lines)) from error
        except RecursionError as error:
            raise SeedsweepError(CIRCLE) from error
        except (ValueError, TypeError, AttributeError, LookupError, AssertionError) as error:
            # of Hydra, which trusts files
            reason = " ".join(str(error).split()) or type(error).__name__
            raise SeedsweepError(
                f"these settings and files can't be put together: {reason.rstrip('.')}."
            ) from error


@contextmanager
def composing(parsed: Namespace) -> Iterator[Composer]:
    """Lets Hydra read conf/ and the folder of --config-dir.

    Raises:
        SeedsweepError: the folder of --config-dir does not exist.
    """
    if parsed.config_dir and not Path(parsed.config_dir).is_dir():
        raise SeedsweepError(f"--config-dir {parsed.config_dir} is no folder.")
    with searching([parsed.config_dir] if parsed.config_dir else []):
        yield Composer(parsed.config_name or CONFIG)


def read_overrides(lines: Sequence[str]) -> list[Override]:
    """Returns overrides as Hydra's grammar reads them; the names of choices are checked, all of a sweep's at once.

    Raises:
        SeedsweepError: one of them can't be read, or a group has no such choice.
    """
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    try:
        overrides = parser.parse_overrides(list(lines))
    except OverrideParseException as error:
        raise SeedsweepError(unreadable(error)) from error
    for override in overrides:
        is_named = override.is_discrete_sweep() or isinstance(override.value(), str)
        if choices_of(override.key_or_group) and is_named and not override.is_delete():
            for line in values_of(override):
                check_choice(override.key_or_group, text_of(line.partition("=")[2]))
    return overrides


def check_choice(group: str, choice: str) -> None:
    """Raises SeedsweepError where a group of settings has no such choice."""
    known = choices_of(group)
    if known and choice not in (*known, "null") and "/" not in choice and not is_choice(group, choice):
        raise SeedsweepError(unknown_choice(group, choice))


def check_size(choices: Sequence[Sequence[str]]) -> None:
    """Raises SeedsweepError where a grid of these values has too many jobs."""
    if (number := math.prod(map(len, choices))) > MOST_JOBS:
        raise SeedsweepError(f"this grid has {number:,} jobs, but at most {MOST_JOBS:,} can run: sweep less.")


def values_of(override: Override) -> list[str]:
    """Returns an override a value; of ``interval(a, b)``, which another sweeper may know, its ends.

    Raises:
        SeedsweepError: there are none, or more than a grid has jobs.
    """
    line, key = override.input_line or "", override.get_key_element()
    if not override.is_sweep_override():
        return [line]
    sweep: Any = override.value()
    if is_range(override):
        return [f"{key}={sweep.start}", f"{key}={sweep.end}"]
    if isinstance(sweep, RangeSweep):  # counted without making its values
        start, stop, step = (float(each or 0) for each in (sweep.start, sweep.stop, sweep.step))
        if not step or not all(map(math.isfinite, (start, stop, step))):
            raise SeedsweepError(f"{line} has no end: write range(START,STOP,STEP).")
        if (number := math.ceil((stop - start) / step)) > MOST_JOBS:
            raise SeedsweepError(f"{line} has {number:,} values, but a grid has at most {MOST_JOBS:,} jobs.")
    values = [f"{key}={value}" for value in override.sweep_string_iterator()]
    if not values:
        raise SeedsweepError(f"{line} matches nothing.")
    return values


def is_range(override: Override) -> bool:
    """Says whether an override is a range without steps: ``interval(a, b)``."""
    return override.is_sweep_override() and not override.is_discrete_sweep()
