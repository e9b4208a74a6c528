"""A finding's remedy, a list of overrides: applied to settings, and proved before it is printed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol

from omegaconf import OmegaConf

from seedsweep.bounds import all_finite
from seedsweep.errors import DamagedError, SeedsweepError
from seedsweep.names import conf_dir
from seedsweep.overrides import short_setting
from seedsweep.runs.settings import whole_settings
from seedsweep.training.effective import name_by_values
from seedsweep.training.options import ArmSettings

REHEARSABLE = (
    "batchnorm", "preprocess", "optim", "head", "data.batch_size", "trainer.max_epochs", "trainer.patience", "augment",
    "backbone.freeze", "backbone.train_from", "backbone.weights",
)  # fmt: skip
"""What a head trained anew on stored features can tell the worth of, where only a head is trained then."""


class CommandLine(Protocol):
    """The command line of a run: what a remedy must hold against."""

    def composed(self, lines: Sequence[str] = ()) -> ArmSettings | None:
        """Returns what it comes to with ``lines`` after it; None where that is no configuration."""
        ...


def saved_settings(folder: Path) -> ArmSettings:
    """Reads the settings that a run left in its folder.

    Raises:
        SeedsweepError: there are none, or this version can't read them.
    """
    path = folder / ".hydra" / "config.yaml"
    if not path.is_file():
        raise SeedsweepError(
            f"{folder} has no .hydra/config.yaml, and the run's own settings are needed; of a study, whose trials have "
            "none, train the winner (+experiment=best_of_STUDY) and diagnose that run."
        )
    try:
        content = whole_settings(path)
        own = {each.name: content[each.name] for each in fields(ArmSettings) if each.name in content}
        made = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ArmSettings), own))
        assert isinstance(made, ArmSettings)
        all_finite(made)
        return made
    except Exception as error:  # of YAML, OmegaConf and the schema: many kinds
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise DamagedError(
            f"{path} is damaged, or of another version of seedsweep ({reason}): put back a copy of it. Or remove it, "
            f"for it comes before settings of the command line, and give the run's settings with "
            f"diagnose.checkpoint={folder}/checkpoints/best.ckpt."
        ) from error


def saved_whole(folder: Path) -> ArmSettings | None:
    """Returns the settings that a run left in its folder; None where they can't be read or some are missing."""
    try:
        return saved_settings(folder)
    except SeedsweepError:
        return None


def apply(config: ArmSettings, remedy: list[str]) -> ArmSettings:
    """Returns a copy of ``config`` with the overrides ``GROUP=CHOICE`` and ``KEY=VALUE`` applied, named as it is then.

    Raises:
        AttributeError: no such key.
        OSError: no such choice.
    """
    made = copy.deepcopy(config)
    for line in remedy:
        key, _, value = line.partition("=")
        *path, name = key.split(".")
        owner: Any = made
        for part in path:
            owner = getattr(owner, part)
        current = getattr(owner, name)
        if is_dataclass(current) and not isinstance(current, type):
            content = OmegaConf.to_container(OmegaConf.load(conf_dir() / key / f"{value}.yaml"))
            assert isinstance(content, dict)
            setattr(owner, name, type(current)(**{str(field): content[field] for field in content}))
        else:
            setattr(owner, name, OmegaConf.from_dotlist([f"value={value}"])["value"])
    name_by_values(made)
    return made


def rehearsable(remedy: list[str]) -> bool:
    """Says whether the remedy's worth can be measured on stored features."""
    return bool(remedy) and all(
        any(line.split("=")[0] == key or line.startswith(f"{key}.") for key in REHEARSABLE) for line in remedy
    )


def carries(tried: ArmSettings, config: ArmSettings, remedy: list[str]) -> bool:
    """Says whether ``remedy`` leaves only a head to train, and settings that were tried hold all that it sets."""
    made = apply(config, remedy)
    return made.is_frozen and changes(config, remedy).items() <= _content(tried).items()


def changes(config: ArmSettings, remedy: list[str]) -> dict[str, Any]:
    """Returns the settings, by key, that the remedy sets and ``config`` does not have already."""
    before, after = _content(apply(config, [])), _content(apply(config, remedy))
    return {key: value for key, value in after.items() if value != before[key]}


def completed(remedy: list[str], config: ArmSettings, tried: ArmSettings) -> list[str]:
    """Returns ``remedy`` with all else that turns ``config`` into the settings that were tried."""
    done, wanted = _content(apply(config, remedy)), _content(apply(tried, []))
    left = {key: value for key, value in wanted.items() if value != done[key]}
    plain = "augment=none"  # short for all that a trial on stored features leaves out
    if plain not in remedy and any(key.startswith("augment.") for key in left):
        return completed([*remedy, plain], config, tried)
    return [*remedy, *(short_setting(key, value) for key, value in left.items())]


def proved(remedy: list[str], config: ArmSettings | None, said: CommandLine | None) -> list[str]:
    """Returns overrides that bring about what ``remedy`` says where they are added to a run's command line.

    A choice of a group comes before all single values, so a value that the command line (or its experiment) gives
    wins over it: single values are returned then.

    Args:
        config: of the run; None: what ``said`` comes to.
        said: its command line; None: not known, and nothing of it can stand in the way.

    Returns:
        Empty: the run has these settings already, or nothing was found that changes them.
    """
    config = config if config is not None or said is None else said.composed()
    wanted = changes(config, remedy) if remedy and config is not None else {}
    if said is None or not wanted:
        return remedy if wanted else []
    for lines in (remedy, [short_setting(key, value) for key, value in wanted.items()]):
        made = said.composed(lines)
        if made is not None and wanted.items() <= _content(made).items():
            return lines
    return []


def _content(config: ArmSettings) -> dict[str, Any]:
    """Returns the settings of all sections by key, but the names of sections that are names only."""
    content = {
        f"{section}.{key}": value
        for section, values in asdict(config).items()
        if isinstance(values, dict)
        for key, value in values.items()
    }
    for section in ("augment", "batchnorm", "preprocess"):
        del content[f"{section}.name"]
    return content
