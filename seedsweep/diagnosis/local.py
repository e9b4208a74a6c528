"""Where things lie on this machine: settings of the command line that replace those that a run saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seedsweep.config.schema import Config
from seedsweep.overrides import key_of

LOCAL = ("data.root", "data.manifest", "paths", "trainer.accelerator")
"""What may differ between the machine of the training and this one; all else is the run's own."""


@dataclass(frozen=True)
class LocalSettings:
    """Settings that were given explicitly.

    Attributes:
        config: of the command line.
        keys: of ``LOCAL`` or below.
    """

    config: Config
    keys: tuple[str, ...]

    def lay_over(self, saved: Config) -> None:
        """Replaces those of ``saved``, in place."""
        for key in self.keys:
            *path, name = key.split(".")
            theirs: Any = saved
            ours: Any = self.config
            for part in path:
                theirs, ours = getattr(theirs, part), getattr(ours, part)
            setattr(theirs, name, getattr(ours, name))


def local_settings(config: Config, overrides: list[str]) -> LocalSettings:
    """Picks the local settings among the overrides of a command line.

    Args:
        config: composed of them.
        overrides: such as ``data.root=~/seeds``.
    """
    given = [key_of(line) for line in overrides]
    return LocalSettings(
        config,
        tuple(key for key in given if any(key == local or key.startswith(f"{local}.") for local in LOCAL)),
    )
