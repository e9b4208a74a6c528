"""seedsweep: which transfer-learning set-up works on my labelled images, and why do the others fail?

The names below are for use from Python; each is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seedsweep import stats
    from seedsweep.batchnorm.callback import BatchNormCallback
    from seedsweep.batchnorm.policy import BatchNormHandle, set_batchnorm
    from seedsweep.batchnorm.statistics import BnGap, bn_gap, recalibrate
    from seedsweep.cli.from_python import Run, compose, load_run, train
    from seedsweep.diagnosis.any_model import diagnose
    from seedsweep.errors import SeedsweepError
    from seedsweep.features.from_loader import Features, extract_features
    from seedsweep.training.estimator import HeadClassifier

__version__ = "0.2.0"

__all__ = [
    "BatchNormCallback",
    "BatchNormHandle",
    "BnGap",
    "Features",
    "HeadClassifier",
    "Run",
    "SeedsweepError",
    "bn_gap",
    "compose",
    "diagnose",
    "extract_features",
    "load_run",
    "recalibrate",
    "set_batchnorm",
    "stats",
    "train",
]

_HOMES = {
    "BatchNormCallback": "seedsweep.batchnorm.callback",
    "BatchNormHandle": "seedsweep.batchnorm.policy",
    "BnGap": "seedsweep.batchnorm.statistics",
    "Features": "seedsweep.features.from_loader",
    "HeadClassifier": "seedsweep.training.estimator",
    "diagnose": "seedsweep.diagnosis.any_model",
    "extract_features": "seedsweep.features.from_loader",
    "Run": "seedsweep.cli.from_python",
    "SeedsweepError": "seedsweep.errors",
    "compose": "seedsweep.cli.from_python",
    "load_run": "seedsweep.cli.from_python",
    "train": "seedsweep.cli.from_python",
    "bn_gap": "seedsweep.batchnorm.statistics",
    "recalibrate": "seedsweep.batchnorm.statistics",
    "set_batchnorm": "seedsweep.batchnorm.policy",
    "stats": "seedsweep.stats",  # a module
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for: torch alone takes seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_HOMES[name])
    found = getattr(home, name, home)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Lists the public names, imported or not."""
    return sorted({*globals(), *__all__})
