"""Validation that does not look like training, or is named otherwise, is told before anything is measured with it."""

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from composed import config_of
from PIL import Image, ImageEnhance

from seedsweep.cli.config.schema import Config
from seedsweep.diagnosis import costs
from seedsweep.diagnosis.beside_training import measure as measure_images
from seedsweep.diagnosis.checks import duplicates, overfitting, photograph_split
from seedsweep.diagnosis.checks.validation_labels import measure as measure_labels
from seedsweep.diagnosis.finding import MOVES, VALIDATION, Diagnosis, Finding, Verdict
from seedsweep.diagnosis.judged_parts import Parts
from seedsweep.diagnosis.opening import of_plan
from seedsweep.diagnosis.part_of_training import drawn_part, renamings, told_apart, units_of
from seedsweep.diagnosis.plain_statistics import NAMES, plain_statistics
from seedsweep.diagnosis.run_checks import diagnose, found_checks
from seedsweep.stats.interval import Interval

N, HELD, CLASSES = 300, 80, 4


def planted(seed: int) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray]:
    """Features [n, 24] of photographs of ten images each , labels, photographs and which is held."""
    rng = np.random.default_rng(seed)
    n = N + HELD
    labels = rng.integers(0, CLASSES, n)
    photographs = np.arange(n) // 10
    features = rng.normal(size=(n, 24)) + 4 * np.eye(CLASSES, 24)[labels]
    features += rng.normal(size=(photographs.max() + 1, 24))[photographs]
    return features, labels, [f"p{each}" for each in photographs], np.arange(n) >= N


def images_of(features: np.ndarray, labels: np.ndarray, groups: list[str], held: np.ndarray) -> Verdict:
    plain = np.random.default_rng(1).normal(size=(len(features), len(NAMES)))
    found = measure_images(features, plain, labels, units_of(groups, held), held)
    assert found is not None
    return found.verdict


@pytest.mark.parametrize("seed", range(4))
def test_photographs_differ_and_are_no_fault(seed: int):
    features, labels, groups, held = planted(seed)
    assert images_of(features, labels, groups, held) is Verdict.FINE
    assert measure_labels(features, labels, N, groups[:N], CLASSES).verdict is Verdict.FINE
    features[held, 10] += 8
    assert images_of(features, labels, groups, held) is Verdict.FAULT
    assert measure_labels(features, labels, N, groups[:N], CLASSES).renamed == []


def test_other_shares_of_the_classes_are_no_other_images():
    features, labels, groups, held = planted(0)
    scores = 3.0 * (labels == 1) + np.random.default_rng(0).normal(size=len(labels))
    kept = ~held | (labels == 1)  # validation holds one class only
    assert told_apart(scores[kept], held[kept], labels[kept]) < 0.6
    shuffled = np.random.default_rng(0).permutation(labels[held])
    assert images_of(features, np.r_[labels[:N], shuffled], groups, held) is Verdict.FINE


@pytest.mark.parametrize(
    ("names", "renamed"),
    [
        ((1, 2, 3, 0), {(0, 3), (1, 0), (2, 1), (3, 2)}),  # one class off
        ((0, 2, 1, 3), {(1, 2), (2, 1)}),
    ],
)
def test_exchanged_names_are_told_by_class(names: tuple[int, ...], renamed: set[tuple[int, int]]):
    features, labels, groups, held = planted(3)
    labels[held] = np.asarray(names)[labels[held]]
    meaning = measure_labels(features, labels, N, groups[:N], CLASSES)
    assert meaning.verdict is Verdict.FAULT
    assert {pair for each in meaning.renamed for pair in each.names} == renamed
    assert meaning.control > 0.8 > meaning.acc


def test_labels_at_random_are_no_exchange_of_names():
    features, labels, groups, held = planted(4)
    labels[held] = np.random.default_rng(0).permutation(labels[held])
    meaning = measure_labels(features, labels, N, groups[:N], CLASSES)
    assert meaning.verdict is Verdict.FAULT
    assert meaning.renamed == []
    assert meaning.disorder > 0.5
    assert meaning.agreement == pytest.approx(meaning.at_random, abs=0.12)


def test_classes_that_the_probe_takes_for_others_are_no_exchange():
    labels = np.repeat([0, 1, 2], 20)
    assert renamings(labels, labels, 3) == []
    predicted = np.where(np.arange(60) % 20 < 12, labels, 0)  # 0 swallows a part of the others
    assert renamings(labels, predicted, 3) == []


def test_units_lie_on_one_side_whole():
    held = np.asarray([False, False, True, True, True])
    units = units_of(["a", "b", "b", "c", "c"], held)
    assert units[3] == units[4]
    assert len(set(units.tolist())) == 4  # the torn photograph is two images
    part = drawn_part(np.arange(100) // 10, 30, np.random.default_rng(0))
    assert part.sum() == 30
    assert part.reshape(10, 10).any(1).sum() == 3


def test_plain_statistics_have_their_names():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 3, 8, 8)).astype(np.uint8)
    fine = rng.integers(0, 256, (6, 3, 32, 32)).astype(np.uint8)
    sides = np.tile([64.0, 32.0], (6, 1))
    of = dict(zip(NAMES, plain_statistics(coarse.repeat(4, 2).repeat(4, 3), sides).mean(0), strict=True))
    sharp = dict(zip(NAMES, plain_statistics(fine, sides).mean(0), strict=True))
    dark = dict(zip(NAMES, plain_statistics(fine // 4, sides).mean(0), strict=True))
    assert sharp["sharpness"] > of["sharpness"] + 0.3
    assert dark["brightness"] < sharp["brightness"] - 1
    assert dark["sharpness"] == pytest.approx(sharp["sharpness"], abs=0.1)
    assert of["shape"] == pytest.approx(np.log(2))


def test_causes_come_before_symptoms():
    order = [module.CHECK.name for module in found_checks()]
    assert order[:2] == list(VALIDATION)
    assert order[-2:] == ["overfitting", "baselines"]
    assert (
        order.index("label_errors")
        < order.index("duplicates")
        < order.index("shortcuts")
        < order.index("scaling")
    )
    assert order.index("scaling") < order.index("batchnorm") < order.index("learning_rate")


def judged(tmp_path: Path, *findings: Finding, settings: Sequence[Config] = ()) -> Diagnosis:
    own, used = settings or (config_of("backbone.freeze=false"), config_of())
    labels = np.arange(60) % 2
    parts = Parts.of_validation(np.arange(120) % 2, 60, [str(n) for n in range(120)])
    subject: Any = SimpleNamespace(
        kind="run", is_repeated=False, val_acc=0.7, n_val=60, labels=lambda split: labels, parts=parts,
        val_predictions=(labels, labels), own_correct=(np.arange(60) < 42) * 1.0, probe_correct=np.ones(60),
        prepared=SimpleNamespace(table=SimpleNamespace(classes=["a", "b"])), config=own,
        frozen_config=used, clean_config=used, backbone=SimpleNamespace(name="net"), said=None,
    )  # fmt: skip
    return costs.judge(subject, list(findings), tmp_path)


OVERFITTED = overfitting.CHECK.found(Verdict.FAULT, "It has memorised.", remedy=["head.dropout=0.5"])


def about(value: float) -> Interval:
    return Interval(value, value - 0.003, value + 0.003, "images and seeds")


@pytest.mark.parametrize(("cost", "withheld"), [(None, True), (about(0.1), True), (about(0.004), False)])
def test_a_symptom_is_withheld_while_a_cause_stands(cost: Interval | None, withheld: bool, tmp_path: Path):
    cause = Finding(
        "scaling", "Input scaling", Verdict.FAULT, "m", "Scaled.", remedy=["preprocess=auto"], cost=cost
    )
    made = judged(tmp_path, cause, OVERFITTED)
    found = {finding.check: finding for finding in made.findings}
    assert (found["overfitting"].verdict is Verdict.UNKNOWN) == withheld
    assert (found["overfitting"].remedy == []) == withheld
    assert ("while Input scaling is at fault" in found["overfitting"].sentence) == withheld
    assert made.findings[0].check == ("scaling" if withheld else "overfitting")
    assert ("memorised" in made.headline) != withheld


@pytest.mark.parametrize(("own", "used"), [("none", "auto"), ("auto", "none"), ("auto", "auto")])
def test_a_cost_measured_with_other_weights_is_none_of_this_net(own: str, used: str, tmp_path: Path):
    small, line = "data.image_size=[96,96]", f"backbone.weights={used}"
    settings = [config_of("backbone.freeze=true", f"backbone.weights={each}") for each in (own, used)]
    faults = [
        Finding("image_size", "Image size", Verdict.FAULT, "m", "Small.", remedy=[small], cost=about(0.1)),
        Finding("weights", "Weights", Verdict.FAULT, "m", "Random.", remedy=[line], cost=about(0.4)),
    ]
    made = judged(tmp_path, *faults[: 2 if own == "none" else 1], settings=settings)
    size, weights = made.findings[0], made.findings[-1]
    assert (size.cost is None) == (f"measured with {line}" in size.sentence) == (own != used)
    assert size.remedy == {"none": [small, line], used: [small]}.get(own, [])
    assert made.advice is None or made.advice.lines == weights.remedy
    assert (made.advice is not None) == (own != "auto" or used != "none")


def test_earlier_causes_come_first(tmp_path: Path):
    faults = [
        Finding(name, name, Verdict.FAULT, "m", f"{name}.", cost=cost)
        for name, cost in (("a", None), ("b", about(0.2)))
    ]
    made = judged(tmp_path, *faults)
    assert [finding.check for finding in made.findings] == ["a", "b"]
    assert made.headline.startswith("a: a.")


def test_nothing_is_measured_with_validation_at_fault(tmp_path: Path):
    at_fault = Finding("validation_images", "Validation images", Verdict.FAULT, "m", "It is darker.")
    suspect = Finding(
        "backbone_fit", "Backbone fit", Verdict.SUSPECT, "m", "In its way.", symptom=True, cost=about(0.2)
    )
    made = judged(tmp_path, at_fault, suspect, OVERFITTED)
    assert made.findings[0].check == "validation_images"
    assert [finding.remedy for finding in made.findings] == [[]] * 3
    assert {finding.verdict for finding in made.findings[1:]} == {Verdict.UNKNOWN}
    assert "reachable" not in made.numbers
    assert "probe" not in made.numbers
    assert "within reach is left open" in made.headline
    assert "no setting of the training is advised" in made.headline
    assert "points" not in made.headline


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two classes of stripes in train, val and test folders."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("val", 16), ("test", 16)):
        for label in range(2):
            where = tmp_path / "data" / split / "ab"[label]
            where.mkdir(parents=True)
            for number in range(count):
                stripes = np.kron(rng.integers(0, 256, (4, 1, 3)), np.ones((8, 32, 1))).astype(np.uint8)
                Image.fromarray(stripes if label else stripes.transpose(1, 0, 2)).save(
                    where / f"{split}{number}.png"
                )
    return tmp_path / "data"


def darkened(folder: Path) -> None:
    for path in folder.rglob("*.*g"):
        with Image.open(path) as image:
            dark = ImageEnhance.Brightness(image).enhance(0.3)
        dark.save(path)


SMALL = [
    "backbone=efficientnet_lite0", "data.image_size=[32,32]", "data.batch_size=16", "head.width=16",
    "trainer.max_epochs=2", "trainer.accelerator=cpu", "features.engine=torch", "data=folder",
]  # fmt: skip


def test_darker_validation_is_named_and_no_advice_given(folders: Path, tmp_path: Path):
    only = [*VALIDATION, "overfitting", "scaling", "learning_rate"]
    overrides = [*SMALL, f"data.root={folders}", f"paths.cache={tmp_path / 'cache'}"]
    healthy = diagnose(of_plan(config_of(*overrides)), tmp_path / "healthy", list(VALIDATION))
    assert {finding.verdict for finding in healthy.findings} == {Verdict.FINE}
    assert [finding.check for finding in healthy.findings] == [
        "validation_images",
        "test_images",
        "validation_labels",
    ]
    darkened(folders / "val")
    wrong = diagnose(
        of_plan(config_of(*overrides, "optim.lr=1e-6", "preprocess=rescale_twice")), tmp_path / "out", only
    )
    first = wrong.findings[0]
    assert (first.check, first.verdict) == ("validation_images", Verdict.FAULT)
    assert "darker" in first.sentence
    assert "brightness" in first.evidence["differs_by"]  # type: ignore[operator]
    assert all(finding.remedy == [] for finding in wrong.findings)
    verdicts = {finding.check: finding.verdict for finding in wrong.findings}
    assert verdicts["learning_rate"] is verdicts["overfitting"] is Verdict.UNKNOWN
    assert verdicts["scaling"] is Verdict.FAULT
    assert verdicts["test_images"] is Verdict.FINE
    with (tmp_path / "out" / "validation_images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 32
    assert all(row["path"].startswith("val/") for row in rows)


COFFEE = Path("/work/shared/data/coffee")


@pytest.mark.slow
@pytest.mark.skipif(not COFFEE.is_dir(), reason="the photographs of the experiments are needed")
@pytest.mark.parametrize("swapped", [False, True])
def test_real_photographs(swapped: bool, tmp_path: Path):
    rng = np.random.default_rng(0)
    names = ["black", "broken", "husk", "infested"]
    for name in names:
        files = sorted((COFFEE / name).glob("*.jpg"))
        for place, number in enumerate(rng.permutation(len(files))[:150]):
            split = "val" if place % 5 == 0 else "train"
            other = (
                {"black": "infested", "infested": "black"}.get(name, name)
                if swapped and split == "val"
                else name
            )
            where = tmp_path / "data" / split / other
            where.mkdir(parents=True, exist_ok=True)
            shutil.copy(files[number], where)
    overrides = [
        *SMALL,
        "data.image_size=[96,96]",
        f"data.root={tmp_path / 'data'}",
        f"paths.cache={tmp_path}",
    ]
    made = diagnose(of_plan(config_of(*overrides)), tmp_path / "out", list(VALIDATION))
    faults = [finding for finding in made.findings if finding.verdict is Verdict.FAULT]
    assert [finding.check for finding in faults] == (["validation_labels"] if swapped else [])
    if swapped:
        assert sorted(faults[0].evidence["renamed"]) == [["black", "infested"], ["infested", "black"]]  # type: ignore[arg-type]


def test_few_photographs_can_not_tell(folders: Path, tmp_path: Path):
    shutil.rmtree(folders / "test")
    overrides = [
        *SMALL,
        f"data.root={folders}",
        f"paths.cache={tmp_path / 'cache'}",
        "data.group_regex='(train|val)'",
    ]
    made = diagnose(of_plan(config_of(*overrides)), tmp_path / "out", list(VALIDATION))
    assert {finding.verdict for finding in made.findings} == {Verdict.UNKNOWN}
    assert all("too few" in finding.sentence for finding in made.findings)


@pytest.mark.parametrize(
    ("copies", "photographs", "first"), [(0.4, 0.01, "duplicates"), (0.01, 0.03, "photographs")]
)
def test_of_two_leaks_the_one_that_moves_the_accuracy_further_is_first(
    copies: float, photographs: float, first: str
) -> None:
    found = [
        photograph_split.CHECK.found(Verdict.FAULT, "Torn.", {MOVES: photographs}),
        duplicates.CHECK.found(Verdict.FAULT, "Copies.", {MOVES: copies}),
    ]
    assert costs._ranked(found)[0].check == first


def test_a_suspect_that_moves_nothing_comes_after_one_that_may_cost():
    found = [
        photograph_split.CHECK.found(Verdict.SUSPECT, "Kept together, of one class each.", {MOVES: 0.0}),
        overfitting.CHECK.found(Verdict.SUSPECT, "A gap."),
    ]
    assert [finding.check for finding in costs._ranked(found)] == ["overfitting", "photographs"]


def test_a_split_larger_than_training_is_measured():
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(300, 8)), np.arange(300) % 3
    plain, is_held = np.zeros((300, len(NAMES))), np.arange(300) >= 60
    found = measure_images(features, plain, labels, np.arange(300), is_held)
    assert found is not None
    assert len(found.by_chance) == 30
    assert np.isfinite(found.by_chance).all()
    assert found.verdict is Verdict.FINE
    units = np.where(np.arange(300) < 53, 0, np.arange(300))  # most of training is one photograph
    found = measure_images(features, plain, labels, units, is_held)
    assert found is None or np.isfinite(found.by_chance).all()
