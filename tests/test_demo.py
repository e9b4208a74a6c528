"""The demo photographs: repeatable, unequal, and told apart by the defect alone."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from seedsweep.data import demo
from seedsweep.data.demo import CLASSES, demo_counts, ensure_demo, render_seed


@pytest.fixture(scope="module")
def photographs() -> list[tuple[int, np.ndarray]]:
    return [
        (label, render_seed(name, np.random.default_rng([7, label, number])))
        for label, name in enumerate(CLASSES)
        for number in range(demo_counts(210)[name])
    ]


def test_seven_unequal_classes():
    counts = demo_counts(1400)
    assert len(counts) == 7
    assert sum(counts.values()) == 1400
    assert max(counts.values()) > 3 * min(counts.values())
    assert min(demo_counts(70).values()) >= 5


def test_the_same_seed_draws_the_same_bytes():
    for name in CLASSES:
        first, again, other = (render_seed(name, np.random.default_rng(s)) for s in (1, 1, 2))
        assert first.dtype == np.uint8
        assert first.shape[2] == 3
        assert first.tobytes() == again.tobytes() != other.tobytes()


def shortcut_accuracy(features: list, labels: list) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return float(cross_val_score(model, np.asarray(features), labels, cv=5).mean())


def test_mean_colour_alone_does_not_tell_the_class(photographs):
    labels = [label for label, _ in photographs]
    accuracy = shortcut_accuracy([image.mean((0, 1)) for _, image in photographs], labels)
    assert accuracy < 0.6


def test_size_alone_does_not_tell_the_class(photographs):
    labels = [label for label, _ in photographs]
    assert len({image.shape for _, image in photographs}) > 100
    assert shortcut_accuracy([image.shape[:2] for _, image in photographs], labels) < 0.35


def test_drawn_once_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def dies(*_: object) -> np.ndarray:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(demo, "render_seed", dies)
        with pytest.raises(KeyboardInterrupt):
            ensure_demo(tmp_path, 70, 0)
    assert not list((tmp_path / "demo").iterdir())
    folder = ensure_demo(tmp_path, 70, 0)
    files = sorted(folder.rglob("*.jpg"))
    assert len(files) == 70
    stamps = [file.stat().st_mtime_ns for file in files]
    assert ensure_demo(tmp_path, 70, 0) == folder
    assert stamps == [file.stat().st_mtime_ns for file in files]
    assert [p.name for p in (tmp_path / "demo").iterdir()] == [folder.name]
