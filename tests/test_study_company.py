"""Trials whose heads are trained in company end as they would alone, and none is lost on the way."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import study_stub
from optuna.trial import Trial
from study_stub import Arm, result, run, study
from test_training import small

from seedsweep.config.location import cache_of
from seedsweep.config.schema import Config
from seedsweep.data.prepare import PreparedImages, prepare_images
from seedsweep.study.options import StorageConfig
from seedsweep.study.plan import Plan
from seedsweep.study.storage import open_storage
from seedsweep.training import company
from seedsweep.training.heads.replay import Replay
from seedsweep.training.run import train
from seedsweep.training.shared_setup import Given

arm = study_stub.arm  # the fixture


def images(config: Config) -> PreparedImages:
    return prepare_images(config.data, cache_of(config))


def history(folder: Path) -> list[dict[str, float]]:
    with (folder / "history.csv").open() as file:
        return [{k: float(v) for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def test_runs_that_share_features_are_trained_at_once_and_end_as_alone(tmp_path: Path) -> None:
    def config(*overrides: str) -> Config:
        shared = ("features=auto", "features.engine=torch", "trainer.max_epochs=3", "trainer.patience=1")
        return small(*shared, f"paths.cache={tmp_path}/cache", *overrides)

    configs = [
        config("optim.lr=1e-2", "head.width=16", "head.dropout=0.3"),
        config("seed=5"),
        config("optim.lr=1e-4", "head.width=24", "head.class_weights=balanced", "head.label_smoothing=0.1"),
        config("batchnorm=batch_stats"),
        config("batchnorm=batch_stats", "optim.lr=1e-4"),
    ]
    ready = company.train_heads(configs, images)
    assert [each is not None for each in ready] == [True, False, True, False, False], (
        "another seed, another order of the images; batch_stats goes online"
    )
    for place in (0, 2):
        runs = tmp_path / f"together{place}", tmp_path / f"alone{place}"
        metrics = [
            train(configs[place], folder, pictures=False, given=Given(ready=own))
            for folder, own in zip(runs, (ready[place], None), strict=True)
        ]
        first, second = (history(folder) for folder in runs)
        assert len(first) == len(second) >= 2
        for a, b in zip(first, second, strict=True):
            assert a == pytest.approx(b, rel=1e-3, abs=1e-5)
        assert metrics[0]["best_epoch"] == metrics[1]["best_epoch"]
        assert metrics[0]["test"]["loss"] == pytest.approx(metrics[1]["test"]["loss"], rel=1e-3)


class Company:
    """Stands for the training in company; each trial's ready fit carries its learning rate."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, configs: list[Config], _: object) -> list[Replay]:
        self.sizes.append(len(configs))
        return [Replay([], [config.optim.lr], 0, {}) for config in configs]


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Company:
    stub = Company()
    monkeypatch.setattr(company, "train_heads", stub)
    return stub


def test_a_study_draws_several_trials_at_once_and_each_gets_its_own_fit(arm: Arm, fits: Company) -> None:
    assert run("study.company=3", "study.finalist_seeds=1", n=8) == 0
    assert fits.sizes[:3] == [3, 3, 2]
    assert [t.user_attrs["slot"] for t in study().trials] == list(range(8))
    assert {t.state.name for t in study().trials} == {"COMPLETE"}
    assert len({t.params["optim.lr"] for t in study().trials}) == 8
    assert len(arm.ready) == len(arm.calls) == 8 + len(result()["finalists"])
    for config, ready in zip(arm.calls, arm.ready, strict=True):
        assert ready is not None
        assert ready.seconds == [config.optim.lr]


def test_stopped_between_two_of_a_company_the_others_are_given_back(arm: Arm, fits: Company) -> None:
    def stop(config: Config) -> None:
        if len(arm.calls) == 2:
            raise KeyboardInterrupt

    arm.act = stop
    assert run("study.company=4", "study.finalist_seeds=1", n=6) == 130
    assert [t.state.name for t in study().trials] == ["COMPLETE", *["WAITING"] * 5]
    drawn = [dict(t.params) for t in study().trials[:4]]
    arm.act = lambda config: None
    assert run("study.company=4", "study.finalist_seeds=1", n=6) == 0
    assert {t.state.name for t in study().trials} == {"COMPLETE"}
    assert [dict(t.params) for t in study().trials[:4]] == drawn


def test_a_trial_whose_worker_was_killed_runs_alone(arm: Arm, fits: Company) -> None:
    arm.act = lambda config: (_ for _ in ()).throw(KeyboardInterrupt)
    assert run("study.company=4", "study.finalist_seeds=1", n=6) == 130
    storage = open_storage(StorageConfig("journal"), Path("outputs/studies/s"))
    storage.set_trial_user_attr(study().trials[2]._trial_id, "deaths", 1)
    arm.act = lambda config: None
    fits.sizes.clear()
    assert run("study.company=4", "study.finalist_seeds=1", n=6) == 0
    assert fits.sizes[:2] == [2, 3], "slots 0 and 1, then 2 alone, then the rest"
    assert {t.state.name for t in study().trials} == {"COMPLETE"}


class Beats:
    """Stands for the heartbeats; notes which trials beat when one is run."""

    def __init__(self) -> None:
        self.beating: list[int] = []
        self.seen: list[list[int]] = []

    @contextmanager
    def __call__(self, trial: Trial, plan: Plan) -> Iterator[None]:
        slot = trial.user_attrs["slot"]
        self.beating.append(slot)
        try:
            yield
        finally:
            self.beating.remove(slot)


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.usefixtures("fits")
def test_each_trial_beats_until_it_is_run(arm: Arm, monkeypatch: pytest.MonkeyPatch, stopped: bool) -> None:
    beats = Beats()
    monkeypatch.setattr("seedsweep.study.company.heartbeat", beats)

    def note(config: Config) -> None:
        beats.seen.append(list(beats.beating))
        if stopped and len(beats.seen) == 2:
            raise KeyboardInterrupt

    arm.act = note
    assert run("study.company=3", "study.finalist_seeds=1", n=3) == (130 if stopped else 0)
    assert beats.seen[:3] == [[1, 2], [2], []][: 2 if stopped else 3]
    assert beats.beating == []


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["pruner=median"], "nothing can be pruned: add pruner=none"),
        (
            ["+study.space.bn={key: batchnorm, choices: [inference, recalibrate]}"],
            "study.space has batchnorm",
        ),
    ],
)
def test_what_company_can_not_do_is_said(
    overrides: list[str], sentence: str, arm: Arm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("study.company=4", *overrides) == 2
    assert sentence in "".join(capsys.readouterr())


def test_what_goes_wrong_in_company_leaves_each_run_to_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> list[Replay]:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(company, "_company", fail)
    assert company.train_heads([small(), small("optim.lr=0.5")], images) == [None, None]
    assert "can't be trained together (out of memory)" in caplog.text
