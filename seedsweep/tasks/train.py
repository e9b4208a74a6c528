"""``task=train``, the default: one arm."""

from __future__ import annotations

from pathlib import Path

from seedsweep.config.schema import Config


def run(config: Config, folder: Path, *, label: str, resume: bool) -> None:
    """Trains the arm of ``config`` in ``folder``.

    Raises:
        SeedsweepError: bad input, before any training.
        KeyboardInterrupt: the user stopped the run; what was trained is saved.
    """
    from seedsweep.training.run import train  # torch takes seconds

    train(config, folder, label=label, resume=resume)
