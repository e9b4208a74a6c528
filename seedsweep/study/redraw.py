"""Draws again what a killed worker had begun to draw, so that the rest comes out as it would have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from optuna.storages import BaseStorage
from optuna.trial import Trial


@contextmanager
def undrawn(trial: Trial) -> Iterator[dict[str, Any]]:
    """Lets a trial draw all its values as if it had none, and gives it its own back at the end.

    A sampler that draws value by value takes its random numbers in order: one that began with the second value would
    give it the number of the first.

    Args:
        trial: some of whose values are written down.

    Yields:
        Those values; what is drawn in their place must not be used, and is not written.
    """
    frozen, storage = trial._cached_frozen_trial, trial.storage
    params, distributions = dict(frozen.params), dict(frozen.distributions)
    frozen.params, frozen.distributions = {}, {}
    trial.storage = cast(BaseStorage, _Written(storage, set(params)))
    try:
        yield params
    finally:
        trial.storage = storage
        frozen.params = {**frozen.params, **params}
        frozen.distributions = {**frozen.distributions, **distributions}


class _Written:
    """A storage that writes none of ``names`` again."""

    def __init__(self, storage: BaseStorage, names: set[str]) -> None:
        self._storage = storage
        self._names = names

    def set_trial_param(self, trial_id: int, name: str, *value: Any) -> None:
        """Writes a value that is not yet written."""
        if name not in self._names:
            self._storage.set_trial_param(trial_id, name, *value)

    def __getattr__(self, name: str) -> Any:
        """Returns whatever else the storage has."""
        return getattr(self._storage, name)
