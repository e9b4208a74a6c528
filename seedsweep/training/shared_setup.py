"""What a run gets from the grid or study that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seedsweep.data.pin import Pin
    from seedsweep.data.prepare import PreparedImages


@dataclass(frozen=True)
class Given:
    """What was found before.

    Attributes:
        prepared: the images, if they were found already.
        pin: the images that the runs beside this one began with, or where to write them.
    """

    prepared: PreparedImages | None = None
    pin: Pin | None = None


NOTHING = Given()
