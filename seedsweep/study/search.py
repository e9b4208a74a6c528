"""Builds samplers and pruners from their config groups."""

from __future__ import annotations

import difflib
import warnings
import zlib
from typing import Any

import optuna

from seedsweep.config.study_options import PrunerConfig, SamplerConfig
from seedsweep.errors import SeedsweepError

GRID = "grid"  # all trials of a grid are laid down beforehand; nothing is left to draw


def build_sampler(config: SamplerConfig, seed: int, slot: int) -> optuna.samplers.BaseSampler:
    """Returns a fresh sampler for one trial, seeded by the study and the trial.

    So what a trial draws depends on the seed and the trials before it, not on which process asked, or how
    often it was killed.

    Raises:
        SeedsweepError: no such sampler, or an option that it lacks.
    """
    if config.name == GRID:
        return optuna.samplers.RandomSampler(seed=0)
    kind = _class("sampler", config.name, optuna.samplers, "Sampler")
    mixed = zlib.crc32(f"{seed} {slot}".encode())
    return _made("sampler", kind, {**config.options, "seed": mixed})  # type: ignore[no-any-return]


def build_pruner(config: PrunerConfig, max_epochs: int) -> optuna.pruners.BasePruner:
    """Returns the pruner; a Hyperband whose ``max_resource`` is left to us gets ``trainer.max_epochs``.

    Raises:
        SeedsweepError: no such pruner, or an option that it lacks.
    """
    kind = _class("pruner", config.name, optuna.pruners, "Pruner")
    options = dict(config.options)
    if options.get("max_resource") == "auto":
        options["max_resource"] = max_epochs  # Optuna would wait for a whole trial to learn it
    return _made("pruner", kind, options)  # type: ignore[no-any-return]


def _class(group: str, name: str, module: Any, ending: str) -> Any:
    known = [kind for kind in module.__all__ if kind.endswith(ending) and not kind.startswith("Base")]
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise SeedsweepError(f"{group}.name={name} is unknown: {hint}There are {', '.join(known)}.")
    return getattr(module, name)


def _made(group: str, kind: Any, options: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            return kind(**options)
        except (TypeError, ValueError, ImportError) as error:
            raise SeedsweepError(f"{group}.options don't suit {kind.__name__}: {error}.") from error
