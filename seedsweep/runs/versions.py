"""Which versions of which libraries a number was measured with."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from seedsweep import __version__

PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "timm",
    "hydra-core",
    "optuna",
    "numpy",
    "pillow",
)


@cache
def versions() -> dict[str, str]:
    """Returns the version of Python and of each library that can move a result."""
    found = {"python": platform.python_version(), "seedsweep": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
