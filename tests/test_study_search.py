"""What a study searches, with a stub in the place of training: samplers, pruners, spaces, and the mistakes in them."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import study_stub
from composed import config_of
from study_stub import STUDY, Arm, plan_of, result, run, study, told

from seedsweep.cli import preflight
from seedsweep.cli.arguments import parse
from seedsweep.cli.composing import composing
from seedsweep.cli.main import main
from seedsweep.data.options import DataConfig
from seedsweep.data.pin import Pin

arm = study_stub.arm  # the fixture


def test_pruned_trials_cost_their_epochs(arm: Arm) -> None:
    assert run("pruner=median", "sampler=random", n=12) == 0
    pruned = [t for t in study().trials if t.state.name == "PRUNED"]
    assert pruned
    assert all(3 < len(t.intermediate_values) < 6 for t in pruned), "after the warm-up, before the end"
    assert all(t.user_attrs["epochs"] == len(t.intermediate_values) for t in pruned)


def test_killed_while_a_trial_is_pruned(arm: Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker ends after the pruner noted a rung, and before anybody acts on it."""
    options = ["pruner=hyperband"]
    real = optuna.storages.JournalStorage.set_trial_system_attr
    ends: list[int] = []

    def write(storage: Any, trial_id: int, what: str, value: Any) -> None:
        real(storage, trial_id, what, value)
        if what.startswith("completed_rung") and trial_id not in ends and len(ends) < 2:
            ends.append(trial_id)
            raise KeyboardInterrupt

    monkeypatch.setattr(optuna.storages.JournalStorage, "set_trial_system_attr", write)
    assert [run(*options, n=9) for _ in range(3)] == [130, 130, 0]
    assert_whole(9)


@pytest.mark.parametrize("sampler", ["tpe", pytest.param("random", marks=pytest.mark.slow)])
def test_killed_between_two_draws(sampler: str, arm: Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was drawn stays, and the rest is drawn anew; the trials before are as they were."""
    options = [f"sampler={sampler}"]
    assert run(*options, n=15) == 0
    whole = told()
    shutil.rmtree("outputs")
    real = optuna.storages.JournalStorage.set_trial_param
    ends: dict[tuple[int, str], dict[str, Any]] = {}

    def write(storage: Any, trial_id: int, name: str, *values: Any) -> None:
        here = (trial_id, name)
        if here in ((6, "head.dropout"), (7, "head.width"), (13, "head.dropout")) and here not in ends:
            ends[here] = dict(storage.get_trial(trial_id).params)
            raise KeyboardInterrupt
        real(storage, trial_id, name, *values)

    monkeypatch.setattr(optuna.storages.JournalStorage, "set_trial_param", write)
    assert [run(*options, n=15) for _ in range(4)] == [130, 130, 130, 0]
    assert told()[:6] == whole[:6]
    assert_whole(15)
    for (number, _), drawn in ends.items():
        assert drawn.items() <= study().trials[number].params.items()


def assert_whole(n: int) -> None:
    """Checks that no trial was lost or doubled, each has all its values and epochs, and the winner is the best."""
    trials = study().trials
    assert [t.user_attrs["slot"] for t in trials] == list(range(n))
    assert {t.state.name for t in trials} <= {"COMPLETE", "PRUNED"}
    assert all(set(t.params) == {"optim.lr", "head.dropout", "head.width"} for t in trials)
    for trial in trials:
        assert list(trial.intermediate_values) == list(range(trial.user_attrs["epochs"]))
    found = result()
    assert sum(found["trials"].values()) == n
    assert found["winner"]["mean"] == max(each["mean"] for each in found["finalists"])
    assert found["winner"]["settings"] == trials[found["winner"]["trial"]].user_attrs["settings"]


@pytest.mark.parametrize(
    "sampler",
    ["tpe", pytest.param("random", marks=pytest.mark.slow), pytest.param("gp", marks=pytest.mark.slow)],
)
def test_samplers_are_repeatable(sampler: str, arm: Arm) -> None:
    options = [f"sampler={sampler}", "pruner=hyperband", "+sampler.options.n_startup_trials=5"]
    options = options[:2] if sampler == "random" else [options[0], options[1], options[2].lstrip("+")]
    assert run(*options, name="a", n=8) == 0
    assert run(*options, name="b", n=8) == 0
    assert [t.params for t in study("a").trials] == [t.params for t in study("b").trials]


def test_grid_visits_every_combination_once(arm: Arm) -> None:
    points = [f"+study.space.{name}.points={n}" for name, n in (("lr", 2), ("dropout", 2), ("width", 3))]
    assert run("sampler=grid", *points, n=50) == 0
    seen = {tuple(sorted(t.params.items())) for t in study().trials}
    assert len(study().trials) == len(seen) == 12
    assert {t.params["head.width"] for t in study().trials} == {32, 256, 2048}


def test_the_quick_search_prunes_and_takes_large_batches(arm: Arm) -> None:
    few = ["study.n_trials=12", "study.finalists=1", "study.finalist_seeds=1"]
    few.append("pruner.options.reduction_factor=4")  # of the study's pruner, which is not the default one
    assert main(["+study=head_quick", *STUDY[1:], "study.name=q", *few]) == 0
    assert {config.data.batch_size for config in arm.calls} == {256}
    assert {"COMPLETE", "PRUNED"} == {trial.state.name for trial in study("q").trials}
    assert result("q")["finalists"][-1]["values"], "the finals are not pruned"


def test_conditions_and_whole_arms(arm: Arm) -> None:
    wide = [
        "+study=head_wide",
        "+experiment=frozen_bn",
        "backbone=efficientnet_lite0",
        "trainer.max_epochs=2",
    ]
    arm.goal = lambda config: 0.5  # type: ignore[method-assign]
    assert (
        main([*wide, "study.name=w", "study.n_trials=10", "study.finalists=1", "study.finalist_seeds=1"]) == 0
    )
    for trial in study("w").trials:
        assert ("head.width" in trial.params) == (trial.params["head"] == "default")
        assert ("optim.weight_decay" in trial.params) == (trial.params["optim"] == "adamw")
    linear = [c for c in arm.calls if c.head.width == 0]
    assert linear
    arm.calls.clear()
    arms = ["+study=arms", "backbone=efficientnet_lite0", "trainer.max_epochs=2", "study.n_trials=5"]
    assert main([*arms, "study.name=arms", "study.finalists=1", "study.finalist_seeds=1"]) == 0
    assert len({config.experiment.name for config in arm.calls}) > 1
    assert {c.batchnorm.name for c in arm.calls if c.experiment.name == "frozen_bn"} <= {"inference"}


MISTAKES = {
    "study.space.lr.low=0": "study.space (optim.lr).low, on a log scale, is 0",
    "study.space.lr.low=1": "above high",
    "+study.space.x={key: head.widht, low: 1, high: 2}": "did you mean head.width?",
    "+study.space.x={key: backbone, choices: [vgg61]}": "did you mean vgg16?",
    "+study.space.x={key: seed}": "needs either choices, or low and high",
    "+study.space.x={key: optim.lr, low: 1, high: 2}": "names optim.lr twice",
    "+study.space.x={key: seed, choices: [1], when: 'optim=sgd'}": "must be KEY=VALUE of a dimension before it",
    "+study.space.x={key: head.dropout2, low: 0, high: 3}": "head.dropout2 is not a setting",
    "+study.space.x={key: seed, lo: 1}": "study.space.x can't be used",
    "study.space.dropout.high=3": "head.dropout is 3.0, but must lie between 0 and 0.99",
    "study.first=[['optim.lr=1']]": "optim.lr=1 does not lie between 1e-05 and 0.001",
    "study.n_trials=0": "study.n_trials is 0",
    "study.rule=luck": "must be one of: tail, checkpoint",
    "sampler=tep": "did you mean tpe?",
    "sampler.name=TPESample": "did you mean TPESampler?",
    "sampler.options.n_start=3": "sampler.options don't suit TPESampler",
    "pruner.options.n=3": "pruner.options don't suit NopPruner",
    "storage=postgres": "storage.url is not set",
    "study.name=a/b": "holds a '/'",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_get_a_sentence(mistake: str, arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    extra = ["+" + mistake] if mistake.startswith(("sampler.options", "pruner.options")) else [mistake]
    assert main([*STUDY, "study.n_trials=2", *extra]) == 2
    error = capsys.readouterr().err
    assert MISTAKES[mistake] in error
    assert error.count("\n") == 1
    assert arm.calls == []


def test_a_grid_of_studies_is_checked_before_its_first(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    grid = ["-m", *STUDY, "study.n_trials=2", "study.name=s_${seed}_${batchnorm.name}"]
    assert main([*grid, "seed=1,2", "study.space.dropout.high=3"]) == 2
    assert MISTAKES["study.space.dropout.high=3"] in capsys.readouterr().err
    assert arm.calls == []

    def compositions(*overrides: str) -> int:
        parsed = parse([*grid, *overrides])
        with composing(parsed) as compose:
            assert preflight.check(parsed, compose).config is None
        return len(compose._made)

    two = compositions("study.job=0,1")
    assert compositions("study.job=0,1,2,3") - two == 2, "jobs of one study: its space is composed once"
    assert compositions("seed=1,2") == two, "another seed changes nothing of it"
    assert compositions("batchnorm=inference,recalibrate") > two


def test_trials_find_their_images_once(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until their settings say that they are others; how many a step takes is no matter."""
    asked: list[list[int]] = []

    def prepare(config: DataConfig, cache: Path, pin: Pin) -> SimpleNamespace:
        asked.append(config.image_size)
        table = SimpleNamespace(split_digest=lambda: "s", images_digest=lambda: "i")
        return SimpleNamespace(size=config.image_size, table=table)

    monkeypatch.setattr("seedsweep.data.prepare.pinned_images", prepare)
    base = config_of("+experiment=frozen_bn")
    plan = plan_of(base, in_tmp)
    sizes, batches = ([64, 64], [64, 64], [96, 96], [64, 64]), (4, 32, 4, 4)
    for size, batch in zip(sizes, batches, strict=True):
        config = config_of("+experiment=frozen_bn", f"data.image_size={size}", f"data.batch_size={batch}")
        assert plan.images(config).size == size
    assert asked == [[64, 64], [96, 96], [64, 64]]
