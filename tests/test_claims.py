"""Intervals that hold what they promise, tests against scipy and textbooks, calibration by construction."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from seedsweep.errors import SeedsweepError
from seedsweep.stats.calibration_error import (
    calibrate,
    ece,
    ece_by_chance,
    fit_temperature,
    reliability,
    scaled,
)
from seedsweep.stats.interval import over_images, over_seeds, wilson
from seedsweep.stats.pairs import (
    MeanSquares,
    by_group,
    compare,
    crossed_mean,
    holm,
    mcnemar,
    paired_bootstrap,
    practical,
)
from seedsweep.stats.power import POWER, Components, components, needed
from seedsweep.stats.ranking import accuracy, standings

REPEATS = 400
LEAST, MOST = 0.90, 0.985  # of intervals of 95 % that hold the truth; REPEATS alone move it by 0.022


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def answers(
    random: np.random.Generator, seeds: int, images: int, of_seed: float, of_image: float
) -> np.ndarray:
    """Draws right answers [S, N]: some seeds are better, some images easier."""
    skill = random.normal(0, of_seed, (seeds, 1)) + random.normal(1, of_image, (1, images))
    return (skill + random.normal(size=(seeds, images)) > 0).astype(float)


def truth(of_seed: float, of_image: float) -> float:
    return float(stats.norm.cdf(1 / np.sqrt(1 + of_seed**2 + of_image**2)))


def covered(intervals, value: float) -> float:
    return float(np.mean([found.low <= value <= found.high for found in intervals]))


def test_the_t_interval_covers_the_mean_over_seeds():
    random = rng(1)
    found = [over_seeds(random.normal(0.8, 0.03, 3)) for _ in range(REPEATS)]
    assert LEAST < covered(found, 0.8) < MOST
    assert over_seeds(np.array([0.5])) is None
    known = over_seeds(np.array([0.7, 0.8, 0.9]))
    low, high = stats.t.interval(0.95, 2, 0.8, 0.1 / np.sqrt(3))
    assert (known.low, known.high) == (pytest.approx(low), pytest.approx(high))


def test_bootstrap_intervals_over_images_cover_accuracy_and_macro_f1():
    random = rng(3)
    confusion = np.array([[0.35, 0.05, 0.0], [0.04, 0.26, 0.05], [0.05, 0.05, 0.15]])
    cells = np.stack(np.unravel_index(np.arange(9), (3, 3)), 1)
    true = np.diag(confusion).sum()
    f1 = np.mean(2 * np.diag(confusion) / (confusion.sum(0) + confusion.sum(1)))
    found = []
    for repeat in range(REPEATS):
        drawn = cells[random.choice(9, 200, p=confusion.ravel())]
        found.append(over_images(drawn[:, 0], drawn[:, 1], resamples=400, seed=repeat))
    assert LEAST < covered([each["acc"] for each in found], true) < MOST
    assert LEAST < covered([each["macro_f1"] for each in found], f1) < MOST


def test_scores_over_images_are_those_of_sklearn():
    labels, predicted = rng(4).integers(0, 5, (2, 90))
    found = over_images(labels, predicted)
    assert found["acc"].value == pytest.approx(accuracy_score(labels, predicted))
    assert found["macro_f1"].value == pytest.approx(f1_score(labels, predicted, average="macro"))
    perfect = over_images(labels, labels)["acc"]
    assert perfect.high == pytest.approx(1)
    assert 0.9 < perfect.low < 1, "90 right answers prove no certainty"
    f1 = over_images(labels, labels)["macro_f1"]
    assert (f1.value, f1.high) == (1, pytest.approx(1))
    assert 0.7 < f1.low < perfect.low, "and each class has fewer"


def test_images_of_one_object_count_once():
    random = rng(5)
    found, blind = [], []
    for repeat in range(200):
        right = np.repeat(random.random(40) < 0.7, 5)  # five photographs of each of forty objects
        labels = np.ones(200, dtype=np.int64)
        groups = np.repeat(np.arange(40), 5)
        found.append(over_images(labels, right.astype(int), groups, resamples=400, seed=repeat)["acc"])
        blind.append(over_images(labels, right.astype(int), resamples=400, seed=repeat)["acc"])
    assert found[0].over == "groups of images"
    assert covered(found, 0.7) > 0.88
    assert covered(blind, 0.7) < 0.75, "taken for independent, they claim too much"


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_group_alone_leaves_the_images(seeds: int):
    right = (rng(11).random((seeds, 40)) < 0.7).astype(float)
    groups = ["camera"] * 40
    assert accuracy(right, groups) == accuracy(right)
    found = standings({"a": dict(enumerate(right)), "b": dict(enumerate(1 - right))}, "a", groups)
    assert found["a"].interval.over.startswith("images")
    assert found["b"].p is not None
    labels = np.zeros(40, dtype=np.int64)
    assert over_images(labels, right[0].astype(int), groups)["acc"].low < 0.65


def test_the_sizes_of_groups_are_no_uncertainty():
    sizes = rng(9).integers(1, 12, 30) * 5
    groups = np.repeat(np.arange(30), sizes)
    right = np.tile([1.0, 1.0, 1.0, 1.0, 0.0], int(sizes.sum()) // 5)[None]  # four of five in every group
    found = crossed_mean(by_group(np.repeat(right, 3, 0), groups)).interval()
    assert (found.low, found.high) == (pytest.approx(0.8), pytest.approx(0.8))
    right = rng(10).random((3, len(groups))) < np.linspace(0.5, 1, 30)[groups]  # and where they differ
    table = by_group(right.astype(float), groups)
    assert table.mean(1) == pytest.approx(right.mean(1))
    spread = [table[0, rng(n).integers(0, 30, 30)].mean() for n in range(300)]
    ratio = [np.mean([right[0, groups == g].sum() for g in drawn]) / np.mean(sizes[drawn])
             for drawn in (rng(n).integers(0, 30, 30) for n in range(300))]  # fmt: skip
    assert np.std(spread) == pytest.approx(np.std(ratio), rel=0.15)


@pytest.mark.parametrize(("of_seed", "of_image"), [(0.0, 1.0), (0.3, 1.0), (0.6, 0.5)])
def test_crossed_intervals_cover_new_images_and_new_seeds(of_seed: float, of_image: float):
    random = rng(6)
    found = [accuracy(answers(random, 5, 150, of_seed, of_image)) for _ in range(REPEATS)]
    assert LEAST < covered(found, truth(of_seed, of_image)) <= 0.995
    if of_seed > 0.5:
        over_images_only = [
            crossed_mean(answers(random, 5, 150, of_seed, of_image).mean(0)[None]) for _ in found
        ]
        assert covered([m.interval() for m in over_images_only], truth(of_seed, of_image)) < 0.8


def test_a_difference_that_is_none_is_found_one_time_in_twenty():
    random = rng(7)
    for seeds in (1, 4):
        of_seed = 0.3 if seeds > 1 else 0.0
        false = [
            compare(answers(random, seeds, 150, of_seed, 1.0), answers(random, seeds, 150, of_seed, 1.0)).p
            < 0.05
            for _ in range(REPEATS)
        ]
        assert np.mean(false) < 0.085, seeds


def test_a_difference_that_is_there_is_found():
    random = rng(8)
    easy = random.normal(1, 1, (1, 200))
    noise = random.normal(size=(2, 3, 200))
    found = compare((easy + 0.5 + noise[0] > 0).astype(float), (easy - 0.5 + noise[1] > 0).astype(float))
    assert found.p < 0.02, "three seeds are few"
    assert found.difference.low > 0.1
    assert found.difference.over == "images and seeds"


def test_mcnemar_is_the_sign_test_on_what_one_alone_answers():
    a = np.array([1] * 50 + [1] * 9 + [0] * 2 + [0] * 10, dtype=float)
    b = np.array([1] * 50 + [0] * 9 + [1] * 2 + [0] * 10, dtype=float)
    assert mcnemar(a, b) == pytest.approx(2 * stats.binom.cdf(2, 11, 0.5))
    assert mcnemar(a, a) == 1
    found = compare(a[None], b[None])
    assert found.method == "McNemar's exact test"
    assert found.difference.value == pytest.approx(7 / 71)


def test_the_paired_bootstrap_is_narrower_than_two_intervals():
    random = rng(9)
    a = (random.random(300) < 0.8).astype(float)
    b = np.where(random.random(300) < 0.05, 1 - a, a)  # nearly the same answers
    paired = paired_bootstrap(a - b)
    alone = wilson(int(a.sum()), 300)
    assert paired.high - paired.low < 0.8 * (alone.high - alone.low)
    covering = []
    for _ in range(REPEATS):
        a = (random.random(150) < 0.8).astype(float)
        b = np.where(random.random(150) < 0.3, (random.random(150) < 0.5).astype(float), a)
        covering.append(paired_bootstrap(a - b, resamples=400))
    assert LEAST < covered(covering, 0.3 * 0.3) < MOST


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert list(holm([])) == []
    assert list(holm([0.9, 0.8])) == [1, 1]


def test_standings_name_what_is_the_same_within_noise():
    random = rng(10)
    easy = random.normal(1, 1, 250)

    def arm(skill: float, seeds: tuple[int, ...] = (1, 2, 3)) -> dict[int, np.ndarray]:
        return {seed: (easy + skill + random.normal(size=250) > 0).astype(float) for seed in seeds}

    found = standings({"best": arm(0.6), "as good": arm(0.58), "worse": arm(-0.6)}, "best")
    assert (found["best"].same, found["as good"].same, found["worse"].same) == (None, True, False)
    assert found["worse"].behind.difference.value > 0.1
    assert found["worse"].p < 0.01
    few = {"best": {1: np.array([1.0] * 9 + [0.0])}, "far behind": {1: np.array([0.0] * 4 + [1.0] * 6)}}
    unclear = standings(few, "best")["far behind"]
    assert unclear.p > 0.05
    assert unclear.behind.difference.value == pytest.approx(0.3)
    assert (unclear.same, unclear.undecided) == (None, True), "30 points are not the same for want of images"
    assert unclear.needed.seeds is None, "one seed does not show how seeds differ"
    assert 15 < unclear.needed.units < 60
    assert not found["as good"].undecided
    assert found["as good"].needed is None
    other = standings({"best": arm(0.6), "on others": {1: np.ones(17)}}, "best")
    assert other["on others"].behind is None
    alone = standings({"best": arm(0.6, (1, 2)), "worse": arm(-0.9, (8,))}, "best")
    assert alone["worse"].same is False, "without a seed in common they are paired in order"


def test_temperature_undoes_what_was_put_in():
    random = rng(11)
    logits = random.normal(0, 2, (4000, 4))
    honest = scaled(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), 1)
    labels = (honest.cumsum(1) < random.random((4000, 1))).sum(1)
    boastful = scaled(honest, 1 / 3)
    found = calibrate(boastful[2000:], labels[2000:], boastful[:2000], labels[:2000])
    assert found.temperature == pytest.approx(3, rel=0.1)
    assert found.ece > 0.15 > 0.06 > found.ece_scaled
    assert found.loss_scaled < found.loss
    assert found.reliability.count.sum() == found.n == 2000


def test_a_few_images_without_a_mistake_make_no_net_certain():
    logits = np.eye(3)[np.arange(30) % 3] * 4
    certain = scaled(
        np.exp(logits) / np.exp(logits).sum(1, keepdims=True), fit_temperature(logits, np.arange(30) % 3)
    )
    assert 0.9 < certain.max() < 0.98


def test_the_calibration_error_of_a_perfect_net_is_what_chance_allows():
    random = rng(12)
    beyond = []
    for repeat in range(100):
        raw = random.dirichlet(np.ones(3), 80)
        labels = (raw.cumsum(1) < random.random((80, 1))).sum(1)
        beyond.append(ece(raw, labels) > ece_by_chance(raw, draws=200, seed=repeat))
    assert np.mean(beyond) < 0.13


def test_probabilities_that_are_no_numbers_are_one_sentence():
    fine = np.full((30, 3), 1 / 3)
    broken, labels = np.where(np.arange(30)[:, None] < 2, np.nan, fine), np.arange(30) % 3
    for measure in (
        lambda: calibrate(broken, labels, fine, labels),
        lambda: calibrate(fine, labels, broken, labels),
        lambda: ece(broken, labels),
        lambda: ece_by_chance(broken),
        lambda: reliability(broken, labels),
    ):
        with pytest.raises(
            SeedsweepError, match="2 of 30 images have stated probabilities that are no numbers"
        ):
            measure()


def test_a_reliability_svg_counts_by_confidence():
    found = reliability(np.array([[0.95, 0.05], [0.96, 0.04], [0.45, 0.55]]), np.array([0, 1, 1]))
    assert list(found.count) == [0, 0, 0, 0, 0, 1, 0, 0, 0, 2]
    assert found.accuracy[9] == 0.5
    assert found.accuracy[5] == 1


@pytest.mark.parametrize("grouped", [False, True])
def test_one_accuracy_has_one_interval_wherever_it_is_shown(grouped):
    random = rng(5)
    labels = random.integers(0, 5, 137)
    predicted = np.where(random.random(137) < 0.5, labels, random.integers(0, 5, 137))
    groups = random.integers(0, 40, 137).astype(str) if grouped else None
    of_run = over_images(labels, predicted, groups)["acc"]
    assert of_run == accuracy(labels == predicted, groups)
    assert of_run == standings({"a": {1: labels == predicted}}, "a", groups)["a"].interval
    assert of_run.over == ("groups of images" if grouped else "images")


def test_an_arm_that_is_ahead_on_the_shared_seeds_is_not_called_worse():
    best = {seed: np.repeat([1, 0], [hits, 100 - hits]) for seed, hits in ((1, 30), (2, 95), (3, 95))}
    found = standings({"best": best, "other": {1: np.repeat([1, 0], [60, 40])}}, "best")["other"]
    assert (found.behind, found.p, found.same) == (None, None, None)


def test_a_single_image_decides_nothing():
    for shape in (1, (3, 1)):
        found = compare(np.ones(shape), np.zeros(shape))
        assert found.p == 1.0
        assert found.difference.low < 0 < found.difference.high


def tables(found: Components, seeds: int, units: int, n: int, random: np.random.Generator) -> np.ndarray:
    """Draws n tables [seeds, units] of differences."""
    of_seeds = random.normal(0, (found.of_seeds or 0) ** 0.5, (n, seeds, 1))
    of_units = random.normal(0, found.of_units**0.5, (n, 1, units))
    return found.difference + of_seeds + of_units + random.normal(0, found.rest**0.5, (n, seeds, units))


@pytest.mark.parametrize("of_seeds", [0.0, 1e-4, 4e-4])
def test_what_would_decide_does_decide_in_four_of_five_repeats(of_seeds: float):
    found = Components(0.06, 3, 100, of_seeds, 0.04, 0.06)
    wanted = needed(found, 0.02)
    ways = [(3, wanted.units), (wanted.seeds, 100), wanted.together or (None, None)]
    ways = [way for way in ways if all(way)]
    assert ways
    for seeds, units in ways:
        drawn = tables(found, seeds, units, 400, rng(3))
        share = np.mean([crossed_mean(each).p_value() < 0.02 for each in drawn])
        assert share == pytest.approx(POWER, abs=0.08), (seeds, units)
        assert found.power(seeds - (units == 100), units - (units > 100), 0.02) < POWER
    assert found.power(3, 100, 0.02) < POWER


def test_the_variances_of_a_difference_are_found_again():
    true = Components(0.05, 40, 300, 0.002, 0.03, 0.05)
    found = components(MeanSquares.of(tables(true, 40, 300, 1, rng(5))[0]))
    assert found.difference == pytest.approx(0.05, abs=0.03)
    assert found.of_seeds == pytest.approx(0.002, rel=0.5)
    assert found.of_units == pytest.approx(0.03, rel=0.3)
    assert found.rest == pytest.approx(0.05, rel=0.1)


def test_practically_the_same_is_a_probability():
    random = rng(11)
    for mean, n in ((0.0, 40_000), (0.0, 150), (0.03, 3000)):
        difference = random.normal(mean, 0.4, (1, n))
        found = practical(crossed_mean(difference))
        assert found.ahead + found.same + found.behind == pytest.approx(1)
        after = stats.norm(difference.mean(), difference.std() / n**0.5)  # the posterior of so many images
        assert found.behind == pytest.approx(after.sf(0.01), abs=0.01)
        assert found.ahead == pytest.approx(after.cdf(-0.01), abs=0.01)
    equal = np.ones((3, 50)) * 0.0
    assert practical(crossed_mean(equal)).same == 1
    assert practical(crossed_mean(equal + 1)) is None, "nothing shows how images differ"
    arms = {"best": {1: np.repeat([1.0, 0.0], [700, 300])}, "equal": {1: np.repeat([1.0, 0.0], [699, 301])}}
    assert standings(arms, "best")["equal"].practical.same > 0.99


def test_where_seeds_differ_too_much_no_number_of_images_decides():
    wanted = needed(Components(0.06, 2, 100, 0.01, 0.01, 0.01))
    assert wanted.units is None
    assert wanted.seeds is not None


def test_one_seed_says_how_many_images_would_do():
    random = rng(7)
    first = (random.random(100) < 0.80).astype(float)
    second = (random.random(100) < 0.72).astype(float)
    wanted = needed(components(MeanSquares.of((first - second)[None])))
    assert wanted.seeds is None
    agreed = []
    for _ in range(300):
        drawn = random.integers(0, 100, wanted.units)
        agreed.append(mcnemar(first[drawn], second[drawn]) < 0.05)
    assert np.mean(agreed) == pytest.approx(POWER, abs=0.1)
