"""Head and its training: does a setting keep the head below what the features give?"""

from __future__ import annotations

import math
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import numpy as np

from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict
from seedsweep.diagnosis.probes import paired_error
from seedsweep.diagnosis.rehearsals import QUICK, Rehearsal
from seedsweep.diagnosis.remedy import apply
from seedsweep.diagnosis.subject import Subject
from seedsweep.training.options import ArmSettings

CHECK = Check(
    "head",
    "Head and its training",
    52,
    "The head trained anew on the features of the corrected net, each time with one setting of the head or of its "
    "training at its default: those that differ from it to the side that harms.",
    on_validation=True,
)
TITLES = {
    "data.batch_size": "Batch size",
    "optim.accumulate": "Batch size",
    "trainer.max_epochs": "Epochs",
    "trainer.patience": "Epochs",
    "optim.weight_decay": "Weight decay",
    "head.dropout": "Dropout",
    "head.label_smoothing": "Label smoothing",
    "head.width": "Units of the head",
}
AT_MOST = {  # what is more than that may harm
    "data.batch_size": 32,
    "optim.accumulate": 1,
    "optim.weight_decay": 0,
    "head.dropout": 0,
    "head.label_smoothing": 0,
    "optim.clip_norm": 0,
    "optim.warmup": 0,
}
AT_LEAST = {"trainer.max_epochs": 25, "trainer.patience": 10, "head.width": 1024, "optim.momentum": 0.9}
NO_LIMIT = ("trainer.patience", "head.width")  # where 0 means something else than very little
GRID = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]  # learning rates
STEPS = 400  # in which a head converges: few images make few steps an epoch
BELOW = 0.03  # of accuracy below the probe, from which on the head is looked at
SOME, CLEAR = 0.05, 0.08  # of accuracy, and
SOME_SIGMA, CLEAR_SIGMA = 2.0, 3.0  # standard errors
EQUAL = 0.02  # of accuracy: of settings that gain alike the first of AT_MOST and AT_LEAST is named
MOSTLY = 0.75  # of what is missing to the probe: what gains less is not what the head lacks


def check(subject: Subject, folder: Path) -> Finding:
    """Sets each setting back alone, and takes the one that gains most."""
    if not subject.is_frozen:
        text = "Can't tell: the layers of this net are trained, and a head on stored features says little about that."
        return CHECK.found(Verdict.UNKNOWN, text)
    clean, probe, labels = subject.clean_config, subject.probe.acc, subject.material.val_labels.numpy()
    own = subject.rehearse(clean, QUICK)
    both = f"on the features of the corrected net the head gets {own.acc:.0%}, and a linear probe {probe:.0%}"
    evidence: Evidence = {"head": own.acc, "probe": probe}
    if probe - own.acc < BELOW:
        return CHECK.found(Verdict.FINE, f"The head is at the bar: {both}.", evidence)
    lines = defaults(clean, subject.material.n_train)
    if not lines:
        text = "No setting of the head and its training differs from its default to the side that harms"
        return CHECK.found(Verdict.FINE, f"{text}: {both}.", evidence)
    tried = {line: subject.rehearse(apply(clean, [line]), QUICK) for line in lines}
    most = max(each.acc for each in tried.values())
    line = next(line for line, each in tried.items() if each.acc >= most - EQUAL)
    key, _, value = line.partition("=")
    gain = tried[line].acc - own.acc
    error = paired_error(tried[line].predicted, own.predicted, labels)
    evidence |= {
        "tried": [[line, each.acc] for line, each in tried.items()],
        "gain": gain,
        "standard_error": error,
    }
    of = f"({100 * gain:+.0f} points, give or take {200 * error:.0f})"
    if gain < max(SOME, SOME_SIGMA * error) or gain < MOSTLY * (probe - own.acc):
        text = (
            f"None of {', '.join(lines)} alone brings the head to the probe: {both}; the best is {line} {of}."
        )
        return CHECK.found(Verdict.FINE, text, evidence)
    verdict = Verdict.FAULT if gain >= max(CLEAR, CLEAR_SIGMA * error) else Verdict.SUSPECT
    chosen = attrgetter(key)(clean)
    text = (
        f"{key}={chosen} keeps the head from what the features tell: {both}. With {value} instead of {chosen} the same "
        f"head gets {tried[line].acc:.0%} {of}."
    )
    rates, at, place = at_rates(subject)
    if not is_as_good(tried[line], at[place], subject):  # then the rate may be all that is wrong
        verdict = Verdict.SUSPECT
        text += f" With optim.lr={rates[place]:g} instead it gets {at[place].acc:.0%}, which is more."
    return CHECK.found(verdict, text, evidence, [line], title=TITLES.get(key, CHECK.title))


def at_rates(subject: Subject) -> tuple[list[float], list[Rehearsal], int]:
    """Trains the head at learning rates, the run's own among them.

    Returns:
        The rates, what each reached, and the place of the best; of those equal within 1 point, the middle one.
    """
    clean, own = subject.clean_config, subject.config.optim.lr
    rates = sorted({*[rate for rate in GRID if abs(math.log10(rate / own)) > 0.25], own})
    tried = [subject.rehearse(replace(clean, optim=replace(clean.optim, lr=rate)), QUICK) for rate in rates]
    accs = np.asarray([each.acc for each in tried])
    plateau = np.flatnonzero(accs >= accs.max() - 0.01)
    middle = np.median(np.log10([rates[place] for place in plateau]))
    return rates, tried, int(min(plateau, key=lambda place: abs(math.log10(rates[place]) - middle)))


def is_as_good(tried: Rehearsal, best: Rehearsal, subject: Subject) -> bool:
    """Says whether a head is as good as another, within :data:`EQUAL` or chance."""
    error = paired_error(tried.predicted, best.predicted, subject.material.val_labels.numpy())
    return tried.acc >= best.acc - max(EQUAL, error)


def defaults(config: ArmSettings, n_train: int) -> list[str]:
    """Returns overrides, each of which sets a setting back to its default that differs to the side that harms."""
    lines = []
    for key, most in AT_MOST.items():
        if attrgetter(key)(config) > most:
            lines.append(f"{key}={most}")
    steps = math.ceil(n_train / min(config.data.batch_size, AT_MOST["data.batch_size"]))
    for key, least in AT_LEAST.items():
        enough = max(least, math.ceil(STEPS / steps)) if key == "trainer.max_epochs" else least
        own = attrgetter(key)(config)
        meant = config.optim.name == "sgd" if key == "optim.momentum" else own or key not in NO_LIMIT
        if meant and own < enough:
            lines.append(f"{key}={enough:g}")
    return [*lines, "optim.schedule=constant"] if config.optim.schedule != "constant" else lines
