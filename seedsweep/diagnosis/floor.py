"""Answers against always answering the largest class: better, no better, or too few images to tell."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from seedsweep.diagnosis.rehearse import paired_error

SIGMA = 2.0  # standard errors of the difference
SKILL = 0.10  # of the way from guessing (1/K) to every class answered: less is next to nothing


class Standing(StrEnum):
    """What can be said about answers beside those of the largest class alone."""

    ABOVE = "above"
    UNCLEAR = "unclear"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Floor:
    """Answers beside those of the largest class alone, on the same images.

    Attributes:
        acc: accuracy of the answers.
        majority: accuracy of the largest class alone.
        error: standard error of their difference, paired.
        balanced: mean recall of the classes that occur.
        n: images.
        n_classes: K.
    """

    acc: float
    majority: float
    error: float
    balanced: float
    n: int
    n_classes: int

    @property
    def standing(self) -> Standing:
        """A difference that few images leave open is not nothing: the small classes may be answered well."""
        if self.acc - self.majority > SIGMA * self.error:
            return Standing.ABOVE
        chance = 1 / self.n_classes
        return Standing.NOTHING if self.balanced - chance <= SKILL * (1 - chance) else Standing.UNCLEAR


def floor_of(predicted: NDArray[np.int64], labels: NDArray[np.int64], largest: int, n_classes: int) -> Floor:
    """Compares answers with the largest class.

    Args:
        predicted: [n] classes.
        labels: [n] classes.
        largest: the class that is always answered.
        n_classes: K.
    """
    right = predicted == labels
    recalls = [float(right[labels == label].mean()) for label in np.unique(labels)]
    return Floor(
        float(right.mean()),
        float((labels == largest).mean()),
        paired_error(predicted, np.full_like(labels, largest), labels),
        float(np.mean(recalls)),
        len(labels),
        n_classes,
    )
