"""Backbone fit: what a closed-form linear probe gets, the bar for any head on the frozen net."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from seedsweep.diagnosis.finding import Evidence, Finding, Verdict
from seedsweep.diagnosis.floor import Standing, floor_of
from seedsweep.diagnosis.rehearse import standard_error
from seedsweep.diagnosis.ridge import STRENGTHS
from seedsweep.diagnosis.subject import Subject
from seedsweep.drawing import GREY, TRAP, VAL, figure, save, tidy
from seedsweep.errors import DamagedError
from seedsweep.runs.record import FINISHED, read_metrics, read_switches
from seedsweep.runs.switches import Switches

log = logging.getLogger(__name__)

ORDER = 60
TITLE = "Backbone fit"
MEASURED = (
    "A ridge classifier on the features of the corrected frozen net, the penalty chosen on the validation images; and "
    "the runs beside this one: frozen, fine-tuned, from scratch."
)
CLEAR = 0.05


def check(subject: Subject, folder: Path) -> Finding:
    """Sets the bar, and compares with it and with the runs beside."""
    probe, acc = subject.probe, subject.val_acc
    labels, classes = subject.material.val_labels.numpy(), subject.material.classes
    largest = int(np.bincount(labels).argmax())
    floor = floor_of(probe.predicted, labels, largest, len(classes))
    beside = siblings(subject)
    weights = subject.backbone.weights
    evidence: Evidence = {
        "probe_acc": probe.acc,
        "probe_strength": probe.strength,
        "probe_accs": [round(float(value), 4) for value in probe.accs],
        "probe_balanced_acc": floor.balanced,
        "backbone": subject.backbone.name,
        "weights": weights.note or weights.source,
        "beside": [
            f"{kind}: {np.mean(accs):.3f} ({len(accs)} runs)" for kind, accs in sorted(beside.items())
        ],
    }
    random = ", whose weights are random," if subject.clean_config.backbone.weights == "none" else ""
    bar = f"A linear probe on the corrected frozen net{random} gets {probe.acc:.0%}"
    remedy: list[str] = []
    cost = None
    means = {kind: float(np.mean(accs)) for kind, accs in beside.items()}
    error = standard_error(probe.acc, floor.n)
    if acc is not None:
        evidence["val_acc"] = acc
        error += standard_error(acc, subject.n_val)
    if acc is None:
        verdict = Verdict.UNKNOWN
        text = f"{bar}: the bar for this plan, which trains the net, so that what it gets shows once it was trained."
    elif floor.standing is Standing.NOTHING:
        verdict = Verdict.SUSPECT
        text = f"{bar}, no more than always predicting the largest class ({floor.majority:.0%}): its features tell "
        text += "these classes apart hardly at all."
        if subject.is_frozen:  # otherwise they are trained already
            remedy = ["backbone.freeze=false", "batchnorm=train"]
    elif probe.acc - acc >= max(CLEAR, error):
        verdict, text = Verdict.SUSPECT, f"{bar}, but the net here {acc:.0%}: something stands in its way."
        if subject.config.backbone.weights == "none":
            text = f"{bar}; this net, from random weights, gets {acc:.0%}. Start from the pretrained weights."
            verdict, remedy, cost = Verdict.FAULT, ["backbone.weights=auto"], probe.acc - acc
        elif not subject.config.backbone.freeze:
            text = f"{bar}, more than this net, whose layers were trained, with {acc:.0%}: freeze it, or train gentler."
            whole = ["backbone.train_from=null"] if subject.config.backbone.train_from is not None else []
            remedy = ["backbone.freeze=true", *whole, "batchnorm=inference"]
            cost = probe.acc - acc
    elif acc - probe.acc >= max(CLEAR, error):
        verdict = Verdict.FINE
        text = f"{bar}, and the net here {acc:.0%}: more than the frozen features alone give."
    elif floor.standing is Standing.UNCLEAR:
        verdict = Verdict.UNKNOWN
        text = (
            f"{bar} and {floor.balanced:.0%} of an average class's images, and the net here gets {acc:.0%}; {floor.n} "
            f"images can't tell the probe's accuracy from that of the largest class alone ({floor.majority:.0%})."
        )
    else:
        verdict, text = Verdict.FINE, f"{bar}, and the net here {acc:.0%}: it is at the bar."
    tuned = means.get("fine-tuned", 0.0)
    if tuned - max(means.get("frozen", 0.0), acc or 0.0, probe.acc) >= CLEAR:
        text += f" Fine-tuned runs beside it reach {tuned:.0%}: fine-tuning pays here."
    _draw(subject, means, folder / "backbone_fit.png")
    picture = Path("backbone_fit.png")
    return Finding("backbone_fit", TITLE, verdict, MEASURED, text, evidence, remedy, cost, picture)


def siblings(subject: Subject) -> dict[str, list[float]]:
    """Returns the validation accuracies of the runs beside this one on the same images, by kind of training.

    Runs of which it is not known that they had these images and this split are left out.
    """
    if subject.folder is None:
        return {}
    own = subject.folder.resolve()
    found: dict[str, list[float]] = {}
    for folder in sorted(path.parent for path in own.parent.glob("*/metrics.json")):
        try:
            metrics = read_metrics(folder)
        except DamagedError as error:
            log.warning("a run beside this one is not compared: %s", error)
            continue
        switches = read_switches(folder, metrics)
        if folder == own or metrics.get("status") != FINISHED or switches is None:
            continue
        if _data(metrics) is None or _data(metrics) != _data(subject.metrics) or not metrics.get("val"):
            continue
        random = (metrics.get("weights") or {}).get("source") == "none"
        found.setdefault(_kind(switches, random), []).append(float(metrics["val"]["acc"]))
    return found


def _data(metrics: dict[str, Any]) -> tuple[str, str] | None:
    digests = metrics.get("digests") or {}
    split, images = digests.get("split"), digests.get("images")
    return (split, images) if split and images else None


def _kind(switches: Switches, random: bool) -> str:
    if random:
        return "from scratch"
    policy = switches.batchnorm
    if switches.backbone.freeze and not (policy.uses_batch or policy.train_affine):
        return "frozen"
    return "frozen, BatchNorm otherwise" if switches.backbone.freeze else "fine-tuned"


def _draw(subject: Subject, means: dict[str, float], path: Path) -> None:
    made = figure(10, 3.4)
    left, right = made.subplots(1, 2)
    left.semilogx(STRENGTHS, subject.probe.accs, "o-", ms=4, color=VAL, label="linear probe")
    here = {} if subject.val_acc is None else {"this net": subject.val_acc}
    for label, acc in here.items():
        left.axhline(acc, color=TRAP, linewidth=1.2, label=label)
    tidy(left, "Validation accuracy")
    left.set_xlabel("penalty, in mean eigenvalues")
    left.minorticks_off()  # 64 of them over 8 decades: nobody reads one, and they cost half of the drawing
    left.set_ylim(0, 1.02)
    left.legend(frameon=False, fontsize=9)
    bars = {"linear probe": subject.probe.acc} | here | means
    colours = [VAL, *[TRAP] * len(here), *[GREY] * len(means)]
    drawn = right.barh(list(bars), list(bars.values()), color=colours, height=0.6)
    right.bar_label(drawn, fmt="{:.2f}", fontsize=9, padding=2)
    right.invert_yaxis()
    right.set_xlim(0, 1.1)
    tidy(right, "Beside it")
    save(made, path)
