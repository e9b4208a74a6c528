"""A setting that keeps a head from what its features tell is named, and not the learning rate in its place."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from composed import config_of

from seedsweep.diagnosis.checks import head, learning_rate
from seedsweep.diagnosis.finding import Verdict
from seedsweep.diagnosis.probes import fit_probe
from seedsweep.diagnosis.rehearsals import Rehearsals
from seedsweep.diagnosis.stored_features import FrozenFeatures

N_TRAIN, N, CLASSES = 320, 640, ["a", "b", "c", "d"]


def subject(*overrides: str) -> SimpleNamespace:
    """Returns a plan whose features, of 64 numbers, tell four classes nearly always."""
    config = config_of("head.width=32", "trainer.max_epochs=25", *overrides)
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 4, N))
    features = torch.from_numpy(rng.normal(0, 1, (4, 64))[labels] + rng.normal(0, 2.2, (N, 64))).float()
    stored = FrozenFeatures([features], features, N_TRAIN)
    material = SimpleNamespace(
        n_train=N_TRAIN,
        labels=labels,
        train_labels=labels[:N_TRAIN],
        val_labels=labels[N_TRAIN:],
        classes=CLASSES,
        images=None,
        features=lambda _: stored,
    )
    probe = fit_probe(stored.train, material.train_labels, stored.val, material.val_labels, 4)
    rehearse = Rehearsals(material).whole  # type: ignore[arg-type]
    return SimpleNamespace(
        is_frozen=True, config=config, clean_config=config, material=material, probe=probe, rehearse=rehearse,
        epochs=[], val_acc=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "title", "remedy"),
    [
        (["trainer.max_epochs=1", "optim.lr=3e-3"], "Epochs", "trainer.max_epochs=40"),
        (["data.batch_size=320", "optim.lr=1e-3"], "Batch size", "data.batch_size=32"),
        (["head.dropout=0.97"], "Dropout", "head.dropout=0"),
        (["optim=adamw", "optim.weight_decay=300"], "Weight decay", "optim.weight_decay=0"),
        (["head.width=1"], "Units of the head", "head.width=1024"),
        (["head.dropout=0.3"], None, None),
        ([], None, None),
    ],
)
def test_one_setting(
    overrides: list[str],
    title: str | None,
    remedy: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(learning_rate, "_draw", lambda *_: None)
    plan = subject(*overrides)
    found = head.check(plan, tmp_path)  # type: ignore[arg-type]
    assert (found.verdict is Verdict.FAULT) == (title is not None), found.sentence
    assert found.title == (title or "Head and its training")
    assert found.remedy == ([remedy] if remedy else [])
    rate = learning_rate.check(plan, tmp_path)  # type: ignore[arg-type]
    assert rate.verdict is Verdict.FINE, rate.sentence


@pytest.mark.parametrize(
    ("overrides", "verdict"),
    [(["optim.lr=1e-6"], Verdict.FINE), (["optim.lr=5e-5", "trainer.max_epochs=5"], Verdict.SUSPECT)],
)
def test_the_rate_is_no_setting_of_the_head(
    overrides: list[str], verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(learning_rate, "_draw", lambda *_: None)
    plan = subject(*overrides)
    assert learning_rate.check(plan, tmp_path).verdict is Verdict.FAULT  # type: ignore[arg-type]
    assert head.check(plan, tmp_path).verdict is verdict  # type: ignore[arg-type]


def test_a_net_that_is_trained_is_not_judged(tmp_path: Path):
    found = head.check(SimpleNamespace(is_frozen=False), tmp_path)  # type: ignore[arg-type]
    assert found.verdict is Verdict.UNKNOWN
