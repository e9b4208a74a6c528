"""Asks a pruner whether a trial should end, so that a worker that is killed meanwhile changes nothing.

Successive halving and Hyperband note in the trial that it has completed a rung, and decide after that. A worker killed
in between would leave a trial that is past the rung at which it was to end. So what they note is held back until
the decision is written down; whoever takes the trial over finds it there.
"""

from __future__ import annotations

from typing import Any, cast

import optuna
from optuna.pruners import NopPruner
from optuna.storages import BaseStorage
from optuna.trial import Trial

ENDED = "ended_with"  # a trial's attribute: it is to end, and this is what the pruner noted


def should_prune(trial: Trial) -> bool:
    """Says what ``trial.should_prune()`` says.

    Args:
        trial: running; its last report is what counts.
    """
    study, storage = trial.study, trial.storage
    if isinstance(study.pruner, NopPruner):
        return False
    known = storage.get_trial(trial._trial_id)
    notes: dict[str, Any] | None = known.user_attrs.get(ENDED)
    ended = notes is not None
    if notes is None:
        held = _Held(storage)
        view = optuna.Study(study.study_name, cast(BaseStorage, held), study.sampler, study.pruner)
        ended, notes = study.pruner.prune(view, known), held.notes
        if ended:
            storage.set_trial_user_attr(trial._trial_id, ENDED, notes)
    for key, value in notes.items():
        storage.set_trial_system_attr(trial._trial_id, key, value)
    return ended


class _Held:
    """A storage that keeps what a pruner notes in its trial to itself."""

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage
        self.notes: dict[str, Any] = {}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keeps a note."""
        self.notes[key] = value

    def __getattr__(self, name: str) -> Any:
        """Returns whatever else the storage has."""
        return getattr(self._storage, name)
