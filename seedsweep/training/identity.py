"""What makes the settings of two runs one run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from typing import Any

from seedsweep.affects import SPEED, content
from seedsweep.training.options import ArmSettings


def what_counts(settings: ArmSettings) -> dict[str, Any]:
    """Returns the settings that a run's numbers depend on, and its name."""
    own = {each.name for each in fields(ArmSettings)}
    return {key: value for key, value in content(settings, without=SPEED).items() if key in own}


def digest(settings: ArmSettings) -> str:
    """Returns what must be equal for a job to be the same job: everything but how fast it goes and where it is kept."""
    return hashlib.sha256(
        json.dumps(what_counts(settings), sort_keys=True, allow_nan=False).encode()
    ).hexdigest()
