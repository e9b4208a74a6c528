"""What the runs of one process share, such as the trials of a study: the net that was used last."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


class Session:
    """Holds one object of each class, handed from one run to the next by whoever starts them.

    Example:
        >>> class LastNet:
        ...     digest = ""
        >>> session = Session()
        >>> session.of(LastNet).digest = "a1"
        >>> session.of(LastNet).digest
        'a1'
    """

    def __init__(self) -> None:
        self._held: dict[type, object] = {}

    def of(self, kind: type[T]) -> T:
        """Returns the object of a class; the first call makes it, without arguments."""
        if kind not in self._held:
            self._held[kind] = kind()
        held = self._held[kind]
        assert isinstance(held, kind)
        return held
