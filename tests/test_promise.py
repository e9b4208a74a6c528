"""Answers with few mistakes: the promise holds for new photographs, whose mistakes come together."""

import numpy as np
import pytest
from numpy.typing import NDArray

from seedsweep.stats.promise import SURE, design_effect, promise

Draw = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64]]


def drawn(groups: int, size: int, effect: float, random: np.random.Generator) -> Draw:
    """Returns confidence, correctness and group of images; a group is easier or harder than its confidence says."""
    group = np.repeat(np.arange(groups), random.poisson(size, groups))
    sure = np.abs(2 + 4 * random.normal(size=len(group)))
    truth = sure + random.normal(0, effect, groups)[group]
    right = random.random(len(group)) < 1 / (1 + np.exp(-truth))
    return (1 / (1 + np.exp(-sure))).astype(np.float32), right, group


@pytest.mark.parametrize(
    ("groups", "size", "effect", "most"),
    [(400, 1, 0.0, 0.05), (25, 20, 0.0, 0.05), (40, 20, 1.0, 0.05), (25, 20, 2.0, 0.1), (12, 60, 1.5, 0.1)],
)
def test_the_promise_holds_on_new_photographs(groups: int, size: int, effect: float, most: float):
    random = np.random.default_rng(3)
    confidence, right, _ = drawn(3000, size, effect, np.random.default_rng(4))
    broken, answered = [], []
    for _ in range(120):
        made = promise(*drawn(groups, size, effect, random), most)
        sure = confidence >= (np.inf if made.threshold is None else made.threshold)
        answered.append(float(sure.mean()))
        broken.append(bool(sure.any()) and float((~right[sure]).mean()) > most)
    assert np.mean(broken) <= 1 - SURE
    assert np.mean(answered) > 0.2, "and something is answered"


def test_without_the_photographs_it_would_be_broken_too_often():
    random = np.random.default_rng(3)
    confidence, right, _ = drawn(3000, 60, 1.5, np.random.default_rng(4))
    broken = []
    for _ in range(120):
        made = promise(*drawn(12, 60, 1.5, random)[:2], None, 0.1)
        broken.append(float((~right[confidence >= (made.threshold or 2)]).mean()) > 0.1)
    assert np.mean(broken) > 2 * (1 - SURE)


def test_few_images_promise_little():
    n = 60
    made = promise(np.linspace(0.5, 1, n, dtype=np.float32), np.ones(n, bool), None, 0.01)
    assert made.threshold is None
    assert made.left == 1
    assert made.smallest == pytest.approx(1 - (1 - SURE) ** (1 / (n / made.effect + 1)), abs=2e-3)
    again = promise(np.linspace(0.5, 1, n, dtype=np.float32), np.ones(n, bool), None, made.smallest)
    assert again.threshold == 0.5
    assert again.left == 0
    by_four = promise(np.linspace(0.5, 1, n, dtype=np.float32), np.ones(n, bool), np.arange(n) % 4, 0.05)
    assert by_four.threshold is None, "four photographs say little, however many images"
    assert by_four.effect > n / 4


def test_equally_sure_images_are_answered_together():
    confidence = np.asarray([0.9] * 200 + [0.8] * 50 + [0.7] * 50, dtype=np.float32)
    right = np.arange(300) < 225  # half of those at 0.8 are wrong, and they come last
    made = promise(confidence, right, None, 0.05)
    assert made.threshold == pytest.approx(0.9)
    assert made.left == pytest.approx(1 / 3)


def test_mistakes_that_come_together_count_less():
    numbers = np.repeat(np.arange(20), 10)
    together = numbers < 4
    assert design_effect(together, numbers) == pytest.approx(10 * 20 / 19)
    assert design_effect(np.random.default_rng(0).permutation(together), numbers) < 2
    assert design_effect(together, np.arange(200)) == 1
