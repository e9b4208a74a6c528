"""Overfitting and capacity: does the net know its training images by heart, and would more photographs help?"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from seedsweep.diagnosis.finding import Evidence, Finding, Verdict
from seedsweep.diagnosis.rehearse import Rehearsal, paired_error, standard_error
from seedsweep.diagnosis.remedy import apply, changes
from seedsweep.diagnosis.ridge import fit_probe
from seedsweep.diagnosis.subject import Subject
from seedsweep.drawing import GREY, TRAIN, VAL, figure, save, tidy

ORDER = 40
TITLE = "Overfitting and capacity"
MEASURED = (
    "Accuracy on un-augmented training images in eval mode against validation, the epoch where the validation loss "
    "turns, the head with more dropout or fewer units, and a linear probe on 25, 50 and 100 % of the images."
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
    helps = f"the last doubling of the images brought a linear probe {doubling * 100:+.0f} points"
    evidence: Evidence = {
        "learning_curve_shares": list(SHARES),
        "learning_curve": curve,
        "gain_of_last_doubling": doubling,
        "images": len(subject.labels("train")),
        "head_parameters": _parameters(subject),
    }
    _draw(subject, curve, folder / "overfitting.png")
    picture = Path("overfitting.png")
    train_acc, val_acc = subject.train_acc, subject.val_acc
    if train_acc is None or val_acc is None:
        text = f"This plan trains the net, so its gap shows once it was trained; {helps}."
        return Finding("overfitting", TITLE, Verdict.UNKNOWN, MEASURED, text, evidence, picture=picture)
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
    seen = f"By the net{which} {seen}" if which else seen
    turned = "" if onset is None else f", and the validation loss rises from epoch {onset + 2} on"
    if surely >= WIDE and (gain >= GAIN or doubling >= GAIN):
        verdict = Verdict.FAULT
        text = f"{seen} images{turned}: the net has memorised its {evidence['images']} images; {helps}."
    elif surely >= WIDE or (gap >= SOME and gain >= GAIN):
        verdict, text = Verdict.SUSPECT, f"{seen} images{turned}; {helps}."
    elif gap >= SOME and gap + 2 * error >= WIDE:
        verdict = Verdict.UNKNOWN
        text = (
            f"{seen} images{turned}: whether that is overfitting {subject.n_val} validation images can't tell "
            f"(the gap is good to {200 * error:.0f} points); {helps}."
        )
    else:
        verdict, text, remedy = Verdict.FINE, f"{seen} images; {helps}.", []
    if remedy:
        text += f" The head gets {gain * 100:.0f} points more with {' '.join(remedy)}."
    elif verdict is not Verdict.FINE:
        text += f" None of {', '.join(' '.join(each) for each in smaller)} helps clearly." if smaller else ""
        text += " More photographs should help." if doubling >= GAIN else ""
    return Finding("overfitting", TITLE, verdict, MEASURED, text, evidence, remedy, picture=picture)


def learning_curve(subject: Subject) -> list[float]:
    """Returns the validation accuracy of the probe on each of ``SHARES`` of the training images, mean of draws."""
    material, features = subject.material, subject.clean
    labels = material.train_labels
    found = []
    for share in SHARES:
        accs = []
        for draw in range(DRAWS if share < 1 else 1):
            rng = np.random.default_rng(draw)
            rows = []
            for label in range(len(material.classes)):
                of_class = rng.permutation(np.flatnonzero(labels.numpy() == label))
                rows.append(of_class[: max(1, math.ceil(share * len(of_class)))])
            chosen = torch.from_numpy(np.sort(np.concatenate(rows)))
            probe = fit_probe(
                features.train[chosen],
                labels[chosen],
                features.val,
                material.val_labels,
                len(material.classes),
            )
            accs.append(probe.acc)
        found.append(float(np.mean(accs)))
    return found


def onset_of(rows: list[dict[str, float]]) -> int | None:
    """Returns the epoch, from 0, of the lowest validation loss if it rises by a tenth later while training falls."""
    losses = [row["val/loss"] for row in rows if "val/loss" in row]
    train = [row["train/loss"] for row in rows if "train/loss" in row]
    if len(losses) < 3 or len(train) != len(losses) or not np.isfinite(losses).all():
        return None
    lowest = int(np.argmin(losses))
    if losses[-1] > 1.1 * losses[lowest] and train[-1] < train[lowest]:
        return lowest
    return None


def _remedies(subject: Subject) -> list[list[str]]:
    """Returns what would take capacity from the run's own head, the gentlest first; nothing if it has none to give."""
    width, dropout = subject.config.head.width, subject.config.head.dropout
    remedies = []
    if dropout < 0.5:
        remedies.append(["head.dropout=0.5"])
    if width > 64:
        remedies.append(["head.width=64"])
        remedies.append(["head.width=64", "head.dropout=0.5"])
    if width:
        remedies.append(["head.width=0"])
    return remedies


def _smaller(subject: Subject, remedies: list[list[str]]) -> tuple[list[str], float]:
    """Returns the remedy that is clearly better than the run's own head, and its gain."""
    base = subject.clean_config
    tried = subject.rehearse_all([base, *[apply(base, remedy) for remedy in remedies]])
    labels = subject.material.val_labels.numpy()

    def clear(other: Rehearsal) -> bool:
        error = paired_error(other.predicted, tried[0].predicted, labels)
        return other.acc - tried[0].acc >= max(GAIN, 2 * error)

    good = [place for place in range(1, len(tried)) if clear(tried[place])]
    if not good:
        return [], max(0.0, max(each.acc for each in tried) - tried[0].acc)
    best = max(good, key=lambda place: tried[place].acc)
    return remedies[best - 1], tried[best].acc - tried[0].acc


def _parameters(subject: Subject) -> int:
    features, width, n = (
        subject.clean.train.shape[1],
        subject.config.head.width,
        len(subject.material.classes),
    )
    return (features + 1) * width + (width + 1) * n if width else (features + 1) * n


def _draw(subject: Subject, curve: list[float], path: Path) -> None:
    made = figure(10, 3.6)
    left, right = made.subplots(1, 2)
    rows = [row for row in subject.epochs if "val/loss" in row and "train/loss" in row]
    epochs = [row["epoch"] + 1 for row in rows]
    left.plot(epochs, [row["train/loss"] for row in rows], "o-", ms=3, color=TRAIN, label="train")
    left.plot(epochs, [row["val/loss"] for row in rows], "o-", ms=3, color=VAL, label="val")
    tidy(left, "Loss")
    left.set_xlabel("epoch")
    if rows:
        left.set_ylim(bottom=0)
        left.legend(frameon=False, fontsize=9)
    counts = [share * subject.material.n_train for share in SHARES]
    right.plot(counts, curve, "o-", color=VAL, label="linear probe")
    if subject.val_acc is not None:
        right.axhline(subject.val_acc, color=GREY, linestyle=":", label="this run")
    tidy(right, "Would more photographs help? (validation accuracy)")
    right.set_xlabel("training images")
    right.set_ylim(0, 1.02)
    right.legend(frameon=False, fontsize=9)
    save(made, path)
