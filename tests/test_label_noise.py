"""Wrong labels: planted ones are estimated, named and listed; hard classes are not accused."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from composed import config_of

from seedsweep.diagnosis.checks import confused_pair, imbalance, label_errors
from seedsweep.diagnosis.finding import Finding, Verdict
from seedsweep.diagnosis.label_noise import _Model
from seedsweep.diagnosis.opening import of_plan
from seedsweep.diagnosis.out_of_fold import OutOfFold, components, neighbour_votes, outside_fold

N, CLASSES = 700, 4
COFFEE = Path(__file__).parents[2] / "shared" / "data" / "coffee"
Labels = np.ndarray


def beans(seed: int = 0) -> tuple[np.ndarray, Labels]:
    """Returns features of four classes, of which the last two overlap as those of hard data do."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(CLASSES, N, p=[0.4, 0.2, 0.2, 0.2])
    centres = 5 * np.eye(CLASSES, 12)
    centres[3] = centres[2] + 1.4 * np.eye(12)[6]
    return (centres[truth] + rng.normal(0, 1, (N, 12))).astype(np.float32), truth


def part_of(truth: Labels, label: int, share: float) -> Labels:
    rows = np.random.default_rng(1).permutation(np.flatnonzero(truth == label))
    return rows[: round(share * len(rows))]


def anywhere(truth: Labels, share: float) -> Labels:
    rng = np.random.default_rng(1)
    labels, rows = truth.copy(), rng.choice(N, round(share * N), replace=False)
    labels[rows] = (labels[rows] + rng.integers(1, CLASSES, len(rows))) % CLASSES
    return labels


def examine(features: np.ndarray, labels: Labels, folder: Path) -> tuple[Finding, Finding, OutOfFold]:
    """Returns what the checks of labels and of confused classes find; three images are of one photograph."""
    return judged(components(features), labels, [str(row // 3) for row in range(N)], folder)


def judged(
    parts: np.ndarray, labels: Labels, groups: list[str], folder: Path
) -> tuple[Finding, Finding, OutOfFold]:
    n, classes = len(labels), [f"class {k}" for k in range(labels.max() + 1)]
    names = [f"{row}.jpg" for row in range(n)]
    probe, votes = (made(parts, labels, groups, len(classes)) for made in (outside_fold, neighbour_votes))
    seen = OutOfFold(parts, np.arange(n), labels, probe, votes, groups, names)
    table = SimpleNamespace(classes=classes, splits=np.where(np.arange(n) % 3, "train", "val"))
    facts = SimpleNamespace(
        table=table, name=lambda row: names[row], class_of=lambda row: classes[labels[row]],
        draw=lambda *_, **__: None,
    )  # fmt: skip
    subject: Any = SimpleNamespace(audited=facts, out_of_fold=seen)
    return label_errors.check(subject, folder), confused_pair.check(subject, folder), seen


@pytest.mark.parametrize("seed", [0, 1])
def test_classes_that_are_hard_to_tell_are_not_accused(seed: int, tmp_path: Path):
    features, truth = beans(seed)
    labels, pair, _ = examine(features, truth, tmp_path)
    assert (labels.verdict, pair.verdict) == (Verdict.FINE, Verdict.FINE)
    assert labels.sentence.startswith("The labels are contradicted no more than hard images explain.")
    assert {pair.evidence["first"], pair.evidence["second"]} == {"class 2", "class 3"}


@pytest.mark.parametrize("share", [0.05, 0.4])
def test_labels_that_are_wrong_anywhere(share: float, tmp_path: Path):
    features, truth = beans()
    given = anywhere(truth, share)
    finding, _, _ = examine(features, given, tmp_path)
    evidence: Any = finding.evidence
    assert finding.verdict is Verdict.FAULT
    assert evidence["share_low"] <= share <= evidence["share_high"]
    assert evidence["share_high"] - evidence["share_low"] < 0.15
    assert "look as if given at random" in finding.sentence
    with (tmp_path / "doubtful_labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "class", "likely_class", "score", "split"]
    assert len(rows) == evidence["doubtful"]
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    wrong = [given[place] != truth[place] for place in (int(row["path"][:-4]) for row in rows)]
    assert np.mean(wrong[:20]) >= 0.95
    assert sum(wrong) >= 0.7 * (given != truth).sum()
    right = [f"class {truth[int(row['path'][:-4])]}" == row["likely_class"] for row in rows[:20]]
    assert np.mean(right) >= 0.9


def test_labels_that_are_wrong_in_one_split(tmp_path: Path):
    features, truth = beans()
    given = np.where(np.arange(N) % 3, truth, anywhere(truth, 0.4))
    finding, _, _ = examine(features, given, tmp_path)
    evidence: Any = finding.evidence
    train, val = (share for _, share in evidence["by_split"])
    assert train < 0.05
    assert val == pytest.approx(0.4, abs=0.12)
    assert f"(train {train:.1%}, val {val:.1%})" in finding.sentence


def test_a_class_half_filed_under_another(tmp_path: Path):
    features, truth = beans()
    given = truth.copy()
    given[part_of(truth, 1, 0.5)] = 0
    finding, pair, _ = examine(features, given, tmp_path)
    evidence: Any = finding.evidence
    assert (finding.verdict, pair.verdict) == (Verdict.FAULT, Verdict.FINE)
    assert [each[:2] for each in evidence["pairs"]] == [["class 1", "class 0"]]
    assert evidence["pairs"][0][2] == pytest.approx(0.5, abs=0.15)
    assert "% of class 1 lie under class 0" in finding.sentence


def test_two_classes_swapped_for_part(tmp_path: Path):
    features, truth = beans()
    given = truth.copy()
    given[part_of(truth, 0, 0.2)], given[part_of(truth, 1, 0.2)] = 1, 0
    finding, _, _ = examine(features, given, tmp_path)
    assert finding.verdict is Verdict.FAULT
    evidence: Any = finding.evidence
    assert {tuple(each[:2]) for each in evidence["pairs"]} == {
        ("class 0", "class 1"), ("class 1", "class 0"),
    }  # fmt: skip


def test_a_class_cut_in_two(tmp_path: Path):
    features, truth = beans()
    given = truth.copy()
    given[part_of(truth, 0, 0.5)] = 4
    labels, pair, seen = examine(features, given, tmp_path)
    assert labels.verdict is Verdict.FINE  # a class by two names is no wrong label
    assert pair.verdict is Verdict.FAULT
    assert "one class was cut in two" in pair.sentence
    assert (pair.evidence["first"], pair.evidence["second"]) == ("class 0", "class 4")
    assert list(seen.counted_as) == [0, 1, 2, 3, 0]


def test_wrong_labels_far_from_all_other_classes(tmp_path: Path):
    """No image is hard, so the probe is as sure everywhere: contradictions that are as frequent are wrong labels."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, CLASSES, N)
    features = (9 * np.eye(CLASSES, 12)[truth] + rng.normal(0, 1, (N, 12))).astype(np.float32)
    given = anywhere(truth, 0.3)
    finding, _, seen = examine(features, given, tmp_path)
    evidence: Any = finding.evidence
    assert finding.verdict is Verdict.FAULT
    assert evidence["share"] == pytest.approx(0.3, abs=0.05)
    assert (seen.noise.looks.argmax(1) == truth).mean() >= 0.99
    assert examine(features, truth, tmp_path)[0].evidence["share"] <= 0.005


@pytest.mark.parametrize(("share", "verdict"), [(0, Verdict.FINE), (0.1, Verdict.SUSPECT)])
def test_wrong_labels_among_hard_images_are_a_suspicion(share: float, verdict: Verdict, tmp_path: Path):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, CLASSES, N)
    features = (1.6 * np.eye(CLASSES, 12)[truth] + rng.normal(0, 1, (N, 12))).astype(np.float32)
    finding, _, _ = examine(features, anywhere(truth, share), tmp_path)
    assert finding.verdict is verdict
    assert ("but a little better than hard images do. Perhaps" in finding.sentence) == (share > 0)


def test_features_that_tell_nothing_judge_no_label(tmp_path: Path):
    labels = np.random.default_rng(0).choice(3, N, p=[0.6, 0.2, 0.2])
    features = np.random.default_rng(1).normal(0, 1, (N, 12)).astype(np.float32)
    finding, _, _ = examine(features, labels, tmp_path)
    assert finding.verdict is Verdict.UNKNOWN


def test_an_image_alone_in_its_class_is_not_doubted(tmp_path: Path):
    features, truth = beans()
    given = truth.copy()
    given[5] = 4
    _, _, seen = examine(features, given, tmp_path)
    assert seen.noise.looks[5, 4] == 1


def test_the_gradient_is_that_of_the_loss():
    rng = np.random.default_rng(0)
    model = _Model(
        rng.dirichlet(np.ones(3), 40),
        rng.dirichlet(np.ones(3), 40),
        rng.integers(0, 3, 40),
        np.full(3, 1 / 3),
    )
    at, weights = rng.normal(0, 0.5, 8), rng.random(40)
    pairs = ((0, 1), (0, 2))
    _, gradient = model.loss(at, pairs, True, weights)
    for place, step in enumerate(1e-5 * np.eye(8)):
        up, down = (model.loss(at + sign * step, pairs, True, weights)[0] for sign in (1, -1))
        assert gradient[place] == pytest.approx((up - down) / 2e-5, abs=1e-4)


def test_balancing_is_advised_where_it_was_seen_to_help():
    labels = np.repeat([0, 1], [400, 40])
    before, after = labels.copy(), labels.copy()
    before[400:425] = 0  # most of the small class is missed
    after[:3] = 1
    assert imbalance.compare(before, after, labels).helps
    after[:60] = 1  # and then at a price
    assert not imbalance.compare(before, after, labels).helps
    assert not imbalance.compare(before, before, labels).helps


@pytest.mark.slow
@pytest.mark.skipif(not COFFEE.is_dir(), reason=f"{COFFEE} is not there")
def test_real_beans(tmp_path: Path):
    """Planted in photographs: green, immature and sour beans look much alike, and are not accused."""
    config = config_of(
        "backbone=efficientnet_lite0", "data=folder", f"data.root={COFFEE}", "data.image_size=[96,96]",
        "batchnorm=inference", "backbone.freeze=true", "trainer.accelerator=cpu",
        r"data.group_regex='^(IMG_\d+)\d_\d+'",
    )  # fmt: skip
    real = of_plan(config).out_of_fold
    groups, truth, rng = list(real.groups), real.labels, np.random.default_rng(5)
    labels, pair, _ = judged(real.parts, truth, groups, tmp_path)
    assert (labels.verdict, pair.verdict) == (Verdict.FINE, Verdict.FINE)

    given = truth.copy()
    rows = rng.permutation(len(truth))[: round(0.2 * len(truth))]
    given[rows] = (given[rows] + rng.integers(1, 9, len(rows))) % 9
    labels, _, _ = judged(real.parts, given, groups, tmp_path)
    evidence: Any = labels.evidence
    assert labels.verdict is Verdict.FAULT
    assert evidence["share_low"] - 0.01 <= 0.2 <= evidence["share_high"] + 0.01
    listed = (tmp_path / "doubtful_labels.csv").read_text().splitlines()[1:101]
    assert np.isin([int(line.split(".")[0]) for line in listed], rows).mean() >= 0.9

    given = truth.copy()
    given[part_of(truth, 0, 0.5)] = 7
    labels, _, _ = judged(real.parts, given, groups, tmp_path)
    assert labels.verdict is Verdict.FAULT
    assert "of class 0 lie under class 7" in labels.sentence

    given = truth.copy()
    given[part_of(truth, 2, 0.5)] = 9
    labels, pair, _ = judged(real.parts, given, groups, tmp_path)
    assert (labels.verdict, pair.verdict) == (Verdict.FINE, Verdict.FAULT)
