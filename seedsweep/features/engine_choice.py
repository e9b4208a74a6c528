"""Chooses the engine of a pass over images."""

from __future__ import annotations

import importlib
import logging
import pkgutil
from functools import cache
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from seedsweep.errors import SeedsweepError
from seedsweep.features.engine import Engine
from seedsweep.features.options import FeaturesConfig

log = logging.getLogger(__name__)

_last: tuple[tuple[object, ...], Engine] | None = None


def engine_name(config: FeaturesConfig, device: torch.device) -> str:
    """Returns which engine ``features.engine`` means here.

    Args:
        config: engine, precision.
        device: where to compute.

    Raises:
        SeedsweepError: it is unknown, not installed, or can't compute on ``device`` or in this precision.
    """
    known = _engines()
    if config.engine == "auto":
        return _able(config.precision, device)[0]
    if config.engine not in known:
        raise SeedsweepError(
            f"features.engine={config.engine} is unknown: choose auto, {', '.join(sorted(known))}."
        )
    module = known[config.engine]
    if not module.available():
        raise SeedsweepError(f"features.engine={config.engine} is not installed: {module.HINT}.")
    if device.type not in module.DEVICES:
        raise SeedsweepError(
            f"features.engine={config.engine} computes on {', '.join(module.DEVICES)}, not on {device.type}: "
            "take features.engine=auto."
        )
    if config.precision not in module.PRECISIONS:
        raise SeedsweepError(
            f"features.engine={config.engine} computes in {', '.join(module.PRECISIONS)}, not in "
            f"{config.precision}: take features.engine=auto."
        )
    return config.engine


def _able(precision: str, device: torch.device) -> list[str]:
    """Returns the engines that are installed and serve, the highest rank first."""
    able = [m for m in _engines().values() if device.type in m.DEVICES and precision in m.PRECISIONS]
    able = [module for module in able if module.available()]
    return [str(module.NAME) for module in sorted(able, key=lambda module: -int(module.RANK))]


def build_engine(
    net: nn.Module,
    size: tuple[int, int, int],
    config: FeaturesConfig,
    device: torch.device,
    key: str | None = None,
) -> Engine:
    """Builds the engine that ``config`` names for ``net``, pixels to features.

    Args:
        net: in eval mode; left as it is.
        size: (3, height, width) of the images.
        config: engine, precision.
        device: where to compute.
        key: tells nets and sizes apart. With it the last engine is kept and returned again: to convert a
            net takes seconds, and each view and each seed asks for one.

    Raises:
        SeedsweepError: see :func:`engine_name`; or the engine can't run this net.
    """
    global _last
    name = engine_name(config, device)
    module = _engines()[name]
    kept = (key, name, config.precision, str(device), torch.get_num_threads())
    if key is not None and _last is not None and _last[0] == kept:
        return _last[1]
    _last = None  # before the next one takes its memory
    try:
        engine: Engine = module.build(net, size, config.precision, device)
        engine(torch.zeros(1, *size, dtype=torch.uint8))
    except torch.OutOfMemoryError as error:
        raise SeedsweepError(
            "the GPU has no room for one image's pass: end what else computes on it, or take trainer.accelerator=cpu."
        ) from error
    except Exception as error:
        others = [other for other in _able(config.precision, device) if other != name]
        reason = (str(error).splitlines() or ["no reason given"])[0]
        advice = f"; take features.engine={others[0]}" if others else ""
        raise SeedsweepError(
            f"features.engine={name} can't run this net ({type(error).__name__}: {reason}){advice}."
        ) from error
    if key is not None:
        _last = (kept, engine)
    return engine


@cache
def _engines() -> dict[str, ModuleType]:
    """Returns the engines by name: every file ``*_engine.py`` of this folder."""
    folder = Path(__file__).parent
    package = __name__.rpartition(".")[0]
    modules = [
        importlib.import_module(f"{package}.{m.name}")
        for m in pkgutil.iter_modules([str(folder)])
        if m.name.endswith("_engine")
    ]
    return {module.NAME: module for module in modules if hasattr(module, "NAME")}
