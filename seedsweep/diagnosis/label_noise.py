"""How many labels are wrong, and which: a model of how given labels come from true ones.

An image that is hard to tell and an image whose label is wrong both contradict a classifier. Hard images lie where two
classes meet, and grow rarer the surer the features are. Wrong labels stay as frequent among images that the features
are sure of. So wrong labels are estimated only where they explain the given labels clearly better than none do.

Where every image lies far from all other classes, both explain them alike: then a constant share of contradictions
counts as wrong labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, softmax
from scipy.stats import mannwhitneyu

from seedsweep.diagnosis.probes import Worth, floor_of

Array = NDArray[np.float64]

NEEDED, MORE = 7.0, 2.0  # log-likelihood that a kind of wrong labels, and its second direction, must gain
HINT = (
    4.0  # likewise of labels spread over all classes, which are no best of 24 (logarithm: 3): for a suspicion
)
SHARPER = 3.0  # a start of an optimisation at which images lie far from other classes
KINDS = 4  # of wrong labels at most
SURE, FAR, WORSE = 0.05, 0.95, 2.0
"""Wrong labels that explain no more than hard images are taken all the same where they are this share of all, the true
classes are this probable in the mean, and the log-likelihood falls by less."""
TRIED = 8  # pairs of classes, those that are confused most
SMALL = 20  # images of a class: fewer count as so many
ALIKE = 0.2  # of an area under the ROC curve: twice its standard error, above which few images can't tell
FLOOR, VOTE = 1e-6, 0.03  # of a probability and of a share of votes, before their logarithm
REPEATS = 100  # of the bootstrap
STEPS, AGAIN = 100, 15  # of an optimisation
RARE = 0.02  # share of wrong labels that doubts are ranked by where none were estimated


@dataclass(frozen=True)
class Noise:
    """An estimate of wrong labels."""

    share: float  # of the images, 0..1
    low: float  # of a 95 % interval
    high: float  # likewise
    # (true class, given class, share of the true class's images that is filed so)
    pairs: list[tuple[int, int, float]]
    spread: float  # share of the labels that are given whatever the image shows
    truth: Array  # probability of each true class, given image and label, [n, K]
    looks: Array  # the same with ``RARE`` wrong labels at least, to rank doubts by
    is_clear: bool = True  # whether they explain the given labels much better than hard images do

    @property
    def found(self) -> bool:
        """Whether wrong labels explain the given ones clearly better than none do."""
        return bool(self.pairs) or self.spread > 0


_Found = tuple[float, float, Array, tuple[tuple[int, int], ...], bool]
"""A model that was fitted: loss with its price, loss, parameters, pairs, spread."""


class _Model:
    """Given labels as wrong ones of true classes, whose probabilities are a softmax of what the features tell.

    Parameters: weights of the two inputs, a bias for each class, then a logit for each kind of wrong labels: the
    ``pairs`` (relative to the true class's own share), and the ``spread`` over all classes.
    """

    def __init__(self, probabilities: Array, votes: Array, given: NDArray[np.int64], chance: Array) -> None:
        self.inputs = np.stack([np.log(np.maximum(probabilities, FLOOR)), np.log(votes + VOTE)])
        self.given, self.n, self.k = given, len(given), probabilities.shape[1]
        self.one_hot, self.chance = np.eye(self.k)[given], chance

    def matrix(self, at: Array, pairs: Sequence[tuple[int, int]], spread: bool) -> tuple[Array, Array, float]:
        """Returns P(given | true) [K, K], the part of it that ``pairs`` make, and the spread's share."""
        logits = np.full((self.k, self.k), -np.inf)
        np.fill_diagonal(logits, 0.0)
        for place, pair in enumerate(pairs):
            logits[pair] = at[2 + self.k + place]
        own = softmax(logits, axis=1)
        share = float(expit(at[-1])) if spread else 0.0
        return (1 - share) * own + share * self.chance, own, share

    def loss(
        self, at: Array, pairs: Sequence[tuple[int, int]], spread: bool, weights: Array
    ) -> tuple[float, Array]:
        """Returns the negative log-likelihood with a weak prior, and its gradient."""
        bias = at[2 : 2 + self.k]
        true = self.true(at)
        matrix, own, share = self.matrix(at, pairs, spread)
        joint = true * matrix[:, self.given].T
        likely = np.maximum(joint.sum(1), 1e-300)
        pull = weights[:, None] * (joint / likely[:, None] - true)
        by_cell = (true * (weights / likely)[:, None]).T @ self.one_hot  # derivatives by P(given | true)
        gradient = np.concatenate([[(pull * each).sum() for each in self.inputs], pull.sum(0)])
        towards = (1 - share) * own * (by_cell - (own * by_cell).sum(1, keepdims=True))
        gradient = np.append(gradient, [towards[pair] for pair in pairs])
        if spread:
            gradient = np.append(gradient, share * (1 - share) * ((self.chance - own) * by_cell).sum())
        prior = np.zeros_like(at)
        prior[2 : 2 + self.k] = 2e-3 * bias
        return float(-(weights * np.log(likely)).sum() + 1e-3 * (bias**2).sum()), prior - gradient

    def fit(
        self,
        start: Array,
        pairs: Sequence[tuple[int, int]],
        spread: bool,
        weights: Array | None = None,
        steps: int = STEPS,
    ) -> tuple[float, Array]:
        """Returns the least loss near ``start``, and where."""
        weights = np.ones(self.n) if weights is None else weights
        bounds = [(0.05, 5.0)] * 2 + [(-12.0, 12.0)] * self.k + [(-9.0, 5.0)] * (len(pairs) + spread)
        found = minimize(
            self.loss, start, (pairs, spread, weights), "L-BFGS-B", jac=True, bounds=bounds,
            options={"maxiter": steps},
        )  # fmt: skip
        return float(found.fun), found.x

    def further(
        self, at: Array, pairs: tuple[tuple[int, int], ...], spread: bool, confused: list[tuple[int, int]]
    ) -> list[_Found]:
        """Fits models with one kind of wrong labels more, from ``at`` on."""
        tried: list[_Found] = []
        if not spread:
            loss, found = self.fit(np.append(at, -1.0), pairs, True)
            tried.append((loss, loss, found, pairs, True))
        for a, b in confused:
            for new in ([(a, b)], [(b, a)], [(a, b), (b, a)]):
                if set(new).isdisjoint(pairs):
                    start = np.insert(at, 2 + self.k + len(pairs), np.zeros(len(new)))
                    loss, found = self.fit(start, (*pairs, *new), spread)
                    tried.append((loss + MORE * (len(new) - 1), loss, found, (*pairs, *new), spread))
        return tried

    def is_far(self, at: Array, pairs: Sequence[tuple[int, int]], spread: bool) -> bool:
        """Says whether a model has many wrong labels, and next to no image between two classes."""
        sure = float(self.true(at).max(1).mean())
        return sure >= FAR and _wrong(self.truth(at, pairs, spread), self.given) >= SURE

    def true(self, at: Array) -> Array:
        """Returns the probability of each true class, given the image alone, [n, K]."""
        made: Array = softmax(at[0] * self.inputs[0] + at[1] * self.inputs[1] + at[2 : 2 + self.k], axis=1)
        return made

    def truth(self, at: Array, pairs: Sequence[tuple[int, int]], spread: bool, least: float = 0.0) -> Array:
        """Returns the probability of each true class, given image and label, with ``least`` spread on top."""
        true = self.true(at)
        matrix = (1 - least) * self.matrix(at, pairs, spread)[0] + least * self.chance
        joint = true * matrix[:, self.given].T
        made: Array = joint / joint.sum(1, keepdims=True)
        return made


def estimate_noise(
    probabilities: Array, votes: Array, labels: NDArray[np.int64], groups: Sequence[str], chance: Array
) -> Noise:
    """Estimates which labels are wrong, by the kinds of wrong labels that explain the given ones clearly better.

    A kind is a class of which some images are filed under another, or labels that are spread over all classes.

    Args:
        probabilities: [n, K] of a probe that has not seen the image; an image whose class the probe has not seen at
            all (0 for its label) counts as labelled correctly.
        votes: [n, K] shares of the classes among the nearest other images.
        labels: [n] as given.
        groups: [n] names; the bootstrap draws whole groups.
        chance: [K] probability of each label that is given at random.
    """
    asked = np.flatnonzero(probabilities[np.arange(len(labels)), labels] > 0)
    model = _Model(probabilities[asked], votes[asked], labels[asked], chance)
    pairs: tuple[tuple[int, int], ...] = ()
    spread = False
    least, at = model.fit(np.concatenate([[1.0, 1.0], np.zeros(model.k)]), pairs, spread)
    confused = most_confused((probabilities + votes)[asked], model.given)
    tells, clear = tells_classes(probabilities[asked], model.given), True
    while clear and len(pairs) + spread < KINDS:
        tried = model.further(at, pairs, spread, confused)
        found = _best(tried, least - NEEDED)
        if found is None and tells and not (pairs or spread):
            sharp = np.concatenate([SHARPER * at[:2], at[2:]])
            far = model.further(sharp, pairs, spread, confused)
            found = _best([each for each in far if model.is_far(*each[2:])], least + WORSE)
            if found is None:
                clear, found = False, _best([each for each in tried if each[-1]][:1], least - HINT)
        if found is None:
            break
        _, least, at, pairs, spread = found
    drawn = np.zeros(1)
    if pairs or spread:
        drawn = _draws(model, at, pairs, spread, [groups[int(row)] for row in asked])
    truth, looks = np.eye(model.k)[labels], np.eye(model.k)[labels]  # where nothing was asked, as labelled
    truth[asked], looks[asked] = (model.truth(at, pairs, spread, least) for least in (0.0, RARE))
    _, own, at_random = model.matrix(at, pairs, spread)
    low, high = (float(each) for each in np.quantile(drawn, [0.025, 0.975]))
    filed = [(j, k, float(own[j, k])) for j, k in pairs]
    return Noise(_wrong(truth[asked], model.given), low, high, filed, at_random, truth, looks, clear)


def tells_classes(probabilities: Array, labels: NDArray[np.int64]) -> bool:
    """Says whether a probe is surely better than always the largest class."""
    return floor_of(probabilities.argmax(1), labels, probabilities.shape[1]).worth is Worth.ABOVE


def _best(tried: list[_Found], most: float) -> _Found | None:
    """Returns the model of the least loss, with its price, where that is at most ``most``."""
    return min((each for each in tried if each[0] <= most), key=lambda each: each[0], default=None)


def _wrong(truth: Array, labels: NDArray[np.int64], weights: Array | None = None) -> float:
    return float(1 - np.average(truth[np.arange(len(labels)), labels], weights=weights))


def most_confused(scores: Array, labels: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Returns up to ``TRIED`` pairs of classes, by scores [n, K] and labels [n], those first that share most images."""
    k = scores.shape[1]
    taken, sizes = np.zeros((k, k)), np.bincount(labels, minlength=k)
    np.add.at(taken, labels, scores / scores.sum(1, keepdims=True))
    mutual = np.triu(taken + taken.T, 1) / np.maximum(np.minimum(sizes[:, None], sizes), SMALL)
    places = np.argsort(-mutual, axis=None)[:TRIED]
    return [(int(place // k), int(place % k)) for place in places if mutual.flat[place] > 0]


def told_apart(
    probabilities: Array, votes: Array, labels: NDArray[np.int64]
) -> list[tuple[int, int, float, float]]:
    """Returns how well the features tell the most confused pairs of classes apart.

    Returns:
        Two classes, the area under the ROC curve (0.5: not at all), and what chance alone reaches (95 %, one side), for
        each pair of enough images.
    """
    found = []
    for a, b in most_confused(probabilities + votes, labels):
        scores = np.log(probabilities + votes + VOTE)
        first, second = (scores[labels == k, a] - scores[labels == k, b] for k in (a, b))
        n, m = len(first), len(second)
        if 2 * (error := ((n + m + 1) / (12 * n * m)) ** 0.5) <= ALIKE:  # of an area of a half
            auc = float(mannwhitneyu(first, second).statistic / (n * m))
            found.append((a, b, auc, 0.5 + 2 * error))
    return found


def _draws(
    model: _Model, at: Array, pairs: Sequence[tuple[int, int]], spread: bool, groups: Sequence[str]
) -> Array:
    """Draws groups with replacement, and estimates the share of wrong labels again."""
    names = np.unique(np.asarray(groups), return_inverse=True)[1]
    rng = np.random.default_rng(0)
    count = int(names.max()) + 1
    made = []
    for _ in range(REPEATS):
        weights = np.bincount(rng.integers(0, count, count), minlength=count)[names].astype(np.float64)
        where = model.fit(at, pairs, spread, weights, AGAIN)[1]
        made.append(_wrong(model.truth(where, pairs, spread), model.given, weights))
    return np.asarray(made)
