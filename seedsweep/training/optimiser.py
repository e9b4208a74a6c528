"""The optimiser of an arm: which weights have which learning rate, and how the rates change from step to step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from seedsweep.models.backbone import Backbone
from seedsweep.models.classifier import Classifier
from seedsweep.models.cut import blocks_of
from seedsweep.training.options import OptimConfig

RISES_FROM = 0.01  # of the learning rate, at the first step of a warm-up
RISING = 0.3  # of the steps of one_cycle, as in torch
LOW, LAST = 1 / 25, 1 / 25e4  # of the learning rate, at the ends of one_cycle, as in torch
FALLS_TO, WAITS = 0.1, 2  # plateau: a tenth, after more than two epochs without a better accuracy


def parameter_groups(net: Classifier, optim: OptimConfig) -> list[dict[str, Any]]:
    """Returns the trained weights in groups of one learning rate, as the optimisers of torch take them.

    Raises:
        SeedsweepError: rates are to differ by block, and the order of the backbone's blocks can't be found.
    """
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if optim.head_lr is None and optim.layer_decay == 1:
        return [_group(trained, optim.lr)]
    of_head = {id(parameter) for parameter in net.head.parameters()}
    head = [parameter for parameter in trained if id(parameter) in of_head]
    groups = [_group(head, optim.lr if optim.head_lr is None else optim.head_lr)]
    after = _blocks_after(net.backbone) if optim.layer_decay < 1 else {}
    depths: dict[int, list[nn.Parameter]] = {}
    for parameter in trained:
        if id(parameter) not in of_head:
            depths.setdefault(after.get(id(parameter), 0), []).append(parameter)
    return groups + [_group(depths[n], optim.lr * optim.layer_decay**n) for n in sorted(depths)]


def _group(parameters: list[nn.Parameter], lr: float) -> dict[str, Any]:
    return {"params": parameters, "lr": lr}


def _blocks_after(backbone: nn.Module) -> dict[int, int]:
    """Returns how many blocks each parameter stands before the head, its own among them, by its id.

    Parameters of no block, such as position embeddings, count as the first one's.
    """
    assert isinstance(backbone, Backbone)
    blocks = blocks_of(backbone)
    found = {id(parameter): len(blocks) for parameter in backbone.parameters()}
    for place, block in enumerate(blocks):
        for parameter in backbone.get_submodule(block).parameters():
            found[id(parameter)] = len(blocks) - place
    return found


def build_optimizer(parameters: Any, config: OptimConfig) -> torch.optim.Optimizer:
    """Returns the optimiser over parameters, or groups of them; Adam and AdamW as one fused kernel a step."""
    options: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.name == "sgd":
        return torch.optim.SGD(parameters, momentum=config.momentum, nesterov=config.nesterov, **options)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(parameters, fused=True, **options)


class LearningRates:
    """The learning rates of a training: equal to those of torch's own schedulers.

    Args:
        state: of :meth:`state_dict`, to go on from.

    Attributes:
        batches: of an epoch.
    """

    def __init__(
        self, optim: OptimConfig, batches: int, epochs: int, state: dict[str, Any] | None = None
    ) -> None:
        self.batches = batches
        self._optim = optim
        self._steps = math.ceil(batches / optim.accumulate)
        self._total = self._steps * epochs
        self._plateau: ReduceLROnPlateau | None = None
        if optim.schedule == "plateau":
            watched = torch.optim.SGD([torch.zeros(1)], lr=1.0)  # has no other use than its rate
            self._plateau = ReduceLROnPlateau(watched, "max", FALLS_TO, WAITS, threshold=0.0)
            if state:
                self._plateau.load_state_dict(state)
                watched.param_groups[0]["lr"] = state["_last_lr"][0]

    def factor(self, epoch: int, batch: int) -> float:
        """Returns what the rates are multiplied by in the step that a batch belongs to; both count from 0."""
        if self._plateau is not None:
            return float(self._plateau.optimizer.param_groups[0]["lr"])
        step, kind = epoch * self._steps + batch // self._optim.accumulate, self._optim.schedule
        if kind == "one_cycle":
            return self._one_cycle(step)
        warmup = min(round(self._optim.warmup * self._steps), self._total)
        if step < warmup:
            return RISES_FROM + (1 - RISES_FROM) * step / warmup
        return _cosine(1.0, 0.0, (step - warmup) / (self._total - warmup)) if kind == "cosine" else 1.0

    def _one_cycle(self, step: int) -> float:
        top, end = RISING * self._total - 1, self._total - 1
        if step <= top:
            return _cosine(LOW, 1.0, step / max(top, 1.0))
        return _cosine(1.0, LAST, (step - top) / (end - top)) if end > top else 1.0

    def of(self, epoch: int, batch: int) -> float:
        """Returns the learning rate of a net whose head alone is trained."""
        optim = self._optim
        return (optim.lr if optim.head_lr is None else optim.head_lr) * self.factor(epoch, batch)

    def epoch_ended(self, val_acc: float) -> None:
        """Notes the validation accuracy of an epoch."""
        if self._plateau is not None:
            self._plateau.step(val_acc)

    def state_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint must hold: plain numbers and strings, or nothing."""
        return {} if self._plateau is None else self._plateau.state_dict()


def _cosine(start: float, end: float, share: float) -> float:
    """Returns a value between ``start`` and ``end``, along half a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
