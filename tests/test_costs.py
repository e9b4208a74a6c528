"""Costs on generated features: intervals hold the truth, known by simulation; nothing is advised for nothing."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from composed import config_of
from numpy.typing import NDArray

from seedsweep.cli.config.schema import Config
from seedsweep.diagnosis import costs
from seedsweep.diagnosis.finding import Diagnosis, Finding, Verdict
from seedsweep.diagnosis.judged_parts import Part, Parts
from seedsweep.diagnosis.rehearsals import Rehearsals, rehearse
from seedsweep.diagnosis.remedy import apply, completed
from seedsweep.diagnosis.stored_features import FrozenFeatures

N_TRAIN, N_VAL, UNSEEN, EACH = 200, 80, 3000, 4  # images; EACH of a group
HEAD = [
    "head.width=0",
    "trainer.max_epochs=4",
    "data.batch_size=16",
    "optim.lr=1e-2",
    "preprocess=rescale_twice",
]
TO_FIX, TO_NO_USE = ["preprocess=auto"], ["head.label_smoothing=0.02"]


class Drawn:
    """Images of three classes, whose groups differ, and as many further ones as tell the truth."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        n = N_TRAIN + N_VAL + UNSEEN
        group = np.arange(n) // EACH
        labels = (group % 3).astype(np.int64)
        x = (
            1.6 * np.eye(3, 32)[labels]
            + rng.normal(0, 0.5, (group.max() + 1, 32))[group]
            + rng.normal(0, 0.5, (n, 32))
        )
        blurred = x + rng.normal(0, 3, x.shape)  # what the fault leaves of them
        self.blurred = torch.from_numpy(blurred.astype(np.float32))
        self.x, self.labels = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(labels)
        self.groups = [str(each) for each in group[: N_TRAIN + N_VAL]]
        self.parts = Parts.of_training(labels[: N_TRAIN + N_VAL], N_TRAIN, self.groups)
        self.rehearsals = Rehearsals(self.material(N_TRAIN + N_VAL))

    def material(self, n: int) -> Any:
        def features(config: Config) -> FrozenFeatures:
            x = (self.blurred if config.preprocess.rescale else self.x)[:n]
            return FrozenFeatures([x], x, N_TRAIN)

        return SimpleNamespace(
            n_train=N_TRAIN, labels=self.labels[:n], val_labels=self.labels[N_TRAIN : N_TRAIN + N_VAL], images=None,
            classes=["a", "b", "c"], features=features,
        )  # fmt: skip

    def truth(self, config: Config) -> NDArray[np.bool_]:
        """Trains as a run does; says which of all further images are classified correctly."""
        everything = self.material(len(self.x))
        rows = np.arange(len(self.x))
        part = Part(rows[:N_TRAIN], rows[N_TRAIN : N_TRAIN + N_VAL], rows[N_TRAIN + N_VAL :])
        made = rehearse(config, everything, everything.features(config), config.trainer.max_epochs, part)
        return made.predicted == self.labels.numpy()[part.judged]

    def judged(
        self, config: Config, remedy: list[str], folder: Path, verdict: Verdict = Verdict.FAULT
    ) -> Diagnosis:
        def correct(tried: Any) -> NDArray[np.float64]:
            return self.rehearsals.correct(tried, self.parts)

        labels = self.labels[N_TRAIN : N_TRAIN + N_VAL].numpy()
        subject: Any = SimpleNamespace(
            kind="plan", config=config, frozen_config=config, clean_config=config, is_repeated=True, is_rehearsed=True,
            val_acc=0.5, n_val=N_VAL, said=None, labels=lambda split: labels, parts=self.parts, correct=correct,
            own_correct=self.rehearsals.correct(config, self.parts, False), probe_correct=correct(config),
            backbone=SimpleNamespace(name="net"),
            prepared=SimpleNamespace(table=SimpleNamespace(classes=["a", "b", "c"])),
        )  # fmt: skip
        found = Finding("x", "X", verdict, "m", "X is so.", remedy=remedy)
        return costs.judge(subject, [found], folder)


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(costs, "draw_loss", lambda *_: None)


@pytest.mark.parametrize(("remedy", "helps"), [(TO_FIX, True), (TO_NO_USE, False)])
def test_printed_intervals_hold_the_true_gain(remedy: list[str], helps: bool, tmp_path: Path):
    composed = config_of(*HEAD)
    held, away, advised = [], [], []
    for seed in range(8):
        drawn, config = Drawn(seed), replace(composed, seed=100 * seed)
        made = drawn.judged(config, remedy, tmp_path)
        cost = made.findings[0].cost
        assert cost is not None
        true = drawn.truth(apply(config, remedy)).mean() - drawn.truth(config).mean()
        held.append(cost.low <= true <= cost.high)
        away.append(cost.value - true)
        advised.append(made.advice is not None)
        assert (made.advice is not None) == bool(made.findings[0].remedy) == (cost.low > 0)
        if made.advice is None:
            assert cost.low <= 0 <= cost.high
            assert ("can't tell" in made.headline) == (cost.high >= 0.01)
    assert sum(held) >= 7
    assert abs(np.mean(away)) < 0.03
    assert sum(advised) >= 7 if helps else sum(advised) <= 1


def test_an_interval_holds_another_run_on_other_images():
    """Groups and trainings differ; the images of another measurement are as many."""
    rng = np.random.default_rng(0)
    groups = np.arange(240) // 3
    parts = Parts.of_training(
        np.tile(np.arange(2), 160), 240, [*groups.astype(str), *(f"v{n}" for n in range(80))]
    )

    def measured() -> NDArray[np.float64]:
        shift = 0.05 + rng.normal(0, 0.2, 80)[groups] + rng.normal(0, 0.03, len(parts.of))[parts.numbers]
        return np.clip(np.round(shift + rng.normal(0, 0.4, 240)), -1, 1)

    again = [measured().mean() for _ in range(200)]
    intervals = [parts.interval(measured()) for _ in range(200)]
    held = np.mean([each.low <= other <= each.high for each, other in zip(intervals, again, strict=True)])
    assert 0.88 <= held <= 0.99
    assert intervals[0].over == "groups of images and seeds"


def test_equal_predictions_are_not_certain():
    parts = Parts.of_training(np.arange(100) % 2, 60, [str(n) for n in range(100)])
    found = parts.interval(np.zeros(60))
    assert found.low < -0.01
    assert found.high > 0.01


def test_a_choice_is_told_for_images_without_a_part_in_it():
    """Of many equal candidates the best on all images is lucky; a choice made elsewhere is not."""
    parts = Parts.of_training(np.arange(300) % 2, 200, [str(n) for n in range(300)])
    rng = np.random.default_rng(0)
    chosen, lucky = [], []
    for _ in range(20):
        candidates = (rng.random((10, 200)) < 0.7).astype(np.float64)
        chosen.append(parts.best_elsewhere(candidates).mean())
        lucky.append(candidates.mean(1).max())
        assert chosen[-1] <= lucky[-1]
    assert np.mean(chosen) == pytest.approx(0.7, abs=0.02)
    assert np.mean(lucky) > 0.74


@pytest.mark.parametrize("arm", ["+experiment=finetune_bn", "+experiment=frozen_bn"])
def test_what_is_printed_is_what_was_tried(arm: str):
    config = config_of(arm, "augment=light", "optim.lr=1e-5", "trainer.max_epochs=3")
    remedy = ["backbone.freeze=true", "batchnorm=inference", "optim.lr=1e-3"]
    tried = apply(config, ["augment=none", *remedy, "trainer.max_epochs=25"])
    printed = completed(remedy, config, tried)
    assert apply(config, printed) == tried
    assert "trainer.max_epochs=25" in printed
