"""Diagnoses a model of any origin by two loaders: what it is fed, how it normalises, what its classes are called."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from seedsweep.batchnorm.policy import norm_layers, statistics_untouched
from seedsweep.batchnorm.statistics import bn_gap, recalibrate
from seedsweep.diagnosis.finding import Check, Diagnosis, Finding, Verdict, worst_first
from seedsweep.diagnosis.model_passes import Seen, first_of, input_changes, passed
from seedsweep.diagnosis.part_of_training import renamings
from seedsweep.diagnosis.probes import Probe, fit_probe
from seedsweep.errors import SeedsweepError
from seedsweep.models.backbone import IMAGENET
from seedsweep.stats import accuracy, compare

BATCHNORM = Check(
    "batchnorm",
    "BatchNorm regime",
    10,
    "Accuracy on the same training images with the batch's statistics and with the stored ones; and on validation with "
    "statistics that were estimated anew on the training images.",
)
INPUTS = Check(
    "inputs",
    "Inputs",
    20,
    "Accuracy on validation with the inputs as they are, and scaled or ordered otherwise.",
)
CLASSES = Check(
    "class_order",
    "Class order",
    30,
    "The exchange of class names that fits one half of the validation images best, judged on the other half.",
)
HEAD = Check(
    "head",
    "Head",
    40,
    "A linear probe on the features that the model's last layers read, beside the model itself.",
)
FITTING = Check(
    "overfitting", "Overfitting", 50, "Accuracy on training images and on validation, both in eval mode."
)
CLEAR, SIGMA = 0.05, 3.0  # of accuracy, and standard errors, between the two modes
SMALL, CERTAIN = 0.03, 0.01  # of accuracy, and the p value, below which another set-up is not called better


def diagnose(
    model: nn.Module,
    train_loader: Iterable[Any],
    val_loader: Iterable[Any],
    *,
    input_spec: tuple[Sequence[float], Sequence[float]] | None = None,
    classes: Sequence[str] | None = None,
    groups: ArrayLike | None = None,
    limit: int = 1000,
) -> Diagnosis:
    """Says what is wrong with a model, as far as its inputs, its BatchNorm, its class names and its head show it.

    Nothing of the model is changed. A fault is named only where the opposite was tried on the validation images and was
    better than chance explains.

    Example:
        >>> import torch, seedsweep as ss
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
        >>> with torch.no_grad():
        ...     _ = net[1].weight.copy_(torch.tensor([[1.0, 0.0, -1.0], [-1.0, 0.0, 1.0]]).repeat_interleave(4, 1))
        >>> x, y = torch.rand(200, 3, 2, 2), torch.arange(200) % 2
        >>> x[y == 0, 2] += 1  # blue, where the model looks for red
        >>> x[y == 1, 0] += 1
        >>> loader = DataLoader(TensorDataset(x, y), batch_size=20)
        >>> found = ss.diagnose(net, loader, loader, classes=["ripe", "unripe"])
        >>> found.findings[0].title, found.findings[0].verdict.value
        ('Inputs', 'fault')

    Args:
        model: any classifier; gives logits [B, N] of inputs [B, ...], on the device where it is to compute.
        train_loader: tuples (inputs, class numbers [B], ...) as in training, shuffled, of the training's batch size.
        val_loader: likewise, of the validation images, not shuffled.
        input_spec: mean and standard deviation, a number a channel, that the weights were trained with; None:
            ImageNet's are tried.
        classes: names, in the order of the logits; None: their numbers.
        groups: [N] names of what belongs together among the validation images, in the loader's order; None: each image
            is its own.
        limit: training images, and validation images, that are looked at: the first ones of each loader.

    Returns:
        The findings, the worst first, and a headline.

    Raises:
        SeedsweepError: a loader is empty or gives something else, or the model gives no finite logits.
    """
    changes = input_changes(*(input_spec or (IMAGENET.mean, IMAGENET.std)))
    val = passed(model, first_of(val_loader, limit), changes)
    train = passed(model, first_of(train_loader, limit), {})
    n = int(max(val.labels.max(), train.labels.max(), val.predicted.max(), train.predicted.max())) + 1
    names = [str(number) for number in range(n)] if classes is None else list(classes)
    if len(names) < n:
        raise SeedsweepError(f"There are {len(names)} names of classes, but class numbers up to {n - 1}.")
    together = None if groups is None else np.asarray(groups)[: len(val.labels)]
    probe = None
    if train.features is not None and val.features is not None:
        labels = (torch.from_numpy(each.labels) for each in (train, val))
        probe = fit_probe(train.features, next(labels), val.features, next(labels), len(names))
    findings = [
        _batchnorm(model, train_loader, val_loader, val, together, limit),
        _inputs(val, together),
        _classes(val, names, together),
        _head(val, probe, together),
    ]
    findings.append(_fitting(train, val, any(each.verdict is Verdict.FAULT for each in findings)))
    ranked = worst_first(findings)
    numbers = {
        "val_acc": float(val.correct.mean()),
        "train_acc": float(train.correct.mean()),
        "majority": float(np.bincount(val.labels).max() / len(val.labels)),
        "chance": 1 / len(names),
    }
    if probe is not None:
        numbers["probe"] = probe.acc
    said, standing = _said(ranked), _standing(val, together, numbers["majority"])
    return Diagnosis(f"{said} {standing}", ranked, numbers, kind="model", standing=standing)


def _standing(val: Seen, groups: NDArray[Any] | None, majority: float) -> str:
    found = accuracy(val.correct, groups)
    return (
        f"The model classifies {found.value:.0%} ({found.low:.0%} to {found.high:.0%}) of {len(val.labels)} validation "
        f"images correctly; always predicting the largest class gets {majority:.0%}."
    )


def _said(ranked: list[Finding]) -> str:
    first = ranked[0]
    if first.verdict is Verdict.FAULT:
        return f"{first.title}: {first.sentence}"
    suspects = ", ".join(each.title for each in ranked if each.verdict is Verdict.SUSPECT)
    return f"No check found a fault.{f' Worth a look: {suspects}.' if suspects else ''}"


def _batchnorm(
    model: nn.Module,
    train_loader: Iterable[Any],
    val_loader: Iterable[Any],
    val: Seen,
    groups: NDArray[Any] | None,
    limit: int,
) -> Finding:
    if not norm_layers(model):
        return BATCHNORM.found(Verdict.FINE, "The model has no BatchNorm layer: no such fault can occur.")
    gap = bn_gap(model, first_of(train_loader, limit))
    evidence: dict[str, Any] = {
        "acc_batch_statistics": gap.train_mode,
        "acc_stored_statistics": gap.eval_mode,
        "standard_error": gap.standard_error,
    }
    both = (
        f"{gap.train_mode:.0%} of the training images are classified correctly with each batch's statistics, and "
        f"{gap.eval_mode:.0%} with the stored ones, which inference takes"
    )
    if gap.gap < max(CLEAR, SIGMA * gap.standard_error):
        return BATCHNORM.found(Verdict.FINE, f"{both}.", evidence)
    with statistics_untouched(model):
        recalibrate(model, first_of(train_loader, limit))
        anew = passed(model, first_of(val_loader, limit), {})
    if not np.array_equal(anew.labels, val.labels):
        raise SeedsweepError("val_loader gives its images in another order each time: take shuffle=False.")
    evidence |= {"val_acc": float(val.correct.mean()), "val_acc_recalibrated": float(anew.correct.mean())}
    tried = f"statistics estimated anew on the training images give {anew.correct.mean():.0%} on validation instead of"
    text = f"{both}; {tried} {val.correct.mean():.0%}"
    if _is_better(anew.correct, val, groups):
        return BATCHNORM.found(
            Verdict.FAULT,
            f"{text}. Call ss.recalibrate(model, train_loader), or train the head again under "
            "ss.set_batchnorm(model, 'inference').",
            evidence,
            cost=compare(anew.correct, val.correct, groups).difference,
        )
    return BATCHNORM.found(Verdict.SUSPECT, f"{text}, so they alone do not mend it.", evidence)


def _is_better(correct: NDArray[np.bool_], val: Seen, groups: NDArray[Any] | None, tried: int = 1) -> bool:
    """Says whether other predictions are better than the model's, and than the largest class, beyond chance.

    Args:
        correct: [N] which validation images they classify correctly.
        val: what the model makes of the images.
        groups: [N] names, or None.
        tried: ways of which these predictions are the best.
    """
    largest = val.labels == np.bincount(val.labels).argmax()
    found = [compare(correct, other, groups) for other in (val.correct, largest)]
    return found[0].difference.value >= SMALL and all(
        each.difference.value > 0 and each.p < CERTAIN / tried for each in found
    )


def _inputs(val: Seen, groups: NDArray[Any] | None) -> Finding:
    if not val.changed:
        return INPUTS.found(Verdict.UNKNOWN, "Can't tell: the inputs are no images [B, 3, H, W].")
    accs = {name: float((found == val.labels).mean()) for name, found in val.changed.items()}
    best = max(accs, key=lambda name: accs[name])
    evidence: dict[str, Any] = {"as_they_are": float(val.correct.mean()), **accs}
    as_it_is = (
        f"{val.correct.mean():.0%} of the validation images are classified correctly as the loader gives them"
    )
    if _is_better(val.changed[best] == val.labels, val, groups, len(accs)):
        text = f"{as_it_is}, and {accs[best]:.0%} {best}: change the loader's transforms so."
        cost = compare(val.changed[best] == val.labels, val.correct, groups).difference
        return INPUTS.found(Verdict.FAULT, text, evidence, cost=cost)
    text = f"{as_it_is}; no other scaling or order of colours that was tried is better beyond chance."
    return INPUTS.found(Verdict.FINE, text, evidence)


def _classes(val: Seen, names: list[str], groups: NDArray[Any] | None) -> Finding:
    half = np.random.default_rng(0).permutation(len(val.labels)) % 2 == 0
    renamed = np.empty_like(val.predicted)
    for rows in (half, ~half):
        is_called = np.arange(len(names))  # fitted on the other half
        for labelled, said in _exchanges(val.labels[~rows], val.predicted[~rows], len(names)):
            is_called[said] = labelled
        renamed[rows] = is_called[val.predicted[rows]]
    after = renamed == val.labels
    evidence: dict[str, Any] = {"as_they_are": float(val.correct.mean()), "exchanged": float(after.mean())}
    pairs = _exchanges(val.labels, val.predicted, len(names))
    if pairs and _is_better(after, val, groups):
        said_so = ", ".join(
            f"{names[labelled]} where the model says {names[said]}" for labelled, said in pairs
        )
        text = (
            f"The classes are in another order than the model's: with other names ({said_so}) {after.mean():.0%} of "
            f"the validation images are classified correctly, and {val.correct.mean():.0%} without."
        )
        cost = compare(after, val.correct, groups).difference
        return CLASSES.found(Verdict.FAULT, text, evidence, cost=cost)
    text = "No other order of the classes fits the validation labels better."
    return CLASSES.found(Verdict.FINE, text, evidence)


def _exchanges(labels: NDArray[np.int64], predicted: NDArray[np.int64], n: int) -> list[tuple[int, int]]:
    """Returns the classes, as labelled and as predicted, in whose exchange the predictions fit the labels best."""
    pairs = [pair for each in renamings(labels, predicted, n) for pair in each.names]
    return [(labelled, said) for labelled, said in pairs if (predicted == said).any()]


def _head(val: Seen, probe: Probe | None, groups: NDArray[Any] | None) -> Finding:
    if probe is None:
        text = "Can't tell: the model does not end in dense layers that read features [B, C]."
        return HEAD.found(Verdict.UNKNOWN, text)
    evidence: dict[str, Any] = {"probe": probe.acc, "val_acc": float(val.correct.mean())}
    both = (
        f"a linear probe on the features before the last layers classifies {probe.acc:.0%} of the validation images "
        f"correctly, and the model {val.correct.mean():.0%}"
    )
    if _is_better(probe.predicted == val.labels, val, groups):
        return HEAD.found(Verdict.SUSPECT, f"The head falls short of its features: {both}.", evidence)
    return HEAD.found(Verdict.FINE, f"The head uses what its features hold: {both}.", evidence)


def _fitting(train: Seen, val: Seen, withheld: bool) -> Finding:
    gap = float(train.correct.mean() - val.correct.mean())
    evidence: dict[str, Any] = {
        "train_acc": float(train.correct.mean()),
        "val_acc": float(val.correct.mean()),
    }
    both = (
        f"{train.correct.mean():.0%} of the training images are classified correctly, and {val.correct.mean():.0%} of "
        "validation"
    )
    if withheld:
        return FITTING.found(Verdict.UNKNOWN, f"Can't tell before the fault above is gone: {both}.", evidence)
    error = np.sqrt(train.correct.var() / len(train.correct) + val.correct.var() / len(val.correct))
    if gap >= max(0.1, SIGMA * error):
        return FITTING.found(
            Verdict.SUSPECT, f"{both}: the model knows its training images better.", evidence
        )
    return FITTING.found(Verdict.FINE, f"{both}.", evidence)
