"""Validation labels: do the names of the classes mean in validation what they mean in training?"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from seedsweep.diagnosis.beside_training import FEWEST
from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict
from seedsweep.diagnosis.folds import folds_of
from seedsweep.diagnosis.nearness import Neighbours
from seedsweep.diagnosis.part_of_training import Renaming, drawn_part, renamings, units_of
from seedsweep.diagnosis.subject import Subject
from seedsweep.runs.csv_files import write_predictions

CHECK = Check(
    "validation_labels",
    "Validation labels",
    3,
    "A linear probe fitted on training: which exchange of class names fits its predictions on validation best, how "
    "often it is wrong there and, cross-validated, within training; and how often similar validation images share a "
    "label.",
)
DRAWS = 100  # parts of training, of validation's size
CLEARLY = 0.2  # of the renamed images that an exchange of names must explain, and
IMAGES = 3  # more than it explains in any part of training
SIGMA = 3.0  # standard errors of the paired difference
FAULT, SUSPECT = 0.4, 0.2  # of the way from training's agreement to that of names at random, and
BELOW = 0.02  # less than any part of training


@dataclass(frozen=True)
class Meaning:
    """What labels mean to a probe and to similar images."""

    acc: float  # of the probe fitted on training, on validation
    control: float  # of the probe within training, cross-validated
    accs: NDArray[np.float64]  # the same of parts of training, [DRAWS]
    agreement: float  # share of the nearest validation images with an image's own label
    agreements: NDArray[np.float64]  # the same of parts of training, [DRAWS]
    at_random: float  # the agreement of labels that mean nothing
    renamed: list[Renaming]  # exchanges of names that explain validation clearly better
    most_gained: int  # images that an exchange gains in a part of training
    predicted: NDArray[np.int64]  # of the validation images, [m]

    @property
    def disorder(self) -> float:
        """How far validation's agreement is on the way from training's to that of labels at random; 0..1."""
        return _way(self.agreement, self.agreements, self.at_random)

    @property
    def misfit(self) -> float:
        """The same of the probe's accuracy."""
        return _way(self.acc, self.accs, self.at_random)

    @property
    def verdict(self) -> Verdict:
        """Says whether validation's labels mean something else, or nothing."""
        if self.renamed or self.disorder >= FAULT or self.misfit >= FAULT:
            return Verdict.FAULT
        return Verdict.SUSPECT if max(self.disorder, self.misfit) >= SUSPECT else Verdict.FINE


def _way(value: float, by_chance: NDArray[np.float64], at_random: float) -> float:
    usual = float(np.median(by_chance))
    if value > by_chance.min() - BELOW or usual <= at_random:
        return 0.0
    return (usual - value) / (usual - at_random)


def check(subject: Subject, folder: Path) -> Finding:
    """Compares what the labels of validation and of training mean."""
    facts, seen = subject.audited, subject.out_of_fold
    n, classes = subject.material.n_train, facts.table.classes
    groups = [facts.groups[row] for row in seen.rows]
    units = units_of(groups, np.arange(len(groups)) >= n)[:n]
    if len(np.unique(units)) < FEWEST[1]:
        text = f"Can't tell: training has {len(np.unique(units))} photographs, too few to compare validation with."
        return CHECK.found(Verdict.UNKNOWN, text)
    meaning = measure(seen.parts, seen.labels, n, groups[:n], len(classes))
    images = len(meaning.predicted)
    low, high = np.quantile(meaning.accs, [0.025, 0.975])
    evidence: Evidence = {
        "probe_within_training": meaning.control,
        "probe_within_training_low": float(low),
        "probe_within_training_high": float(high),
        "probe_on_validation": meaning.acc,
        "wrong_within_training": 1 - meaning.control,
        "wrong_on_validation": 1 - meaning.acc,
        "similar_agree": meaning.agreement,
        "similar_agree_in_training": float(np.median(meaning.agreements)),
        "similar_agree_at_random": meaning.at_random,
        "renamed": [[classes[a], classes[b]] for each in meaning.renamed for a, b in each.names],
        "explained": [[each.images, each.before, each.after] for each in meaning.renamed],
        "most_explained_in_training": meaning.most_gained,
        "images": images,
    }
    numbers = (
        f"a linear probe fitted on training is right for {meaning.acc:.0%} of the validation images, and for "
        f"{meaning.control:.0%} of unseen training images (parts of validation's size: {low:.0%} to {high:.0%})"
    )
    if meaning.verdict is Verdict.FINE:
        return CHECK.found(Verdict.FINE, f"The labels mean the same as in training: {numbers}.", evidence)
    verdict = meaning.verdict
    if meaning.renamed:
        text = " ".join(_exchange(each, classes) for each in meaning.renamed)
        text += f" In all, {numbers}. Put the names right in the validation set."
    elif (apart := subject.beside_training("val").apart) and apart.verdict is Verdict.FAULT:
        text = (
            f"Can't tell: {numbers}. The validation images differ from those of training, which may be why."
        )
        verdict = Verdict.UNKNOWN
    elif meaning.disorder >= SUSPECT:
        text = (
            f"The validation labels contradict one another: {meaning.agreement:.0%} of the images most alike share a "
            f"label, {np.median(meaning.agreements):.0%} in parts of training, {meaning.at_random:.0%} where "
            f"labels are at random; {numbers}. Label the validation images anew."
        )
    else:
        text = (
            f"Validation asks for something else than training shows: {numbers}. Its images look alike, and no "
            "exchange of names explains it: go through its labels in validation_labels.csv."
        )
    names = [facts.name(row) for row in seen.rows[n:]]
    write_predictions(
        folder / "validation_labels.csv",
        [
            {"path": name, "class": classes[given], "probe": classes[found]}
            for name, given, found in zip(names, seen.labels[n:], meaning.predicted, strict=True)
        ],
    )
    return CHECK.found(verdict, text, evidence)


def _exchange(found: Renaming, classes: list[str]) -> str:
    pairs = ", ".join(f"what is called {classes[a]} looks like {classes[b]}" for a, b in found.names)
    return (
        f"The classes' names are exchanged in validation: {pairs}. Of these {found.images} images the probe's "
        f"prediction is the label in {found.before}, and the exchanged one in {found.after}."
    )


def measure(
    parts: NDArray[np.float64], labels: NDArray[np.int64], n_train: int, groups: list[str], classes: int
) -> Meaning:
    """Fits a probe on training and compares validation with parts of training.

    Args:
        parts: principal components of the features, [n, k]: training, then validation.
        labels: [n] class numbers.
        groups: names of the training images' photographs, [n_train].

    Raises:
        SeedsweepError: too few groups to cross-validate.
    """
    x, y = parts[:n_train], labels[:n_train]
    held, given = parts[n_train:], labels[n_train:]
    probe = LogisticRegression(C=0.1, max_iter=300, class_weight="balanced")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class that is missing in a fold; a fit that is near enough
        within = np.asarray(cross_val_predict(probe, x, y, cv=folds_of(y, groups)), dtype=np.int64)
        predicted = np.asarray(probe.fit(x, y).predict(held), dtype=np.int64)
    units = np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
    rng = np.random.default_rng(0)
    drawn = [drawn_part(units, len(given), rng) for _ in range(DRAWS)]
    most = max(
        max((each.gain for each in renamings(y[part], within[part], classes)), default=0) for part in drawn
    )
    return Meaning(
        float((predicted == given).mean()),
        float((within == y).mean()),
        np.asarray([(within == y)[part].mean() for part in drawn]),
        similar_agree(held, given),
        np.asarray([similar_agree(x[part], y[part]) for part in drawn]),
        float(((np.bincount(given) / len(given)) ** 2).sum()),
        [each for each in renamings(given, predicted, classes) if _is_clear(each, most)],
        most,
        predicted,
    )


def _is_clear(found: Renaming, most: int) -> bool:
    error = (found.after + found.before) ** 0.5  # of a paired difference (McNemar)
    enough = max(SIGMA * error, CLEARLY * found.images, most + IMAGES)
    return found.gain >= enough and found.after > found.images / 3


def similar_agree(parts: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Returns the share (0..1) of each image's nearest others (cosine, of parts [n, k]) that have its label [n]."""
    nearest = Neighbours.of(np.arange(len(parts)), parts).nearest
    return float((labels[nearest] == labels[:, None]).mean())
