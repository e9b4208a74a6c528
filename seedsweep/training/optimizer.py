"""The optimiser that ``optim=`` names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seedsweep.training.options import OptimConfig


def build_optimizer(parameters: list[nn.Parameter], config: OptimConfig) -> torch.optim.Optimizer:
    """Returns the optimiser over ``parameters``; Adam and AdamW as one fused kernel a step."""
    options: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.name == "sgd":
        return torch.optim.SGD(parameters, momentum=config.momentum, **options)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(parameters, fused=True, **options)


class FusedSteps:
    """The kernels that :func:`build_optimizer`'s optimiser calls, called directly.

    The optimiser object's bookkeeping takes 40 us a step, longer than the update of a head 32 wide.

    Args:
        parameters: float32, changed in place.
        config: the optimiser's settings.
    """

    def __init__(self, parameters: list[Tensor], config: OptimConfig) -> None:
        self._parameters = parameters
        self._config = config
        self._first = [torch.zeros_like(parameter) for parameter in parameters]
        self._second = [torch.zeros_like(parameter) for parameter in parameters]
        self._steps = [torch.zeros((), device=parameters[0].device)] * len(parameters)

    def rebind(self, parameters: list[Tensor]) -> None:
        """Goes on with the same parameters at another place in memory."""
        self._parameters = parameters

    def step(self, gradients: list[Tensor]) -> None:
        """Changes the parameters by one step; ``gradients`` stand in their order."""
        self.begin()
        self.update(slice(None), gradients)

    def begin(self) -> None:
        """Begins a step; each parameter must be given to :meth:`update` once before the next."""
        self._steps[0].add_(1)  # one tensor in every place of the list

    def update(self, part: slice, gradients: list[Tensor]) -> None:
        """Changes a part of the parameters; ``gradients`` are theirs, in their order."""
        config, parameters, first = self._config, self._parameters[part], self._first[part]
        if config.name == "sgd":
            torch._fused_sgd_(
                parameters,
                gradients,
                first if config.momentum else [],
                lr=config.lr,
                weight_decay=config.weight_decay,
                momentum=config.momentum,
                dampening=0.0,
                nesterov=False,
                is_first_step=False,  # a momentum that starts at zero makes no difference
                maximize=False,
            )
        else:
            kernel = torch._fused_adamw_ if config.name == "adamw" else torch._fused_adam_
            kernel(
                parameters,
                gradients,
                first,
                self._second[part],
                [],
                self._steps[part],
                lr=config.lr,
                weight_decay=config.weight_decay,
                beta1=0.9,
                beta2=0.999,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
            )
