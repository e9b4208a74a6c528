"""The end of a study, with a stub in the place of training: finalists, the winner, its file."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import study_stub
from omegaconf import OmegaConf
from study_stub import ALL, SCORES, Arm, result, run, study

from seedsweep.cli.config.schema import Config
from seedsweep.cli.main import main
from seedsweep.study import close
from seedsweep.study.main_process import Progress
from seedsweep.study.reevaluation import Finalist
from seedsweep.training import run as training

arm = study_stub.arm  # the fixture


def test_the_winner_runs_as_it_is(arm: Arm) -> None:
    assert run(*ALL, n=4) == 0
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


@pytest.mark.parametrize("better", [pytest.param(False, marks=pytest.mark.slow), True])
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
    assert run(*ALL, "study.finalists=1", n=5) == 0
    earlier, known = result()["winner"]["trial"], {trial.params["optim.lr"] for trial in study().trials}
    assert result()["winner"]["test"]["met_before_by"] == []
    assert "on the test images, met once" in capsys.readouterr().out
    goal, fresh = arm.goal, 0.05 if better else -0.5
    more = lambda config: 0 if config.optim.lr in known else 0.2 if config.seed == 1 else fresh  # noqa: E731
    monkeypatch.setattr(arm, "goal", lambda config: goal(config) + more(config))
    assert run(*ALL, "study.finalists=1", n=9) == 0
    found = result()
    assert sorted(finalist["trial"] < 5 for finalist in found["finalists"]) == [False, True, True]
    assert all(len(finalist["values"]) == 3 for finalist in found["finalists"])
    assert (found["winner"]["trial"] >= 5) == better
    assert found["winner"]["test"]["met_before_by"] == ([earlier] if better else [])
    assert ("which earlier winners met, too" in capsys.readouterr().out) == better


def test_a_deleted_study_leaves_no_finalists(arm: Arm) -> None:
    assert run("study.finalists=3", n=6) == 0
    lock = Path("outputs/studies/s/study.journal.lock")
    assert not lock.exists(), "Optuna alone would wait for whoever holds it"
    optuna.delete_study(study_name="s", storage=study()._storage)
    assert run("study.finalists=3", n=3) == 0
    assert all(finalist["trial"] < 3 for finalist in result()["finalists"])


def test_a_setting_is_a_finalist_once(arm: Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later trial of the same setting that was worth a little more is no other finalist."""
    space = ["~study.space.lr", "~study.space.dropout", "~study.space.width"]
    space += ["+study.space.only={key: optim.lr, choices: [1e-4]}", "study.first=[]"]
    options = [*space, "sampler=random"]
    assert run(*options, n=1) == 0
    goal = arm.goal
    monkeypatch.setattr(arm, "goal", lambda config: goal(config) + 0.01)
    assert run(*options, n=3) == 0
    assert [finalist["trial"] for finalist in result()["finalists"]] == [0]


def test_one_seed_has_no_spread(arm: Arm, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(n=1) == 0
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


def test_a_failed_re_evaluation_is_called_by_its_trial() -> None:
    attrs = {"slot": 3001, "of": 3, "reason": "no memory", "overrides": ["optim.lr=0.001", "seed=1002"]}
    failed = optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs=attrs)
    line = Progress._line(SimpleNamespace(), failed)  # type: ignore[arg-type]
    assert line == "again: trial 3 failed: no memory  (optim.lr=0.001, seed=1002)"
