"""Settings that nothing has a use for: given, they would make no difference, or arms that differ in nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from seedsweep.runs.switches import WITH_MOMENTUM
from seedsweep.training.options import ArmSettings


def refusal_of_idle(given: Collection[str], configs: Sequence[ArmSettings]) -> str | None:
    """Returns a sentence about a setting that none of the runs has a use for; None: there is none."""
    optimiser, schedule = configs[0].optim.name, configs[0].optim.schedule
    without = f"optim.name={optimiser} has none: leave it out, or take optim=sgd"
    frozen = "only the head is trained: leave it out, or train the backbone with backbone.freeze=false"
    has_momentum = any(c.optim.name in WITH_MOMENTUM for c in configs)
    trains_backbone = not all(c.is_frozen for c in configs)
    uses = {
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
