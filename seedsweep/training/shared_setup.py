"""What a run gets from its task, or from the grid or study that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seedsweep.data.pin import Pin
    from seedsweep.data.prepare import PreparedImages
    from seedsweep.training.finish import Draw


@dataclass(frozen=True)
class Given:
    """What was found before, and what draws the pictures.

    Attributes:
        prepared: the images, if they were found already.
        pin: the images that the runs beside this one began with, or where to write them.
        departures: settings that the file of the experiment says otherwise, as overrides.
        draw: draws the run's pictures; None: nothing does.
    """

    prepared: PreparedImages | None = None
    pin: Pin | None = None
    departures: tuple[str, ...] = ()
    draw: Draw | None = None


NOTHING = Given()
