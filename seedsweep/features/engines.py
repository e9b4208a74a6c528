"""Chooses and builds what computes features: an engine, a frozen net made ready for passes over images."""

from __future__ import annotations

from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor, nn

from seedsweep.errors import SeedsweepError
from seedsweep.features import openvino_engine, torch_engine
from seedsweep.features.options import FeaturesConfig

# By name, the first choice of features.engine=auto first. Each module has DEVICES (types of devices), PRECISIONS (of
# features.precision), available() -> bool, HINT (how to install it) and build(net, size, precision, device) -> Engine.
ENGINES: dict[str, ModuleType] = {"openvino": openvino_engine, "torch": torch_engine}


class Engine(Protocol):
    """A frozen net, ready to compute.

    ``at_once`` is how many threads should call it at the same time, so that no core waits between two batches.
    """

    name: str
    at_once: int

    def __call__(self, images: Tensor) -> Tensor:
        """Returns float32 features [B, ...] of images [B, 3, H, W], uint8 or float32, values 0..255."""


def engine_name(config: FeaturesConfig, device: torch.device) -> str:
    """Returns which engine ``features.engine`` means here.

    Raises:
        SeedsweepError: it is unknown, not installed, or can't compute on ``device`` or in this precision.
    """
    name = config.engine
    if name == "auto":
        return _able(config.precision, device)[0]
    module = ENGINES[name]
    if not module.available():
        raise SeedsweepError(f"features.engine={name} is not installed: {module.HINT}.")
    for wanted, can, where in (
        (device.type, module.DEVICES, "on"),
        (config.precision, module.PRECISIONS, "in"),
    ):
        if wanted not in can:
            raise SeedsweepError(
                f"features.engine={name} computes {where} {', '.join(can)}, not {where} {wanted}: "
                "take features.engine=auto."
            )
    return name


def _able(precision: str, device: torch.device) -> list[str]:
    """Returns the engines that are installed and can compute so, in the order of preference."""
    return [
        name
        for name, module in ENGINES.items()
        if device.type in module.DEVICES and precision in module.PRECISIONS and module.available()
    ]


def build_engine(
    net: nn.Module, size: tuple[int, int, int], config: FeaturesConfig, device: torch.device
) -> Engine:
    """Builds the engine that ``config`` names for ``net``, pixels to features.

    Args:
        net: in eval mode; left as it is.
        size: (3, height, width) of the images.

    Raises:
        SeedsweepError: see :func:`engine_name`; or the engine can't run this net.
    """
    name = engine_name(config, device)
    try:
        engine: Engine = ENGINES[name].build(net, size, config.precision, device)
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
    return engine
