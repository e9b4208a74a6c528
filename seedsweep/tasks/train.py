"""``task=train``, the default: one arm."""

from __future__ import annotations

import logging
from pathlib import Path

from seedsweep.command import command
from seedsweep.config.schema import Config

log = logging.getLogger(__name__)


def run(config: Config, folder: Path, *, label: str, resume: bool) -> None:
    """Trains the arm of ``config`` in ``folder``, and writes its report.

    Raises:
        SeedsweepError: bad input, before any training.
        KeyboardInterrupt: the user stopped the run; what was trained is saved.
    """
    from seedsweep.data.pin import Pin
    from seedsweep.reporting.grid import GAP
    from seedsweep.sweep.record import pin_of
    from seedsweep.training.run import train  # torch takes seconds

    shared = pin_of(folder)
    metrics = train(config, folder, label=label, resume=resume, pin=Pin.of_grid(shared) if shared else None)
    gap = (metrics.get("train_images") or {}).get("bn_gap_last", 0.0)
    if gap > GAP:
        log.warning(
            "bn_gap is %+.2f: the net answers its own training images worse at inference than in training. Why, and "
            "what to do: %s", gap, command("task=diagnose", ("diagnose.run", folder)),
        )  # fmt: skip
    if config.report.write:
        from seedsweep.report.write import write_at_end

        if path := write_at_end(folder):
            log.info("report: %s", path)
