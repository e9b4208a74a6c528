"""Overfitting and capacity: does the net know its training images by heart, and would more photographs help?"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict
from seedsweep.diagnosis.probes import fit_probe, paired_error, standard_error
from seedsweep.diagnosis.rehearsals import QUICK
from seedsweep.diagnosis.remedy import apply, changes
from seedsweep.diagnosis.stored_features import drawn_by_class
from seedsweep.diagnosis.subject import Subject

CHECK = Check(
    "overfitting",
    "Overfitting and capacity",
    80,
    "Accuracy on un-augmented training images in eval mode against validation, the epoch where the validation loss "
    "turns, the head with more dropout or fewer units, and a linear probe on 25, 50 and 100 % of the images.",
    on_validation=True,
    symptom=True,
)
WIDE = 0.20  # of accuracy: a gap that is surely above this is overfitting
SOME = 0.12
GAIN = 0.03  # of accuracy that less capacity, or half as many images again, must be worth
SHARES = (0.25, 0.5, 1.0)
DRAWS = 5  # of the smaller shares
CORRECTED = ["preprocess=auto", "batchnorm=inference"]


def check(subject: Subject, folder: Path) -> Finding:
    """Measures the gap, its onset, other capacities, and the learning curve."""
    curve = learning_curve(subject)
    doubling = curve[-1] - curve[-2]
    n_train = len(subject.labels("train"))
    helps = f"the last doubling of the images brought a linear probe {doubling * 100:+.0f} points"
    evidence: Evidence = {
        "learning_curve_shares": list(SHARES),
        "learning_curve": curve,
        "gain_of_last_doubling": doubling,
        "images": n_train,
        "head_parameters": _parameters(subject),
    }
    train_acc, val_acc = subject.train_acc, subject.val_acc
    if train_acc is None or val_acc is None:
        text = f"The gap of this plan shows once it was trained; {helps}."
        return CHECK.found(Verdict.UNKNOWN, text, evidence)
    gap = seen_gap = train_acc - val_acc
    error = standard_error(val_acc, subject.n_val)
    if gap >= SOME and subject.is_frozen and changes(subject.frozen_config, CORRECTED):
        fixed = subject.rehearse(subject.clean_config)  # poor features are memorised, too
        gap = min(gap, fixed.train_acc - fixed.acc)
    onset = onset_of(subject.epochs)
    evidence |= {
        "train_acc": train_acc,
        "val_acc": val_acc,
        "gap": seen_gap,
        "gap_on_corrected_net": gap,
        "standard_error": error,
        "onset_epoch": -1 if onset is None else onset + 1,
    }
    remedy: list[str] = []
    gain = 0.0
    smaller = _remedies(subject) if gap >= SOME and subject.is_frozen else []
    if smaller:
        remedy, gain = _smaller(subject, smaller)
        evidence["gain_of_less_capacity"] = gain
    surely = gap - 2 * error
    which = subject.epoch_called(last=False)
    seen = f"{train_acc:.0%} of the training images are classified correctly, and {val_acc:.0%} of the validation"
    seen = f"By the net{which} {seen} images" if which else f"{seen} images"
    turned = "" if onset is None else f", and the validation loss rises from epoch {onset + 2} on"
    if surely >= WIDE and (remedy or doubling >= GAIN):
        verdict = Verdict.FAULT
        text = f"{seen}{turned}: the net has memorised its {n_train} images; {helps}."
    elif surely >= WIDE or (gap >= SOME and remedy):
        verdict, text = Verdict.SUSPECT, f"{seen}{turned}; {helps}."
    elif gap >= SOME and gap + 2 * error >= WIDE:
        verdict = Verdict.UNKNOWN
        text = (
            f"{seen}{turned}: whether that is overfitting {subject.n_val} validation images can't tell "
            f"(the gap is good to {200 * error:.0f} points); {helps}."
        )
    else:
        return CHECK.found(Verdict.FINE, f"{seen}; {helps}.", evidence)
    if remedy:
        text += f" The head gets {gain * 100:.0f} points more with {' '.join(remedy)}."
    else:
        text += f" None of {', '.join(' '.join(each) for each in smaller)} helps clearly." if smaller else ""
        text += " More photographs should help." if doubling >= GAIN else ""
    return CHECK.found(verdict, text, evidence, remedy)


def learning_curve(subject: Subject) -> list[float]:
    """Returns the validation accuracy of the probe on each of ``SHARES`` of the training images, mean of draws."""
    return [
        float(np.mean([_acc_of_share(subject, share, draw) for draw in range(DRAWS if share < 1 else 1)]))
        for share in SHARES
    ]


def _acc_of_share(subject: Subject, share: float, draw: int) -> float:
    material, features, labels = subject.material, subject.clean, subject.material.train_labels
    rng = np.random.default_rng(draw)
    rows = torch.from_numpy(drawn_by_class(labels.numpy(), lambda n: max(1, math.ceil(share * n)), rng))
    train, n_classes = features.train[rows], len(material.classes)
    return fit_probe(train, labels[rows], features.val, material.val_labels, n_classes).acc


def onset_of(rows: list[dict[str, float]]) -> int | None:
    """Returns the epoch, from 0, of the lowest validation loss if it rises by a tenth later while training falls."""
    losses = [row["val/loss"] for row in rows if "val/loss" in row]
    train = [row["train/loss"] for row in rows if "train/loss" in row]
    if len(losses) < 3 or len(train) != len(losses) or not np.isfinite(losses).all():
        return None
    lowest = int(np.argmin(losses))
    return lowest if losses[-1] > 1.1 * losses[lowest] and train[-1] < train[lowest] else None


def _remedies(subject: Subject) -> list[list[str]]:
    """Returns what would take capacity from the run's own head, the gentlest first; nothing if it has none to give."""
    head = subject.config.head
    remedies = [["head.dropout=0.5"]] if head.dropout < 0.5 else []
    if head.width > 64:
        remedies += [["head.width=64"], ["head.width=64", "head.dropout=0.5"]]
    return [*remedies, ["head.width=0"]] if head.width else remedies


def _smaller(subject: Subject, remedies: list[list[str]]) -> tuple[list[str], float]:
    """Returns the remedy that is clearly better than the run's own head, and its gain."""
    base, labels = subject.clean_config, subject.material.val_labels.numpy()
    own = subject.rehearse(base, QUICK)
    best: tuple[list[str], float] = ([], 0.0)
    most = 0.0
    for remedy in remedies:
        other = subject.rehearse(apply(base, remedy), QUICK)
        gain = other.acc - own.acc
        most = max(most, gain)
        if gain >= max(GAIN, 2 * paired_error(other.predicted, own.predicted, labels)) and gain > best[1]:
            best = (remedy, gain)
    return best if best[0] else ([], most)


def _parameters(subject: Subject) -> int:
    features, width = subject.clean.train.shape[1], subject.config.head.width
    n = len(subject.material.classes)
    return (features + 1) * width + (width + 1) * n if width else (features + 1) * n
