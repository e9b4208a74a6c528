"""What makes the settings of two runs one run."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from seedsweep.affects import SPEED, content
from seedsweep.training.options import ArmSettings


def what_counts(settings: ArmSettings) -> dict[str, Any]:
    """Returns the settings that a run's numbers depend on, and its name."""
    return content(settings, without=SPEED, of=ArmSettings)


def digest(settings: ArmSettings) -> str:
    """Returns what must be equal for a job to be the same job: everything but how fast it goes and where it is kept."""
    return hashlib.sha256(
        json.dumps(what_counts(settings), sort_keys=True, allow_nan=False).encode()
    ).hexdigest()
