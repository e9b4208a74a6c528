"""Predictions against always predicting the largest class: better, no better, or too few images to tell."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from seedsweep.diagnosis.rehearse import paired_error

SIGMA = 2.0  # standard errors of the difference
SKILL = 0.10  # of the way from guessing (1/K) to a perfect net: less is next to nothing


class Standing(StrEnum):
    """How predictions compare with the largest class alone."""

    ABOVE = "above"
    UNCLEAR = "unclear"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Floor:
    """Predictions beside the largest class alone, on the same images.

    Attributes:
        acc: accuracy of the predictions.
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
        """Whether they are better; few images leave that open, for the small classes may be classified well."""
        if self.acc - self.majority > SIGMA * self.error:
            return Standing.ABOVE
        chance = 1 / self.n_classes
        return Standing.NOTHING if self.balanced - chance <= SKILL * (1 - chance) else Standing.UNCLEAR


def floor_of(predicted: NDArray[np.int64], labels: NDArray[np.int64], largest: int, n_classes: int) -> Floor:
    """Compares predictions with the largest class.

    Args:
        predicted: [n] classes.
        labels: [n] classes.
        largest: the class that is always predicted.
        n_classes: K.
    """
    correct = predicted == labels
    recalls = [float(correct[labels == label].mean()) for label in np.unique(labels)]
    return Floor(
        float(correct.mean()),
        float((labels == largest).mean()),
        paired_error(predicted, np.full_like(labels, largest), labels),
        float(np.mean(recalls)),
        len(labels),
        n_classes,
    )
