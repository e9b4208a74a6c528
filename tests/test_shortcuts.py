"""Shortcuts: what is planted in one class is a fault, and what truly is the class is none."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from composed import config_of
from torch.nn.functional import avg_pool2d

from seedsweep.diagnosis.audited import FileFacts
from seedsweep.diagnosis.checks import photograph_split, shortcuts
from seedsweep.diagnosis.finding import Finding, Verdict
from seedsweep.diagnosis.opening import of_plan

N, SIDE, CLASSES = 180, 48, ["a", "b", "c"]
LABELS = np.arange(N) % 3
ONE = LABELS == 1


def pictures(seed: int = 0) -> np.ndarray:
    """Returns round objects on a grey ground of varying light, float [N, 3, SIDE, SIDE]; the class is their size."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    radius = 8 + 3 * LABELS + rng.normal(0, 1.5, N)
    inside = (np.hypot(x, y)[None] < radius[:, None, None])[:, None]
    ground = rng.uniform(150, 200, (N, 1, 1, 1)) + rng.normal(0, 3, (N, 3, SIDE, SIDE))
    object_ = rng.uniform(40, 130, (N, 3, 1, 1)) + rng.normal(0, 12, (N, 3, SIDE, SIDE))
    return np.where(inside, object_, ground)


def found(
    images: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    labels: np.ndarray = LABELS,
    files: list[FileFacts] | None = None,
    probe: float = 0.97,
) -> Finding:
    pixels = torch.from_numpy(images.clip(0, 255).astype(np.uint8))
    facts = SimpleNamespace(
        groups=[str(row // 2) for row in range(N)],
        table=SimpleNamespace(classes=CLASSES),
        files=files or [FileFacts(SIDE, SIDE, "JPEG RGB", 5.0)] * N,
        prepared=SimpleNamespace(pixels=SimpleNamespace(batch=lambda rows: pixels[torch.from_numpy(rows)])),
    )
    right = np.random.default_rng(0).random(N) < probe
    seen = SimpleNamespace(
        rows=np.arange(N), labels=labels, probabilities=np.eye(3)[np.where(right, labels, (labels + 1) % 3)]
    )
    monkeypatch.setattr(shortcuts, "_draw", lambda *_: None)
    monkeypatch.setattr(shortcuts, "TREES", 15)  # forests are most of these tests' time
    return shortcuts.check(SimpleNamespace(audited=facts, out_of_fold=seen), Path())


def bordered(images: np.ndarray) -> None:
    images[ONE, :, :2] += 40


def marked(images: np.ndarray) -> None:
    images[ONE, 0, 1:5, 1:5] = 255


def brighter(images: np.ndarray) -> None:
    images[ONE] = images[ONE] + 60


def blurred(images: np.ndarray) -> None:
    images[ONE] = avg_pool2d(torch.from_numpy(images[ONE]), 3, 1, 1, count_include_pad=False).numpy()


def noisier(images: np.ndarray) -> None:
    images[ONE] += np.random.default_rng(0).normal(0, 12, images[ONE].shape)


PLANTED = {
    bordered: "The colour of the 2 outer pixel rows alone tells b from all others",
    marked: "The colour of the corners alone tells b from all others",
    brighter: "The colour of the 2 outer pixel rows alone tells b from all others",
    blurred: "sharpness and noise alone tells",
    noisier: "sharpness and noise alone tells",
}


@pytest.mark.parametrize(
    "plant",
    [
        pytest.param(plant, marks=[] if plant is blurred else pytest.mark.slow, id=plant.__name__)
        for plant in PLANTED
    ],
)
def test_a_technical_cue_of_one_class_is_a_fault(plant: object, monkeypatch: pytest.MonkeyPatch):
    images = pictures()
    plant(images)
    finding = found(images, monkeypatch)
    assert finding.verdict is Verdict.FAULT
    assert PLANTED[plant].lower() in finding.sentence.lower()


@pytest.mark.parametrize(("left", "verdict"), [(3, Verdict.FAULT), (20, Verdict.SUSPECT)])
def test_a_mark_tells_its_class(left: int, verdict: Verdict, monkeypatch: pytest.MonkeyPatch):
    images = pictures()
    images[ONE, :, 20:24, left : left + 5] = np.array([200.0, 60.0, 90.0])[:, None, None]
    finding = found(images, monkeypatch)
    assert finding.verdict is verdict
    assert "one small place each alone tells b from all others" in finding.sentence.lower()


def test_another_quality_of_jpeg_is_a_fault(monkeypatch: pytest.MonkeyPatch):
    files = [FileFacts(SIDE, SIDE, "JPEG RGB", 20.0 if one else 5.0) for one in ONE]
    finding = found(pictures(), monkeypatch, files=files)
    assert finding.verdict is Verdict.FAULT
    assert "Kind of file and JPEG quality alone tells b from all others (AUC 1.000)" in finding.sentence


@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_objects_alone_are_no_shortcut(seed: int, monkeypatch: pytest.MonkeyPatch):
    assert found(pictures(seed), monkeypatch).verdict is Verdict.FINE


def test_on_black_there_is_nothing_to_tell(monkeypatch: pytest.MonkeyPatch):
    images = pictures()
    images[images > 145] = 0
    finding = found(images, monkeypatch)
    assert finding.verdict is not Verdict.FAULT
    aucs = {name: each for name, *each in finding.evidence["auc"]}
    assert max(aucs["the colour of the 2 outer pixel rows"]) < 0.65


def test_a_colour_that_is_the_class_is_no_fault(monkeypatch: pytest.MonkeyPatch):
    """Green beans: the object is green, the ground is not. Then, leaves that fill the picture, the edge with it."""
    images = pictures()
    inside = images[:, :1] < 145
    images[ONE] += np.where(inside[ONE], [[[0.0]], [[80.0]], [[0.0]]], 0)
    assert found(images, monkeypatch).verdict is not Verdict.FAULT
    rng = np.random.default_rng(0)
    images = rng.uniform(60, 120, (N, 3, 1, 1)) + rng.normal(0, 30, (N, 3, SIDE, SIDE))
    images[ONE, 1] += 90
    finding = found(images, monkeypatch)
    assert finding.verdict is Verdict.SUSPECT
    assert "If that is not what makes the class" in finding.sentence


def test_a_form_that_is_the_class_is_no_fault(monkeypatch: pytest.MonkeyPatch):
    """Stripes as wide as the object's parts: coarse detail tells the class as well as fine detail does."""
    images = pictures()
    inside = images[:, :1] < 145
    images[ONE] += np.where(inside[ONE], 50 * np.sign(np.sin(2 * np.pi * np.arange(SIDE) / 12)), 0)
    assert found(images, monkeypatch).verdict is not Verdict.FAULT


def test_edges_that_tell_all_classes_are_a_fault(monkeypatch: pytest.MonkeyPatch):
    """Each class on a ground of its own, of which a part looks like another's."""
    images, rng = pictures(), np.random.default_rng(0)
    images[:, :, :2] = (100 + 20 * LABELS + rng.normal(0, 4.5, N))[:, None, None, None]
    finding = found(images, monkeypatch)
    assert finding.verdict is Verdict.FAULT
    assert "outer pixel rows alone tells 9" in finding.sentence
    assert "of the images' classes, by photograph, the net's features 96%" in finding.sentence


def test_a_weak_probe_makes_no_fault(monkeypatch: pytest.MonkeyPatch):
    """Wrong labels bring the probe down to what any cue tells."""
    wrong = np.random.default_rng(1).random(N) < 0.5
    labels = np.where(wrong, np.random.default_rng(2).permutation(LABELS), LABELS)
    assert found(pictures(), monkeypatch, labels, probe=0.5).verdict is Verdict.FINE


REAL = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize(
    ("name", "regex", "least"),
    [("coffee", r"^(IMG_\d+)\d_\d+", 0.01), ("wheat", r"^(IMG_\d+_\d+)_\d+", 0.05)],
)
def test_real_photographs(
    name: str, regex: str, least: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A random split tears photographs apart; no cue of these files tells a class for certain."""
    monkeypatch.setattr(shortcuts, "_draw", lambda *_: None)
    line = [
        "backbone=efficientnet_lite0",
        "data=folder",
        f"data.root={REAL / name}",
        "data.image_size=[96,96]",
        "trainer.accelerator=cpu",
        "features.engine=torch",
    ]
    subject = of_plan(config_of(*line))
    leak = photograph_split.check(subject, tmp_path)
    assert leak.verdict is Verdict.FAULT
    assert leak.remedy == [f"data.group_regex='{regex}'"]
    assert leak.evidence["too_high"][1] > least
    assert shortcuts.check(subject, tmp_path).verdict is not Verdict.FAULT
    grouped = of_plan(config_of(*line, f"data.group_regex='{regex}'"))
    assert photograph_split.check(grouped, tmp_path).verdict is not Verdict.FAULT
