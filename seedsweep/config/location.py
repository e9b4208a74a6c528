"""Where ``conf/`` lies: beside the package in a checkout, inside it in an installed wheel."""

from __future__ import annotations

from pathlib import Path

import seedsweep


def conf_dir() -> Path:
    """Returns the folder of the YAML files, absolute."""
    package = Path(seedsweep.__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"
