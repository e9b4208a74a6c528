"""The optimiser that ``optim=`` names."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from seedsweep.config.schema import OptimConfig


def build_optimizer(parameters: list[nn.Parameter], config: OptimConfig) -> torch.optim.Optimizer:
    """Returns the optimiser over ``parameters``; Adam and AdamW as one fused kernel a step."""
    options: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.name == "sgd":
        return torch.optim.SGD(parameters, momentum=config.momentum, **options)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(parameters, fused=True, **options)
