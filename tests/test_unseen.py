"""The accuracy that is likely on unseen photographs: on generated features whose truth is known, and in a run."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from test_image_audit import shapes

from seedsweep.cli.main import main
from seedsweep.diagnosis.out_of_fold import components
from seedsweep.diagnosis.unseen_photographs import answers_of, estimate
from seedsweep.runs.unseen import Unseen

CLASSES, EACH, SIZE = 3, 8, 24


def photographs(n: int, effect: float, rng: np.random.Generator):
    """Features, labels and photographs: each photograph holds one class, and moves all its images by ``effect``."""
    groups = np.repeat(np.arange(n), EACH)
    labels = groups % CLASSES
    x = rng.normal(size=(n * EACH, SIZE))
    x[:, :CLASSES] += 2.0 * np.eye(CLASSES)[labels]
    return (x + effect * rng.normal(size=(n, SIZE))[groups]).astype(np.float32), labels, groups


def told(effect: float, n: int = 60, seed: int = 0) -> tuple[Unseen, float]:
    """Returns what is told of a classifier trained on a random split, and its accuracy on fresh photographs."""
    rng = np.random.default_rng(seed)
    x, labels, groups = photographs(n, effect, rng)
    train = rng.random(len(x)) < 0.7
    run = LogisticRegression(C=0.01, max_iter=300).fit(x[train], labels[train])
    fresh, of_fresh, _ = photographs(2000, effect, rng)
    _, probe = answers_of(components(x), labels, [str(row) for row in range(len(x))], groups)
    right = run.predict(x[~train]) == labels[~train]
    found = estimate(probe, right, labels[~train], groups[~train], 1.0)
    return Unseen("photograph", "test", float(right.mean()), 1.0, **found), run.score(fresh, of_fresh)


@pytest.mark.parametrize("seed", range(4))
def test_a_planted_photograph_effect_is_told_within_its_interval(seed: int):
    found, truth = told(1.5, seed=seed)
    assert found.differs
    assert found.low <= truth <= found.high
    assert found.accuracy - truth > 0.04, "nothing was planted"
    assert abs(found.likely - truth) < found.accuracy - truth
    text = found.sentence
    assert f"About {100 * found.likely:.1f} % is likely on unseen photographs (95 % interval" in text
    assert f"over 60 photographs), not the {100 * found.accuracy:.1f} % of the test images." in text
    assert Unseen(**json.loads(json.dumps(asdict(found)))) == found


@pytest.mark.parametrize("seed", range(3))
def test_no_effect_is_no_difference(seed: int):
    found, truth = told(0.0, seed=seed)
    assert not found.differs
    assert not found.short
    assert "No difference beyond chance" in found.sentence
    assert found.low <= truth <= found.high


def test_a_run_that_learned_nothing_loses_nothing():
    rng = np.random.default_rng(0)
    x, labels, groups = photographs(60, 1.5, rng)
    _, probe = answers_of(components(x), labels, [str(row) for row in range(len(x))], groups)
    found = estimate(probe, labels == 0, labels, groups, 1.0)
    assert found["likely"] == pytest.approx(1 / 3)


def test_what_the_split_tears_in_part_costs_in_part():
    rng = np.random.default_rng(0)
    x, labels, groups = photographs(60, 1.5, rng)
    _, probe = answers_of(components(x), labels, [str(row) for row in range(len(x))], groups)
    right = rng.random(len(x)) < 0.9
    whole, part, none = (estimate(probe, right, labels, groups, torn)["likely"] for torn in (1.0, 0.5, 0.0))
    assert none == pytest.approx(right.mean())
    assert part == pytest.approx((whole + none) / 2, abs=1e-3)
    useless = replace(probe, seen=labels == 0)
    assert "no better than always" in estimate(useless, right, labels, groups, 1.0)["why_not"]


def test_a_run_tells_what_its_torn_photographs_are_worth(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    root = shapes(tmp_path / "data", 12)
    common = [
        "backbone=efficientnet_lite0", "data=folder", f"data.root={root}", "data.image_size=[32,32]",
        "trainer.max_epochs=1", "report.gradcam=0", f"paths.cache={tmp_path}/cache",
    ]  # fmt: skip
    run = tmp_path / "frozen"
    assert main(["+experiment=frozen_bn", *common, f"hydra.run.dir={run}"]) == 0
    found = Unseen(**json.loads((run / "metrics.json").read_text())["unseen"])
    assert found.torn == 1.0
    assert found.likely is not None
    assert found.setting.startswith("data.group_regex=")
    assert "100% of the test images have a part of their photograph in training" in capfd.readouterr().out
    assert len(list((tmp_path / "cache" / "unseen").iterdir())) == 1

    again = tmp_path / "grouped"
    assert main(["+experiment=frozen_bn", *common, found.setting, f"hydra.run.dir={again}"]) == 0
    assert json.loads((again / "metrics.json").read_text())["unseen"] is None

    online = tmp_path / "online"
    assert main(["+experiment=frozen_bn", *common, "features=off", f"hydra.run.dir={online}"]) == 0
    blind = Unseen(**json.loads((online / "metrics.json").read_text())["unseen"])
    assert blind.likely is None
    assert (
        "can't be told: that needs stored features, and features=off (`features=auto` stores"
        in blind.sentence
    )
    assert blind.sentence.endswith(f"A run with `{blind.setting}` measures it.")
