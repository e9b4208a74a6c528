"""Loss, accuracy, macro-F1 and recalls of a set of predictions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sklearn.metrics import f1_score
from torch import Tensor
from torch.nn import functional


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
    predicted = logits.argmax(1)
    hits = predicted == labels
    recall: dict[str, float | None] = {}
    for label, name in enumerate(classes):
        mine = labels == label
        recall[name] = float(hits[mine].double().mean()) if mine.any() else None
    return Scores(
        loss=float(functional.cross_entropy(logits, labels)),
        acc=float(hits.double().mean()),
        macro_f1=float(f1_score(labels.numpy(), predicted.numpy(), average="macro", zero_division=0)),
        per_class_recall=recall,
    )


def majority_share(counts: dict[str, int]) -> float:
    """Returns the accuracy of always answering the largest class."""
    total = sum(counts.values())
    return max(counts.values()) / total if total else 0.0
