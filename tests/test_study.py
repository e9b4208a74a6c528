"""Studies with a stub in the place of training: slots, resume, retries, pruning, finals, the winner's file."""

import csv
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf

from seedsweep.cli.main import main
from seedsweep.config.schema import Config
from seedsweep.config.study_schema import StorageConfig
from seedsweep.errors import SeedsweepError
from seedsweep.study import close, lead, plan, pruning
from seedsweep.study.finalists import Finalist
from seedsweep.study.storage import open_storage
from seedsweep.training import run as training

STUDY = ["+study=head", "+experiment=frozen_bn", "backbone=efficientnet_lite0", "trainer.max_epochs=6"]
SCORES = {"acc": 0.8, "macro_f1": 0.7, "loss": 0.5}


class Arm:
    """Stands for training: macro-F1 is best at lr 3e-4, width 256, no dropout, and moves a little with the seed."""

    def __init__(self) -> None:
        self.calls: list[Config] = []
        self.ready: list[Any] = []
        self.act: Callable[[Config], None] = lambda config: None

    def goal(self, config: Config) -> float:
        lr = (math.log10(config.optim.lr) - math.log10(3e-4)) ** 2
        width = (math.log2(config.head.width) - 8) ** 2 / 50
        return 0.9 - 0.1 * lr - 0.1 * width - 0.1 * config.head.dropout + (config.seed % 7) / 1000

    def __call__(self, config: Config, run_dir: Path, *, on_epoch: Any, **options: Any) -> dict[str, Any]:
        assert options["meet_test"] is False
        self.calls.append(config)
        self.ready.append(options.get("ready"))
        run_dir.mkdir(parents=True, exist_ok=True)
        rows = []
        for epoch in range(config.trainer.max_epochs):
            value = self.goal(config) * (1 - 0.5 ** (epoch + 1))
            rows.append({"epoch": epoch, "val/macro_f1": value, "val/acc": value})
            with (run_dir / "history.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            if epoch == 1:
                self.act(config)
            on_epoch(epoch, rows[-1])
        (run_dir / "metrics.json").write_text(
            json.dumps({"status": "finished", "val": SCORES, "best_epoch": 1})
        )
        return {"val": SCORES, "best_epoch": 1}


@pytest.fixture
def arm(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Arm:
    stub = Arm()
    monkeypatch.setattr(training, "train", stub)
    monkeypatch.setattr(lead, "_check_images", lambda *_: None)
    monkeypatch.setattr(close, "meet_test", lambda plan, winner: [SCORES for _ in winner.seeds])
    monkeypatch.setattr(close, "draw_study", lambda *_: [])
    return stub


def run(*overrides: str, name: str = "s", n: int = 8) -> int:
    return main([*STUDY, f"study.name={name}", f"study.n_trials={n}", *overrides])


def study(name: str = "s") -> optuna.Study:
    path = f"outputs/studies/{name}/study.journal"
    backend = optuna.storages.journal.JournalFileBackend(path)
    return optuna.load_study(study_name=name, storage=optuna.storages.JournalStorage(backend))


def told(name: str = "s") -> list[tuple[Any, ...]]:
    return [(t.number, t.state.name, t.value, t.params, t.intermediate_values) for t in study(name).trials]


def result(name: str = "s") -> dict[str, Any]:
    return json.loads(Path(f"outputs/studies/{name}/result.json").read_text())


def test_a_study_from_start_to_winner(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("pruner=median", n=25) == 0
    trials = study().trials
    assert [t.user_attrs["slot"] for t in trials] == list(range(25))
    assert [round(t.params["optim.lr"], 8) for t in trials[:4]] == [1e-3, 1e-4, 3e-5, 1e-5]
    assert {t.params["head.width"] for t in trials[:4]} == {1024}
    assert all(32 <= t.params["head.width"] <= 2048 and 0 <= t.params["head.dropout"] <= 0.7 for t in trials)
    assert {t.state.name for t in trials} == {"COMPLETE", "PRUNED"}
    found = result()
    assert found["trials"]["complete"] + found["trials"]["pruned"] == 25
    best = max((t for t in trials if t.state.name == "COMPLETE"), key=lambda t: t.value)
    assert found["winner"]["trial"] == best.number
    assert found["winner"]["seeds"] == [1001, 1002, 1003]
    assert [f["reference"] for f in found["finalists"]].count(True) == 1, "what it began with stands beside"
    assert len(found["finalists"]) == 4
    assert found["winner"]["test"]["acc"] == {"mean": pytest.approx(0.8), "sd": 0.0}
    arm_runs = len(trials) + 4 * 3
    assert len(arm.calls) == arm_runs
    assert {config.data.batch_size for config in arm.calls} == {32}, (
        "a setting of the study, over the experiment's"
    )
    out = capsys.readouterr().out
    assert "[25/25] trial" in out
    assert "+experiment=best_of_s" in out


def test_the_value_is_the_mean_of_the_last_epochs(arm: Arm) -> None:
    assert run("pruner=none", n=2) == 0
    expected = [arm.goal(arm.calls[0]) * (1 - 0.5**e) for e in (4, 5, 6)]
    assert study().trials[0].value == pytest.approx(sum(expected) / 3)
    assert len(study().trials[0].intermediate_values) == 6
    assert run("study.rule=checkpoint", name="kept", n=1) == 0
    assert study("kept").trials[0].value == SCORES["macro_f1"]
    assert run("study.rule=checkpoint", "study.metric=acc", name="acc", n=1) == 0
    assert study("acc").trials[0].value == SCORES["acc"]


def test_the_winner_runs_as_it_is(arm: Arm) -> None:
    assert run() == 0
    name = result()["winner"]
    best = OmegaConf.load("outputs/studies/s/conf/experiment/best_of_s.yaml")
    settings = dict(setting.split("=") for setting in name["settings"])
    assert best.optim.lr == float(settings["optim.lr"])
    arm.calls.clear()
    seen: list[Config] = []

    def train(config: Config, run_dir: Path, **_: Any) -> dict[str, Any]:
        seen.append(config)
        return {}

    training.train = train  # type: ignore[assignment]  # monkeypatched by the fixture, which puts it back
    assert main(["+experiment=best_of_s"]) == 0
    assert (seen[0].head.width, seen[0].optim.lr) == (best.head.width, best.optim.lr)
    assert seen[0].backbone.name == "efficientnet_lite0"
    assert seen[0].batchnorm.name == "inference"


def test_a_second_call_does_what_is_missing(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(n=6) == 0
    before = told()
    assert "again: trial" in capsys.readouterr().out
    arm.calls.clear()
    assert run(n=6) == 0
    assert arm.calls == [], "nothing was missing"
    out = capsys.readouterr().out
    assert "best_of_s" in out
    assert "again: trial" not in out, "finals that were told"
    assert run(n=4) == 0
    assert "study.n_trials=4 takes none of its trials away" in capsys.readouterr().out
    assert run(n=9) == 0
    assert told()[:6] == before
    assert len(told()) == 9
    arm.calls.clear()
    assert main(["resume=outputs/studies/s", "study.n_trials=10"]) == 0
    assert len(told()) == 10


@pytest.mark.parametrize("better", [False, True])
def test_a_finalist_of_a_shorter_study_stays_one(
    better: bool, arm: Arm, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later trials are luckier; with fresh seeds they are worse than it, or better."""

    def meet(_: Any, winner: Finalist) -> list[dict[str, float]]:
        for folder in winner.folders:
            path = folder / "metrics.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"test": SCORES}))
        return [SCORES for _ in winner.seeds]

    monkeypatch.setattr(close, "meet_test", meet)
    assert run("study.finalists=1", n=5) == 0
    earlier, known = result()["winner"]["trial"], {trial.params["optim.lr"] for trial in study().trials}
    assert result()["winner"]["test"]["met_before_by"] == []
    assert "on the test images, met once" in capsys.readouterr().out
    goal, fresh = arm.goal, 0.05 if better else -0.5
    more = lambda config: 0 if config.optim.lr in known else 0.2 if config.seed == 1 else fresh  # noqa: E731
    monkeypatch.setattr(arm, "goal", lambda config: goal(config) + more(config))
    assert run("study.finalists=1", n=9) == 0
    found = result()
    assert sorted(finalist["trial"] < 5 for finalist in found["finalists"]) == [False, True, True]
    assert all(len(finalist["values"]) == 3 for finalist in found["finalists"])
    assert (found["winner"]["trial"] >= 5) == better
    assert found["winner"]["test"]["met_before_by"] == ([earlier] if better else [])
    assert ("which earlier winners met, too" in capsys.readouterr().out) == better


def test_a_deleted_study_leaves_no_finalists(arm: Arm) -> None:
    assert run("study.finalist_seeds=1", n=9) == 0
    optuna.delete_study(study_name="s", storage=study()._storage)
    assert run("study.finalist_seeds=1", n=4) == 0
    assert all(finalist["trial"] < 4 for finalist in result()["finalists"])


def test_a_setting_is_a_finalist_once(arm: Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later trial of the same setting that was worth a little more is no other finalist."""
    space = ["~study.space.lr", "~study.space.dropout", "~study.space.width"]
    space += ["+study.space.only={key: optim.lr, choices: [1e-4, 1e-4]}", "study.first=[]"]
    options = [*space, "sampler=random", "study.finalists=1", "study.finalist_seeds=1"]
    assert run(*options, n=1) == 0
    goal = arm.goal
    monkeypatch.setattr(arm, "goal", lambda config: goal(config) + 0.01)
    assert run(*options, n=3) == 0
    assert [finalist["trial"] for finalist in result()["finalists"]] == [0]


def test_interrupted_and_resumed_equals_undisturbed(arm: Arm) -> None:
    assert run(name="whole", n=8) == 0
    stops = iter([3, 6])
    stop = next(stops)

    def act(config: Config) -> None:
        nonlocal stop
        if len(arm.calls) == stop:
            stop = next(stops, -1)
            raise KeyboardInterrupt

    arm.calls.clear()
    arm.act = act
    codes = [run(name="cut", n=8) for _ in range(3)]
    assert codes == [130, 130, 0]
    assert told("cut") == told("whole")
    assert result("cut")["finalists"] == result("whole")["finalists"]


def test_a_failing_trial_is_retried_once_and_recorded(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    failures = {2: 1, 4: 9}  # trial: how often it fails

    def act(config: Config) -> None:
        slot = len({c.optim.lr for c in arm.calls}) - 1
        if failures.get(slot, 0):
            failures[slot] -= 1
            raise MemoryError("too big")

    arm.act = act
    assert run(n=7) == 0
    states = [t.state.name for t in study().trials]
    assert states[2] == "COMPLETE"
    assert states[4] == "FAIL"
    assert study().trials[4].user_attrs["reason"] == "MemoryError: too big"
    assert failures[4] == 7, "tried twice"
    assert "Traceback" in Path("outputs/studies/s/trials/0004/error.log").read_text()
    assert "trial 4 failed: MemoryError: too big" in capsys.readouterr().out
    assert result()["trials"]["fail"] == 1


def test_other_settings_are_refused(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(n=1) == 0
    assert run("data.image_size=[96,96]", n=1) == 2
    error = capsys.readouterr().err
    assert "data.image_size was [128, 128] and is [96, 96]" in error
    assert "study.name=NAME" in error
    assert run("study.workers=1", "study.grace=300", "data.workers=1", n=1) == 0, "these change no result"


def test_workers_are_held_until_the_images_are_known_and_end_with_the_leader(
    arm: Arm, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    class Crew:
        def __init__(self, *_: Any) -> None: ...

        def __getattr__(self, name: str) -> Callable[..., Any]:
            return lambda *_: calls.append(name)

    def check(plan: Any, to_go: int, crew: Any) -> None:
        crew.hold()
        raise SeedsweepError("the images can't be used")

    monkeypatch.setattr(lead, "Crew", Crew)
    monkeypatch.setattr(lead, "_check_images", check)
    assert run("study.workers=2", n=1) == 2
    assert calls == ["prepare", "hold", "end"], "nothing was worked on"


def test_settings_may_be_mended_before_the_first_trial(arm: Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise SeedsweepError("the images can't be used")

    with monkeypatch.context() as patch:
        patch.setattr(lead, "_check_images", refuse)
        assert run("optim=adamw", n=3) == 2
    assert run(n=2) == 2, "whoever began it may be preparing its first trial"
    storage = open_storage(StorageConfig("journal"), Path("outputs/studies/s"))

    def end_leader() -> None:
        begun = optuna.load_study(study_name="s", storage=storage)
        begun.set_user_attr(plan.LEADER, {**begun.user_attrs[plan.LEADER], "born": 1.0})

    end_leader()
    assert run(n=2) == 0
    assert {config.optim.name for config in arm.calls} == {"adam"}
    assert len(study().trials) == 2
    end_leader()
    assert run("optim=adamw", n=2) == 2, "there are trials"


def test_what_a_study_changes_in_the_experiment_is_said(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(n=1) == 0
    told = "every trial: data.batch_size=32 (4 in frozen_bn), features.head_precision=auto (float32 in frozen_bn)"
    assert told in capsys.readouterr().out
    assert run("data.batch_size=4", "features.head_precision=auto", name="t", n=1) == 0
    assert "every trial:" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("n", "size", "said"),
    [
        (96, 256, "only 1 step: 96 .*=8,"),
        (96, 32, "only 3 steps.*=8,"),
        (2000, 256, None),
        (20, 4, None),
        (14, 32, "=4,"),
    ],
)
def test_few_images_in_large_batches_are_told(
    n: int, size: int, said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    lead._tell_of_steps(n, size)
    assert re.search(said, caplog.text) if said else not caplog.text


def test_one_seed_has_no_spread(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("study.finalist_seeds=1", n=1) == 0
    out = capsys.readouterr().out
    assert "±" not in out
    assert "accuracy 0.800, macro-F1 0.700" in out
    best = Path("outputs/studies/s/conf/experiment/best_of_s.yaml").read_text()
    assert "one fresh seed.\n" in best


def test_the_winner_of_no_study(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["+experiment=best_of_s"]) == 2
    assert "no study of that name has ended in outputs/studies (there is none yet)" in capsys.readouterr().err
    assert run(n=1) == 0
    assert main(["+experiment=best_of_t"]) == 2
    assert "(there are: s)" in capsys.readouterr().err


def test_pruned_trials_cost_their_epochs(arm: Arm) -> None:
    assert run("pruner=median", "sampler=random", n=20) == 0
    pruned = [t for t in study().trials if t.state.name == "PRUNED"]
    assert pruned
    assert all(3 < len(t.intermediate_values) < 6 for t in pruned), "after the warm-up, before the end"
    assert all(t.user_attrs["epochs"] == len(t.intermediate_values) for t in pruned)


@pytest.mark.parametrize("moment", ["set_trial_user_attr", "set_trial_system_attr"])
def test_killed_while_a_trial_is_pruned(moment: str, arm: Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker ends before it writes the decision, or what the pruner noted."""
    options = ["pruner=hyperband", "study.finalists=1", "study.finalist_seeds=1"]
    assert run(*options, n=9) == 0
    whole = told()
    shutil.rmtree("outputs")  # not another name: Hyperband's brackets depend on it
    real = getattr(optuna.storages.JournalStorage, moment)
    ends: list[int] = []

    def write(storage: Any, trial_id: int, what: Any, *values: Any, **named: Any) -> Any:
        due = what == pruning.ENDED
        if str(what).startswith("completed_rung"):
            due = pruning.ENDED in storage.get_trial(trial_id).user_attrs
        if due and trial_id not in ends and len(ends) < 2:
            ends.append(trial_id)
            raise KeyboardInterrupt
        return real(storage, trial_id, what, *values, **named)

    monkeypatch.setattr(optuna.storages.JournalStorage, moment, write)
    assert [run(*options, n=9) for _ in range(3)] == [130, 130, 0]
    assert told() == whole


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
    arms = ["+study=arms", "backbone=efficientnet_lite0", "trainer.max_epochs=2", "study.n_trials=8"]
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
    "study.name=a/b": "without '/'",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_get_a_sentence(mistake: str, arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    extra = ["+" + mistake] if mistake.startswith(("sampler.options", "pruner.options")) else [mistake]
    assert main([*STUDY, "study.n_trials=2", *extra]) == 2
    error = capsys.readouterr().err
    assert MISTAKES[mistake] in error
    assert error.count("\n") == 1
    assert arm.calls == []
