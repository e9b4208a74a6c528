"""Makes the plan of a study from the command line, and composes the settings of its trials in any process."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from seedsweep.cli.config.compose import CommandLine, command_line_here, compose_from
from seedsweep.cli.config.departures import config_folders, departures
from seedsweep.cli.config.hydra_setup import to_config
from seedsweep.cli.config.override_values import as_meant
from seedsweep.cli.config.schema import Config
from seedsweep.overrides import key_of, merged, plus
from seedsweep.study.options import OF_THE_STUDY, StudyConfig
from seedsweep.study.plan import Plan


@dataclass
class TrialSettings:
    """Composes the settings of a study's trials.

    Composing takes Hydra a tenth of a second, so trials that differ in plain values share it.
    """

    shared: CommandLine  # what all trials share
    _composed: dict[tuple[str, ...], bytes] = field(default_factory=dict, repr=False)

    def __call__(self, lines: list[str]) -> Config:
        """Returns a trial's settings: what all trials share, and ``lines`` over it."""
        values = [line for line in lines if _is_plain_value(line)]
        rest = merged(self.shared.overrides, [line for line in lines if line not in values])
        theirs = {key_of(line) for line in values}
        composed = self._compose([line for line in rest if key_of(line) not in theirs])
        for line in values:
            OmegaConf.update(composed, key_of(line), OverridesParser.create().parse_override(line).value())
        return to_config(composed)

    def _compose(self, overrides: list[str]) -> DictConfig:
        key = tuple(overrides)
        if key not in self._composed:
            self._composed[key] = pickle.dumps(compose_from(self.shared, overrides))
        # a copy for each trial; to read a pickle takes a fraction of the time of copy.deepcopy
        return cast(DictConfig, pickle.loads(self._composed[key]))


def plan_of(config: Config) -> Plan:
    """Returns the study of the running Hydra job, whose settings are ``config``."""
    here = command_line_here()
    assert here is not None
    study = as_meant_in(config.study)
    given = [o for o in here.overrides if key_of(o).split(".")[0] not in OF_THE_STUDY]
    theirs = {key_of(override) for override in given}
    settings = [line for line in study.settings if key_of(line) not in theirs]
    shared = replace(here, overrides=merged(settings, given))
    return Plan(
        config,
        study,
        config.sampler,
        config.pruner,
        config.storage,
        config.study_dir,
        TrialSettings(shared),
        partial(departures, folders=config_folders()),
        loggers=config.logger,
    )


def as_meant_in(study: StudyConfig) -> StudyConfig:
    """Returns a study whose overrides Hydra reads as they were meant, see :func:`as_meant`."""

    def meant(line: str) -> str:
        return plus(as_meant(line))

    space = {
        name: replace(param, when=param.when and as_meant(param.when)) for name, param in study.space.items()
    }
    first = [[meant(line) for line in entry] for entry in study.first]
    return replace(study, space=space, settings=[meant(line) for line in study.settings], first=first)


def _is_plain_value(line: str) -> bool:
    """Says whether an override sets a value, and chooses no file of a group."""
    key = key_of(line)
    return not line.startswith(("+", "~")) and ("." in key or key == "seed")
