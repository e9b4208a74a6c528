"""Choices of a study of any kind: lists, null, true, texts that look like numbers."""

from pathlib import Path

import optuna
import pytest
import study_stub
from study_stub import Arm, result, run, study

from seedsweep.errors import SeedsweepError
from seedsweep.study.options import ParamConfig
from seedsweep.study.space import grid, suggest

arm = study_stub.arm  # the fixture
KINDS = {
    "data.image_size": "[[48,48],[64,64]]",
    "backbone.train_from": "[null,'0.7','1e5',layer4]",
    "trainer.channels_last": "[true,false]",
    "augment.shift": "[[0,0],[0.1,0.2]]",
    "report": "[{gradcam: 1},{gradcam: 2}]",
    "batchnorm": "[train,inference]",
}


@pytest.mark.parametrize(
    ("sampler", "key"),
    [
        pytest.param(sampler, key, marks=[] if (number + swap) % 2 == 0 else pytest.mark.slow)
        for swap, sampler in enumerate(("tpe", "grid"))
        for number, key in enumerate(KINDS)
    ],
)
def test_every_kind_of_choice_comes_to_a_winner(sampler: str, key: str, arm: Arm, in_tmp: Path):
    space = [f"~study.space.{name}" for name in ("lr", "dropout", "width")]
    if key == "backbone.train_from":
        space.append("backbone.freeze=false")
    line = f"+study.space.it={{key: {key}, choices: {KINDS[key]}}}"
    assert run(*space, line, "study.first=[]", f"sampler={sampler}", n=5) == 0
    assert len(result()["finalists"]) == 1
    assert all(trial.state == optuna.trial.TrialState.COMPLETE for trial in study().trials)
    best = Path("outputs/studies/s/conf/experiment/best_of_s.yaml").read_text()
    assert "name: best_of_s" in best
    if key == "data.image_size":
        assert {tuple(config.data.image_size) for config in arm.calls} == {(48, 48), (64, 64)}
    if key == "backbone.train_from" and sampler == "grid":
        assert {config.backbone.train_from for config in arm.calls} == {None, "0.7", "1e5", "layer4"}


def test_a_trial_may_begin_with_a_list(arm: Arm, in_tmp: Path):
    line = "+study.space.it={key: data.image_size, choices: [[48,48],[64,64]]}"
    first = "study.first=[['data.image_size=[64,64]']]"
    assert run(line, first, n=1) == 0
    assert list(arm.calls[0].data.image_size) == [64, 64]


def test_a_condition_may_be_a_list():
    size = ParamConfig(key="data.image_size", choices=[[48, 48], [64, 64]])
    width = ParamConfig(key="head.width", low=1, high=9, integer=True, when="data.image_size=[64,64]")
    drawn = [suggest(optuna.trial.FixedTrial({"data.image_size": f"[{n},{n}]", "head.width": 3}), [size, width])
             for n in (48, 64)]  # fmt: skip
    assert drawn == [["data.image_size=[48,48]"], ["data.image_size=[64,64]", "head.width=3"]]


def test_choices_that_python_takes_for_equal_are_told_apart():
    mixed = ParamConfig(key="x", choices=[1, True, "1", 1.0, None, "null"])
    drawn = [suggest(optuna.trial.FixedTrial(start.fixed), [mixed]) for start in grid([mixed], 0)]
    assert sorted(line for (line,) in drawn) == ['x="1"', 'x="null"', "x=1", "x=1.0", "x=null", "x=true"]


def test_a_choice_that_stands_twice_is_refused():
    with pytest.raises(SeedsweepError, match="twice"):
        ParamConfig(key="x", choices=[[1, 2], [1, 2]])
