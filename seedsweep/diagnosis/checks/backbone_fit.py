"""Backbone fit: what a closed-form linear probe gets, the bar for any head on the frozen net."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict
from seedsweep.diagnosis.probes import Floor, Worth, floor_of, standard_error
from seedsweep.diagnosis.subject import Subject
from seedsweep.errors import DamagedError
from seedsweep.runs.run_result import RunResult
from seedsweep.runs.switches import Switches

log = logging.getLogger(__name__)

CHECK = Check(
    "backbone_fit",
    "Backbone fit",
    36,
    "A ridge classifier on the features of the corrected frozen net, on images that neither fitted it nor chose its "
    "penalty; and the runs beside this one: frozen, fine-tuned, from scratch.",
    on_validation=True,
)
CLEAR = 0.05
HEAD = ["optim=adam", "optim.lr=1e-3", "trainer.max_epochs=25", "augment=none"]  # with which heads converge


def check(subject: Subject, folder: Path) -> Finding:
    """Sets the bar, and compares with it and with the runs beside."""
    probe, acc, reached = subject.probe, subject.val_acc, float(subject.probe_correct.mean())
    floor = floor_of(probe.predicted, subject.material.val_labels.numpy(), len(subject.material.classes))
    beside = _siblings(subject)
    means = {kind: float(np.mean(accs)) for kind, accs in beside.items()}
    weights = subject.backbone.weights
    evidence: Evidence = {
        "probe_acc": reached,
        "probe_strength": probe.strength,
        "probe_accs": [round(float(value), 4) for value in probe.accs],
        "probe_balanced_acc": floor.balanced,
        "backbone": subject.backbone.name,
        "weights": weights.note or weights.source,
        "beside": [f"{kind}: {means[kind]:.3f} ({len(accs)} runs)" for kind, accs in sorted(beside.items())],
    }
    random = ", whose weights are random," if subject.clean_config.backbone.weights == "none" else ""
    bar = f"A linear probe on the corrected frozen net{random} gets {reached:.0%} of unseen images"
    remedy: list[str] = []
    if acc is None:
        verdict = Verdict.UNKNOWN
        text = f"{bar}: the bar for this plan; what it gets shows once it was trained."
    else:
        evidence["val_acc"] = acc
        verdict, text, remedy = _judge(subject, acc, reached, floor, bar)
    tuned = means.get("fine-tuned", 0.0)
    if tuned - max(means.get("frozen", 0.0), acc or 0.0, reached) >= CLEAR:
        text += f" Fine-tuned runs beside it reach {tuned:.0%}: fine-tuning pays here."
    made = CHECK.found(verdict, text, evidence, remedy)
    return replace(made, symptom=verdict is Verdict.SUSPECT)  # a gap to the bar has its cause elsewhere


def _judge(
    subject: Subject, acc: float, reached: float, floor: Floor, bar: str
) -> tuple[Verdict, str, list[str]]:
    backbone, above = subject.config.backbone, reached - acc
    n_judged = len(subject.probe_correct)
    clear = max(CLEAR, standard_error(reached, n_judged) + standard_error(acc, subject.n_val))
    if floor.worth is Worth.NOTHING:
        text = f"{bar}, no more than always predicting the largest class ({floor.majority:.0%}): its features tell "
        # otherwise they are trained already
        remedy = ["backbone.freeze=false", "batchnorm=train"] if subject.is_frozen else []
        return Verdict.SUSPECT, f"{text}these classes apart hardly at all.", remedy
    if above >= clear and backbone.weights == "none" and not backbone.freeze:  # else: the check of weights
        text = f"{bar}; this net, from random weights, gets {acc:.0%}. Start from the pretrained weights."
        return Verdict.FAULT, text, ["backbone.weights=auto"]
    if above >= clear and not backbone.freeze:
        text = f"{bar}, more than this net, whose layers were trained, with {acc:.0%}: freeze it, or train gentler."
        whole = ["backbone.train_from=null"] if backbone.train_from is not None else []
        # what suits a whole net's training is too little for a head's
        return Verdict.SUSPECT, text, ["backbone.freeze=true", *whole, "batchnorm=inference", *HEAD]
    if above >= clear:
        return Verdict.SUSPECT, f"{bar}, but the net here {acc:.0%}: something stands in its way.", []
    if -above >= clear:
        return (
            Verdict.FINE,
            f"{bar}, and the net here {acc:.0%}: more than the frozen features alone give.",
            [],
        )
    if floor.worth is Worth.UNCLEAR:
        text = (
            f"{bar}, and {floor.balanced:.0%} of an average class's validation images; the net here gets {acc:.0%}. "
            f"{floor.n} images can't tell the probe from the largest class alone ({floor.majority:.0%})."
        )
        return Verdict.UNKNOWN, text, []
    return Verdict.FINE, f"{bar}, and the net here {acc:.0%}: it is at the bar.", []


def _siblings(subject: Subject) -> dict[str, list[float]]:
    """Returns the validation accuracies of the runs beside this one on the same images, by kind of training.

    Runs of which it is not known that they had these images and this split are left out.
    """
    found: dict[str, list[float]] = {}
    if subject.folder is None or (images := _images_of(subject.metrics)) is None:
        return found
    own = subject.folder.resolve()
    for path in sorted(own.parent.glob("*/metrics.json")):
        run = RunResult(path.parent)
        try:
            acc, switches = run.accuracy("val"), run.switches
        except DamagedError as error:
            log.warning("a run beside this one is not compared: %s", error)
            continue
        if run.folder == own or not run.is_finished or switches is None or acc is None:
            continue
        if _images_of(run.metrics) == images:
            random = (run.metrics.get("weights") or {}).get("source") == "none"
            kind = "from scratch" if random else _kind(switches)
            found.setdefault(kind, []).append(acc)
    return found


def _images_of(metrics: dict[str, Any]) -> tuple[str, str] | None:
    digests = metrics.get("digests") or {}
    split, images = digests.get("split"), digests.get("images")
    return (split, images) if split and images else None


def _kind(switches: Switches) -> str:
    if not switches.backbone.freeze:
        return "fine-tuned"
    policy = switches.batchnorm
    return "frozen, BatchNorm otherwise" if policy.uses_batch or policy.train_affine else "frozen"
