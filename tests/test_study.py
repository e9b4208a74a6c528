"""Studies with a stub in the place of training: slots, resume, retries, refusals."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import study_stub
from composed import config_of
from study_stub import ALL, SCORES, Arm, plan_of, result, run, study, told

from seedsweep.cli.config.schema import Config
from seedsweep.cli.main import main
from seedsweep.errors import SeedsweepError
from seedsweep.study import main_process, plan, processes, worker
from seedsweep.study.options import StorageConfig
from seedsweep.study.plan import Plan
from seedsweep.study.storage import open_storage
from seedsweep.training import run as training

arm = study_stub.arm  # the fixture


def test_a_study_from_start_to_winner(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*ALL, "pruner=median", n=14) == 0
    trials = study().trials
    assert [t.user_attrs["slot"] for t in trials] == list(range(14))
    assert [round(t.params["optim.lr"], 8) for t in trials[:4]] == [1e-3, 1e-4, 3e-5, 1e-5]
    assert {t.params["head.width"] for t in trials[:4]} == {1024}
    assert all(32 <= t.params["head.width"] <= 2048 and 0 <= t.params["head.dropout"] <= 0.7 for t in trials)
    assert {t.state.name for t in trials} == {"COMPLETE", "PRUNED"}
    found = result()
    assert found["trials"]["complete"] + found["trials"]["pruned"] == 14
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
    assert "[14/14] trial" in out
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


def test_a_second_call_does_what_is_missing(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(n=3) == 0
    before = told()
    assert "again: trial" in capsys.readouterr().out
    arm.calls.clear()
    assert run(n=3) == 0
    assert arm.calls == [], "nothing was missing"
    out = capsys.readouterr().out
    assert "best_of_s" in out
    assert "again: trial" not in out, "finals that were told"
    assert "study s is finished" in out
    assert run(n=2) == 0
    out = capsys.readouterr().out
    assert "study s has 3 trials: study.n_trials=2 takes none away" in out
    assert "study s is finished" in out
    assert run(n=4) == 0
    assert told()[:3] == before
    assert len(told()) == 4
    arm.calls.clear()
    assert main(["resume=outputs/studies/s", "study.n_trials=5"]) == 0
    assert len(told()) == 5


def test_interrupted_and_resumed_equals_undisturbed(arm: Arm) -> None:
    assert run(name="whole", n=6) == 0
    stops = iter([2, 4])
    stop = next(stops)

    def act(config: Config) -> None:
        nonlocal stop
        if len(arm.calls) == stop:
            stop = next(stops, -1)
            raise KeyboardInterrupt

    arm.calls.clear()
    arm.act = act
    codes = [run(name="cut", n=6) for _ in range(3)]
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
    assert run(n=6) == 0
    states = [t.state.name for t in study().trials]
    assert states[2] == "COMPLETE"
    assert states[4] == "FAIL"
    assert study().trials[4].user_attrs["reason"] == "MemoryError: too big"
    assert failures[4] == 7, "tried twice"
    assert "Traceback" in Path("outputs/studies/s/trials/0004/error.log").read_text()
    assert "trial 4 failed: MemoryError: too big" in capsys.readouterr().out
    assert result()["trials"]["fail"] == 1


def test_a_refused_call_leaves_the_study_resumable(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(n=1) == 0
    notes = Path("outputs/studies/s/.hydra/overrides.yaml")
    before = notes.read_text()
    assert run("seed=2", n=1) == 2
    assert notes.read_text() == before
    assert main(["resume=outputs/studies/s", "study.n_trials=2"]) == 0
    assert len(told()) == 2


def test_a_trial_goes_on_with_its_own_folder_alone(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    """The journal is removed, as its own sentence offers, and the study begun anew with other settings."""

    def act(config: Config) -> None:
        checkpoint = Path("outputs/studies/s/trials/0000/last.ckpt")
        there.append(checkpoint.exists())
        checkpoint.touch()
        if fails:
            fails.pop()
            raise MemoryError("too big")

    there: list[bool] = []
    fails = [1]
    arm.act = act
    words = ("study.first=[]",)
    assert run(*words, n=1) == 0
    Path("outputs/studies/s/study.journal").unlink()
    capsys.readouterr()
    assert run(*words, "seed=3", n=1) == 0
    assert "trials/0000 held a trial with other settings or images: deleted" in capsys.readouterr().out
    assert there == [False, True, True, False, True], (
        "tried again and trained to its end, it goes on with its own"
    )


def test_other_settings_are_refused(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(n=1) == 0
    assert run("data.image_size=[96,96]", n=1) == 2
    error = capsys.readouterr().err
    assert "data.image_size was [128, 128] and is [96, 96]" in error
    assert "study.name=NAME" in error
    assert run("study.workers=1", "study.grace=300", "data.workers=1", n=1) == 0, "these change no result"


def test_workers_end_with_the_main_process(arm: Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def fails(*_: Any) -> None:
        calls.append("work")
        raise SeedsweepError("the workers can't work")

    monkeypatch.setattr(processes, "preload", lambda _: calls.append("preload"))
    monkeypatch.setattr(processes.Workers, "work", fails)
    monkeypatch.setattr(processes.Workers, "end", lambda _: calls.append("end"))
    assert run("study.workers=2", n=1) == 2
    assert calls == ["preload", "work", "end"]
    calls.clear()
    monkeypatch.setattr(main_process, "_check_images", fails)
    assert run("study.workers=2", name="t", n=1) == 2
    assert calls == ["preload", "work"], "the images can't be used: no worker has begun"
    calls.clear()
    assert run("study.workers=1", name="alone", n=1) == 2
    monkeypatch.setattr(worker, "join_study", lambda _: None)
    assert run("study.workers=2", "study.job=1", n=1) == 0
    assert calls == ["work"], "no server for who needs none"


def test_features_are_made_before_the_first_trial_if_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    prepared = SimpleNamespace(table=SimpleNamespace(indices=lambda _: range(640)))

    class Heads(Plan):
        is_of_heads = True

        def images(self, config: Config) -> Any:
            done.append("images")
            return prepared

    monkeypatch.setattr(training, "open_images", lambda *_: done.append("features"))
    heads = plan_of(config_of("+study=head"), tmp_path, Heads)
    main_process._check_images(heads, 1)
    assert done == ["images", "features"]
    done.clear()
    main_process._check_images(heads, 0)
    assert done == ["images"], "no trial is to go"


def test_settings_may_be_mended_before_the_first_trial(arm: Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise SeedsweepError("the images can't be used")

    with monkeypatch.context() as patch:
        patch.setattr(main_process, "_check_images", refuse)
        assert run("optim=adamw", n=3) == 2
    assert run(n=2) == 2, "whoever began it may be preparing its first trial"
    storage = open_storage(StorageConfig("journal"), Path("outputs/studies/s"))

    def end_leader() -> None:
        begun = optuna.load_study(study_name="s", storage=storage)
        begun.set_user_attr(plan.MAIN, {**begun.user_attrs[plan.MAIN], "born": 1.0})

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
        (96, 256, "only 1 step: 96 .*=8 "),
        (96, 32, "only 3 steps.*=8 "),
        (2000, 256, None),
        (20, 4, None),
        (14, 32, "=4 "),
    ],
)
def test_few_images_in_large_batches_are_told(
    n: int, size: int, said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    main_process._tell_of_steps(n, size)
    assert re.search(said, caplog.text) if said else not caplog.text
