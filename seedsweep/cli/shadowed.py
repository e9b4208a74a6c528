"""Settings that make no difference.

Choices of groups change nothing where the file of an experiment or a backbone sets the same settings itself, and
some settings have no use in any of the runs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from seedsweep.cli.composing import Composer
from seedsweep.cli.sentences import choices_of
from seedsweep.errors import SeedsweepError
from seedsweep.overrides import APPENDED, key_of, merged, short_setting, text_of
from seedsweep.runs.switches import WITH_MOMENTUM
from seedsweep.training.options import ArmSettings

SET_OTHERS = (*APPENDED, "backbone")  # groups whose files are read last, and may set values of other groups
BY_NAME_ALONE = ("data",)  # an experiment sets a batch size of its own for the images of any folder


@dataclass(frozen=True)
class Shadow:
    """Of a choice: what the experiment sets otherwise, and the settings to write instead of the choice."""

    sets: list[str]
    instead: list[str]


def shadowed(lines: Sequence[str], compose: Composer) -> dict[str, Shadow]:
    """Finds the choices that change nothing, or not what they are named after.

    Returns:
        What there is to say of each such choice.
    """
    found: dict[str, Shadow] = {}
    if not any(key_of(line) in SET_OTHERS for line in lines):
        return found
    composed = compose(lines)
    lines = merged(list(lines))  # of what is given twice the last counts
    typed = tuple(f"{key_of(line)}." for line in lines)
    for line in lines:
        group, choice = key_of(line), text_of(line.partition("=")[2])
        if "/" in group or group in APPENDED or group not in composed or not choices_of(group):
            continue
        now = composed[group]
        chosen = {
            key: value
            for key, value in _said(group, choice).items()
            if not any(each.startswith(f"{group}.{key}.") for each in typed)  # itself, or a part of it
        }
        other = [key for key, value in chosen.items() if key in now and now[key] != value]
        if not other:
            continue
        without = compose([each for each in lines if each != line])[group]
        if "name" in other or (group not in BY_NAME_ALONE and without == now):
            sets = [short_setting(f"{group}.{key}", now[key]) for key in other]
            instead = [
                short_setting(f"{group}.{key}", value)
                for key, value in chosen.items()
                if without[key] != value
            ]
            found[line] = Shadow(sets, instead)
    return found


def refuse_shadowed(found: dict[str, Shadow], lines: Sequence[str], compose: Composer) -> None:
    """Raises SeedsweepError, with the settings to write instead, where ``found`` of :func:`shadowed` is not empty."""
    if not found:
        return
    sets = " ".join(setting for each in found.values() for setting in each.sets)
    instead = " ".join(setting for each in found.values() for setting in each.instead)
    bodies = [
        line for line in lines if key_of(line) in SET_OTHERS and key_of(line) != "sweep" and line not in found
    ]
    by = [body for body in bodies if found.keys() - _without(body, lines, compose).keys()] or bodies
    choices = " ".join(found)
    raise SeedsweepError(
        f"{' '.join(by)} sets {sets} itself, so {choices} can't change that: instead of {choices} write {instead}"
    )


def _without(body: str, lines: Sequence[str], compose: Composer) -> dict[str, Shadow]:
    try:
        return shadowed([line for line in lines if line != body], compose)
    except SeedsweepError:
        return {}


def _said(group: str, choice: str) -> dict[str, object]:
    """Returns what the chosen file itself sets in its section; values that depend on others are left out."""
    sources = GlobalHydra.instance().config_loader().get_sources()
    source = next((each for each in sources if each.is_config(f"{group}/{choice}")), None)
    if source is None:
        return {}
    read = source.load_config(f"{group}/{choice}")
    if read.header.get("package") not in (None, group) or not isinstance(read.config, DictConfig):
        return {}
    plain = OmegaConf.to_container(read.config, resolve=False)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key != "defaults" and "${" not in str(value)}


def refusal_of_idle(given: Collection[str], configs: Sequence[ArmSettings]) -> str | None:
    """Returns a sentence about a setting that none of the runs has a use for; None: there is none."""
    optimiser, schedule = configs[0].optim.name, configs[0].optim.schedule
    without = f"optim.name={optimiser} has none: leave it out, or take optim=sgd"
    frozen = "only the head is trained: leave it out, or train the backbone with backbone.freeze=false"
    has_momentum = any(c.optim.name in WITH_MOMENTUM for c in configs)
    trains_backbone = not all(c.is_frozen for c in configs)
    folds = configs[0].data.folds
    uses = {
        "data.test_fraction": (
            any(c.data.folds is None for c in configs),
            f"data.folds={folds} tests one of {folds} parts: leave it out",
        ),
        "data.fold_repeats": (folds is not None, "there are no folds: give data.folds=K, their number"),
        "optim.momentum": (has_momentum, without),
        "optim.nesterov": (has_momentum, without),
        "optim.warmup": (
            any(c.optim.schedule in ("constant", "cosine") for c in configs),
            f"optim.schedule={schedule} has none: leave it out, or take optim.schedule=cosine",
        ),
        "optim.head_lr": (trains_backbone, frozen),
        "optim.layer_decay": (trains_backbone, frozen),
        "trainer.head_epochs": (trains_backbone, frozen),
        "trainer.ema": (trains_backbone, frozen),
    }
    idle = (f"{key} is given, but {why}." for key, (used, why) in uses.items() if key in given and not used)
    return next(idle, None)
