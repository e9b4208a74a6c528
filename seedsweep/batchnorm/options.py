"""Settings of a BatchNorm policy."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from seedsweep.bounds import one_of
from seedsweep.errors import SeedsweepError


@dataclass
class BatchNormConfig:
    """A BatchNorm policy, as four switches (see ``seedsweep/batchnorm/policy.py``)."""

    name: str = MISSING  # of the choice
    training_statistics: str = "stored"  # batch | stored: what normalises while training
    update_statistics: bool = False  # do the running statistics move while training?
    train_affine: bool = False  # are scale and shift trained?
    recalibrate: bool = False  # re-estimate the statistics once, on the training images

    def __post_init__(self) -> None:
        one_of("batchnorm.training_statistics", self.training_statistics, ("batch", "stored"))
        if self.training_statistics == "stored" and self.update_statistics:
            raise SeedsweepError(
                "batchnorm.training_statistics=stored normalises with statistics that stay as they are, but "
                "batchnorm.update_statistics=true moves them: take batchnorm.update_statistics=false, or "
                "batchnorm.training_statistics=batch."
            )
