"""What studies use of Optuna beyond its public API: with another version, each is to be looked at again."""

import optuna
from optuna.trial import Trial, TrialState


def test_a_trial_goes_back_to_waiting_and_keeps_its_values() -> None:
    """A study's storage has no public name, and its trial is taken by making a Trial of the id."""
    assert optuna.__version__.split(".")[0] == "5"
    study = optuna.create_study()
    study.enqueue_trial({"x": 1.0}, user_attrs={"slot": 0})
    (waiting,) = study.trials
    storage = study._storage
    study_id = storage.get_study_id_from_name(study.study_name)
    trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, waiting.number)
    assert storage.set_trial_state_values(trial_id, TrialState.RUNNING)
    taken = Trial(study, trial_id)
    assert taken.number == waiting.number
    assert taken.suggest_float("x", 0, 2) == 1.0
    drawn = taken.suggest_float("y", 0, 1)
    storage.set_trial_user_attr(trial_id, "worker", None)
    storage.set_trial_state_values(trial_id, TrialState.WAITING)
    (again,) = study.trials
    assert (again.state, again.params) == (TrialState.WAITING, {"x": 1.0, "y": drawn})
    assert storage.set_trial_state_values(trial_id, TrialState.RUNNING)
    study.tell(Trial(study, trial_id), 0.5)
    assert [(trial.number, trial.value) for trial in study.trials] == [(0, 0.5)]
