"""The optimiser that ``optim=`` names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from seedsweep.training.options import OptimConfig


def build_optimizer(parameters: list[nn.Parameter], config: OptimConfig) -> torch.optim.Optimizer:
    """Returns the optimiser over ``parameters``; Adam and AdamW as one fused kernel a step."""
    options: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.name == "sgd":
        return torch.optim.SGD(parameters, momentum=config.momentum, **options)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(parameters, fused=True, **options)


def optimizer_step(parameters: list[Tensor], config: OptimConfig) -> Callable[[list[Tensor]], None]:
    """Returns a function that changes ``parameters`` by a step of :func:`build_optimizer`'s optimiser.

    It takes the gradients, in the order of ``parameters``. The optimiser object's bookkeeping is left out: it takes
    longer than the update of a small head.

    Args:
        parameters: float32, changed in place.
        config: the optimiser's settings.
    """
    options: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "maximize": False}
    first = [torch.zeros_like(parameter) for parameter in parameters]
    if config.name == "sgd":
        options |= {"momentum": config.momentum, "dampening": 0.0, "nesterov": False, "fused": True}
        momenta: list[Tensor | None] = [*first]
        return lambda gradients: sgd(parameters, gradients, momenta, **options)
    second = [torch.zeros_like(parameter) for parameter in parameters]
    steps = [torch.zeros((), device=parameter.device) for parameter in parameters]
    function = adamw if config.name == "adamw" else adam
    options |= {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "amsgrad": False, "fused": True}
    return lambda gradients: function(parameters, gradients, first, second, [], steps, **options)
