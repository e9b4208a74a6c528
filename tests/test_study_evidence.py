"""Trials that end by their evidence, winners at the edge of the space, and what a choice among many is worth."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import study_stub
from study_stub import Arm, result, run, study

from seedsweep.stats.scores import loss_of_frequencies
from seedsweep.stats.selection import Candidate, of_chosen
from seedsweep.study.edges import edges_of
from seedsweep.study.evidence import Hopeless
from seedsweep.study.options import StudyConfig

arm = study_stub.arm  # the fixture
FREQUENT = loss_of_frequencies({"a": 3, "b": 1})


def test_the_loss_of_frequencies_is_ln_of_equal_classes() -> None:
    assert loss_of_frequencies(dict.fromkeys("abcd", 5)) == pytest.approx(math.log(4))
    assert pytest.approx(0.5623, abs=1e-4) == FREQUENT
    assert loss_of_frequencies({"a": 3, "b": 1}, smoothing=1.0) == pytest.approx(math.log(2))


def curve(train: list[float], val: list[float], recalls: tuple[float, float]) -> list[dict[str, float]]:
    return [
        {"epoch": n, "train/loss": t, "val/loss": v, "val/recall/a": recalls[0], "val/recall/b": recalls[1]}
        for n, (t, v) in enumerate(zip(train, val, strict=True))
    ]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (curve([0.57, 0.565, 0.563, 0.562], [0.56] * 4, (1, 0)), "it learned nothing in 4 epochs"),
        (curve([9.0, 40.0, 12.0, 30.0], [9.0] * 4, (0.5, 0.5)), "it learned nothing in 4 epochs"),
        (curve([0.6, 0.58, 0.56, 0.54], [0.6, 0.59, 0.58, 0.57], (1, 0)), None),  # fast enough
        (curve([0.57, 0.56, 0.56], [0.56] * 3, (1, 0)), None),  # too few epochs
        (curve([0.5, 0.4, 0.3, 0.2], [0.8, 0.9, 1.0, 1.1], (1, 0)), "all validation images got one answer in 4"),
        (curve([0.5, 0.4, 0.3, 0.2], [0.8, 0.7, 0.6, 0.5], (1, 0)), None),  # statistics that still catch up
        (curve([0.5, 0.4, 0.3, 0.2], [0.8, 0.9, 1.0, 1.1], (0.9, 0.1)), None),
    ],
)  # fmt: skip
def test_evidence(rows: list[dict[str, float]], says: str | None) -> None:
    found = Hopeless(FREQUENT, max_epochs=12).reason(rows)
    assert found is None if says is None else found is not None and found.startswith(says)
    assert Hopeless(FREQUENT, max_epochs=12, warmup=2).reason(rows) is None


def test_a_trial_ends_by_its_evidence(arm: Arm, capsys: Any) -> None:
    """Rates below 3e-5 learn nothing: such trials end after four epochs, and the table says why."""
    arm.more = lambda config: {"train/loss": 0.57 if config.optim.lr < 3e-5 else 0.3, "val/loss": 0.5}
    assert run("trainer.max_epochs=8", n=8) == 0
    trials = study().trials
    ended = [t for t in trials if t.params["optim.lr"] < 3e-5]
    assert ended
    assert {t.state.name for t in ended} == {"PRUNED"}
    assert all(
        t.user_attrs["epochs"] == 4 and "learned nothing in 4 epochs" in t.user_attrs["reason"] for t in ended
    )
    assert {t.state.name for t in trials if t not in ended} == {"COMPLETE"}
    assert result()["ended_by_evidence"] == len(ended)
    said = capsys.readouterr().out
    assert f"{len(ended)} ended" in said
    assert "ended: trial" in said
    with Path("outputs/studies/s/trials.csv").open() as file:
        assert [row["state"] for row in csv.DictReader(file)].count("ended") == len(ended)


def test_a_study_at_the_edge_says_what_to_type(
    arm: Arm, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The higher the rate the better, up to the end of the space."""
    monkeypatch.setattr(arm, "goal", lambda c: 0.9 + 0.1 * math.log10(c.optim.lr) - 0.001 * c.head.dropout)
    assert run("sampler=grid", "~study.space.width", n=16) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "The best optim.lr, 1e-3, lies at the edge of the space (1e-5 to 1e-3)" in said
    assert "study.space.lr.high=3e-3 would search further" in said
    assert [edge["key"] for edge in result()["edges"]] == ["optim.lr"]


def param(**given: Any) -> StudyConfig:
    return StudyConfig(space={"x": {"key": "a.b", **given}})


LR = {"low": 1e-5, "high": 1e-3, "log": True}


@pytest.mark.parametrize(
    ("given", "values", "widen"),
    [
        (LR, [9e-4, 8e-4, 1e-3, 2e-4], "high=3e-3"),
        (LR, [9e-4, 2e-5, 3e-5, 1e-3], None),  # the others that are good lie elsewhere
        (LR, [8.2e-4, 2.7e-4, 1e-4], "high=3e-3"),  # half of them on its side
        (LR, [1e-4, 1e-3, 1e-3], None),
        (LR, [1.1e-5, 1e-5, 2e-5], "low=3.3e-6"),
        ({"low": 0.0, "high": 0.7}, [0.69, 0.7, 0.6], "high=0.88"),  # more is no share that can be dropped
        ({"low": 0.0, "high": 0.7}, [0.0, 0.01, 0.1], None),
        ({"low": 32, "high": 256, "log": True, "integer": True}, [250, 200, 256], "high=768"),
        ({"choices": [16, 32, 64]}, [64, 64, 32], "choices=[16,32,64,128]"),
        ({"choices": [16, 32, 64]}, [64, 16, 32], None),
        ({"choices": ["adam", "sgd"]}, ["sgd", "sgd", "sgd"], None),
    ],
)
def test_edges(given: dict[str, Any], values: list[Any], widen: str | None) -> None:
    works = lambda line: 0 <= float(line.partition("=")[2]) < (0.9 if given.get("high") == 0.7 else 1e9)  # noqa: E731
    found = edges_of(param(**given), [{"a.b": value} for value in values], works)
    assert [edge.widen for edge in found] == ([f"study.space.x.{widen}"] if widen else [])


def test_the_best_of_many_equals_is_worth_their_mean() -> None:
    """Forty nets that are right four times in five: the luckiest of them is no better, and a better one stays so."""
    random = np.random.default_rng(0)
    labels, found = np.zeros(200, int), []
    for _ in range(20):
        runs = (random.random((40, 200)) > 0.8).astype(int)
        winner = int((runs == 0).mean(1).argmax())
        found.append(of_chosen(labels, [Candidate(run) for run in runs], winner, few=1))
    here, unseen = (np.mean([getattr(each, name).value for each in found]) for name in ("here", "unseen"))
    assert here > 0.85
    assert unseen == pytest.approx(0.8, abs=0.015)
    runs[7] = random.random(200) > 0.95
    clear = of_chosen(labels, [Candidate(run) for run in runs], 7, few=1)
    assert clear is not None
    assert clear.here.value - clear.unseen.value < 0.005
    assert clear.unseen.low < clear.unseen.value < clear.unseen.high
    assert of_chosen(labels[:5], [Candidate(run[:5]) for run in runs], 7, few=1) is None
