"""Loss, accuracy, macro-F1 and recalls of a set of predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

NO_LESS = 0.95  # of the loss of known class frequencies: a loss above it shows no learning


@dataclass(frozen=True)
class Scores:
    """``per_class_recall`` is None for a class without images."""

    loss: float
    acc: float
    macro_f1: float
    per_class_recall: dict[str, float | None]

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields as metrics.json nests them."""
        return asdict(self)


def score(logits: Tensor, labels: Tensor, classes: list[str]) -> Scores:
    """Scores logits [N, C] against labels [N].

    The loss is the mean cross-entropy without class weights; macro-F1 averages over all ``classes`` that occur
    among labels or predictions.
    """
    n = len(classes)
    predicted = logits.argmax(1)
    # counted here: sklearn's f1_score takes 1.7 ms, as long as an epoch of a small head on stored features
    confusion = torch.bincount(labels * n + predicted, minlength=n * n).view(n, n).double()
    hits, images = confusion.diag(), confusion.sum(1)
    named = images + confusion.sum(0)
    occurs = named > 0
    recall = (hits / images).tolist()
    return Scores(
        loss=float(functional.cross_entropy(logits, labels)),
        acc=float(hits.sum() / images.sum()),
        macro_f1=float((2 * hits[occurs] / named[occurs]).mean()),
        per_class_recall={
            name: recall[label] if total else None
            for label, (name, total) in enumerate(zip(classes, images.tolist(), strict=True))
        },
    )


def majority_share(counts: dict[str, int]) -> float:
    """Returns the accuracy of always predicting the largest class."""
    total = sum(counts.values())
    return max(counts.values()) / total if total else 0.0


def majority_macro_f1(counts: dict[str, int]) -> float:
    """Returns the macro-F1 of always predicting the largest class: the mean over the classes that have images."""
    share, classes = majority_share(counts), sum(n > 0 for n in counts.values())
    return 2 * share / (1 + share) / classes if classes else 0.0


def loss_of_frequencies(
    known: Mapping[str, int],
    met: Mapping[str, int] | None = None,
    smoothing: float = 0.0,
    *,
    balanced: bool = False,
) -> float:
    """Returns the cross-entropy of always predicting the class frequencies: ln(classes) where all are equally many.

    Args:
        known: images by class, whose frequencies are predicted.
        met: images by class, on which it is measured; None: ``known``.
        smoothing: of the labels.
        balanced: whether all classes weigh the same in the loss, as if all were equally many.
    """
    if balanced:
        known = dict.fromkeys(known, 1)

    def shares(counts: Mapping[str, int]) -> dict[str, float]:
        total = sum(counts.values())
        return {name: (1 - smoothing) * n / total + smoothing / len(counts) for name, n in counts.items()}

    predicted, true = shares(known), shares(known if met is None else met)
    return -sum(share * math.log(predicted[name]) for name, share in true.items() if share)
