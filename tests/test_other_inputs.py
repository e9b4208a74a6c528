"""Images that are too small, or squashed, are found by a probe on other sizes; those that are in order are not."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from composed import config_of
from PIL import Image
from tiny_net import tiny_net

from seedsweep.diagnosis.checks import augmentation, image_size, imbalance, learning_rate, weights
from seedsweep.diagnosis.finding import Finding, Verdict
from seedsweep.diagnosis.opening import of_plan
from seedsweep.diagnosis.other_inputs import Sample, Tried
from seedsweep.diagnosis.probes import fit_probe
from seedsweep.stats import compare

N = 60  # images of a class


def written(folder: Path, width: int, stripe: int) -> Path:
    """Writes noisy images, 128 pixels high, of two classes: one has vertical stripes, or is brighter (stripe 0)."""
    rng = np.random.default_rng(0)
    for label in (0, 1):
        (folder / "ab"[label]).mkdir(parents=True)
        for number in range(N):
            image = rng.normal(120, 8, (128, width, 3)) + rng.normal(0, 6)
            if not stripe:
                image += 40 * label
            elif label:
                image += np.where((np.arange(width) + rng.integers(stripe)) // stripe % 2, 25, -25)[:, None]
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / "ab"[label] / f"{number}.png")
    return folder


def plan(folder: Path, *overrides: str) -> Any:
    return of_plan(config_of(*tiny_net(), "data=folder", f"data.root={folder}", *overrides))


def findings(folder: Path, size: str) -> dict[str, Finding]:
    found = image_size.check(plan(folder, f"data.image_size={size}"), folder)
    return {each.title: each for each in found}


@pytest.mark.parametrize(
    ("width", "stripe", "size", "title", "remedy"),
    [
        (128, 1, "[32,32]", "Image size", ["data.image_size=[96,96]"]),
        (256, 4, "[96,32]", "Shape of the images", ["data.image_size=[39,78]"]),
        (128, 0, "[32,32]", None, None),
    ],
)
def test_small_and_squashed_images(
    width: int, stripe: int, size: str, title: str | None, remedy: list[str] | None, tmp_path: Path
):
    found = findings(written(tmp_path / "images", width, stripe), size)
    assert list(found) == ["Shape of the images", "Image size"]
    wrong = {name: each for name, each in found.items() if each.verdict is not Verdict.FINE}
    assert list(wrong) == ([title] if title else [])
    for each in wrong.values():
        assert each.verdict is Verdict.FAULT
        assert each.remedy == remedy
        assert each.cost is not None
        assert each.cost.low > 0.05


@pytest.mark.parametrize(("strength", "verdict"), [(1.0, Verdict.FAULT), (0.1, Verdict.FINE)])
def test_augmentation_that_hides_the_class(strength: float, verdict: Verdict, tmp_path: Path):
    """The class is the brightness, which the augmentation changes."""
    images = written(tmp_path / "images", 128, 0)
    subject = plan(images, "data.image_size=[32,32]", f"augment.brightness={strength}")
    found = augmentation.check(subject, tmp_path)
    assert found.verdict is verdict, found.sentence
    assert found.remedy == (["augment=none"] if verdict is Verdict.FAULT else [])


def tried(gain: int) -> Tried:
    """Returns what 200 images show of which ``gain`` more are right."""
    before = np.arange(200) < 100
    after = np.arange(200) < 100 + gain
    return Tried(before.mean(), after.mean(), compare(after, before), 200)


def sampled(gain: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = SimpleNamespace(
        config=SimpleNamespace(backbone=None), pixels=list, passed=lambda *_: None, as_they_are=lambda: None,
        compare=lambda *_: tried(gain),
    )  # fmt: skip
    monkeypatch.setattr(Sample, "of", lambda *_: sample)


@pytest.mark.parametrize(
    ("kind", "freeze", "gain", "verdict"),
    [
        ("none", True, 40, Verdict.FAULT),
        ("none", True, 0, Verdict.SUSPECT),
        ("none", False, 40, Verdict.FINE),
        ("auto", True, 40, Verdict.FINE),
    ],
)
def test_frozen_random_weights(
    kind: str, freeze: bool, gain: int, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
):
    sampled(gain, monkeypatch)
    for name in ("replace", "backbone_as_set", "feature_net"):
        monkeypatch.setattr(weights, name, lambda *_, **__: None)
    backbone = SimpleNamespace(weights=kind, freeze=freeze, train_from=None)
    pretrained = SimpleNamespace(backbone=SimpleNamespace(weights="auto"))
    subject: Any = SimpleNamespace(
        config=SimpleNamespace(backbone=backbone, seed=1), clean_config=pretrained,
        backbone=SimpleNamespace(weights=SimpleNamespace(source="file")),
    )  # fmt: skip
    found = weights.check(subject, Path())
    assert found.verdict is verdict
    assert ("random weights: what the net sees was never learned" in found.sentence) == (
        kind == "none" and freeze
    )


@pytest.mark.parametrize(
    ("acc", "gain", "moved", "verdict", "said"),
    [
        (0.2, 60, "falling", Verdict.FAULT, "too high, and has spoilt the weights"),
        (0.2, 0, "no_progress", Verdict.FAULT, "too low, or the epochs are too few"),
        (0.2, 0, "falling", Verdict.UNKNOWN, "only a training can tell"),
        (0.8, 60, "falling", Verdict.FINE, "is in order"),
    ],
)
def test_the_rate_of_a_net_that_is_trained(
    acc: float, gain: int, moved: str, verdict: Verdict, said: str, monkeypatch: pytest.MonkeyPatch
):
    sampled(gain, monkeypatch)
    monkeypatch.setattr(learning_rate, "FeatureNet", lambda *_: None)
    subject: Any = SimpleNamespace(
        config=SimpleNamespace(optim=SimpleNamespace(lr=0.02)), probe=SimpleNamespace(acc=0.8), val_acc=acc, n_val=200,
        net=SimpleNamespace(preprocess=None, backbone=None), epochs=[{"val/loss": 2.0}],
        clean_config=SimpleNamespace(backbone=SimpleNamespace(weights="auto")),
        material=SimpleNamespace(classes=["a", "b", "c"]),
    )  # fmt: skip
    found = learning_rate._of_training(subject, moved)
    assert found[0] is verdict
    assert said in found[1]
    assert (
        "The lowest validation loss is 2.00; giving all 3 classes the same probability costs 1.10" in found[1]
    )


def test_what_few_images_cost_is_shown_by_larger_classes():
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(np.concatenate([np.repeat([0, 1, 2], [3, 60, 60]), rng.integers(0, 3, 150)]))
    features = torch.from_numpy(3 * np.eye(3)[labels] + rng.normal(0, 1, (len(labels), 3))).float()
    train, val, n = features[:123], features[123:], 3
    material = SimpleNamespace(train_labels=labels[:123], val_labels=labels[123:], classes=["a", "b", "c"])
    probe = fit_probe(train, labels[:123], val, labels[123:], n)
    subject: Any = SimpleNamespace(
        material=material, clean=SimpleNamespace(train=train, val=val), probe=probe
    )
    cost = imbalance.cost_of_few(subject, 3)
    assert cost is not None
    assert cost.low > 0.1
    assert imbalance.cost_of_few(subject, 50) is None  # no class has three times as many
