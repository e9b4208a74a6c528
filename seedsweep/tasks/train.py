"""``task=train``, the default: one arm."""

from __future__ import annotations

import logging
from pathlib import Path

from seedsweep.config.schema import Config

log = logging.getLogger(__name__)


def run(config: Config, folder: Path, *, label: str, resume: bool) -> None:
    """Trains the arm of ``config`` in ``folder``, and writes its report.

    Raises:
        SeedsweepError: bad input, before any training.
        KeyboardInterrupt: the user stopped the run; what was trained is saved.
    """
    from seedsweep.training.run import train  # torch takes seconds

    train(config, folder, label=label, resume=resume)
    if config.report.write:
        from seedsweep.report.write import write_at_end

        if path := write_at_end(folder):
            log.info("report: %s", path)
