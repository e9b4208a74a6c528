"""Shortcuts: do size, kind of file or colour alone tell the class?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seedsweep.diagnosis.audit.cues import Cue
from seedsweep.diagnosis.finding import Evidence, Finding, Verdict
from seedsweep.diagnosis.subject import Subject
from seedsweep.drawing import INK, figure, save

ORDER = 86
TITLE = "Shortcuts"
MEASURED = (
    "What a forest predicts, cross-validated, from the size of the photograph, the kind of file, the mean colour or "
    "the colour of the rim alone; beside a linear probe on the net's features."
)
TOLD = 0.985  # area under the ROC curve from which on a cue tells a class from all others
CLOSE = 0.02  # of accuracy: a cue that comes so near the probe would do in its place
CLEAR = 0.15  # of accuracy above the largest class
TECHNICAL = ("size", "kind of file")  # no defect lies in them


def check(subject: Subject, folder: Path) -> Finding:
    """Measures every cue and compares it with what the features give."""
    facts, seen = subject.audited, subject.out_of_fold
    classes = facts.table.classes
    # of all images, asked or not: so are the cues' accuracy and the majority
    probe = float((seen.probabilities.argmax(1) == seen.labels).mean())
    majority = float(np.bincount(facts.table.labels).max() / len(facts.table.labels))
    verdict, said = Verdict.FINE, []
    for cue in facts.cues:
        told = [classes[k] for k in np.flatnonzero(np.nan_to_num(cue.aucs) >= TOLD)]
        enough = cue.acc >= max(probe - CLOSE, majority + CLEAR)
        if told:
            said.append(
                f"{cue.name} alone tells {', '.join(told)} from all others (AUC {np.nanmax(cue.aucs):.3f})"
            )
        if enough:
            said.append(
                f"{cue.name} alone tells {cue.acc:.0%} of the images' classes, the net's features {probe:.0%}"
            )
        if told or enough:
            fault = enough and cue.name in TECHNICAL
            verdict = Verdict.FAULT if fault or verdict is Verdict.FAULT else Verdict.SUSPECT
    best = max(facts.cues, key=lambda cue: cue.acc)
    if not said:
        text = (
            f"No cue tells a class by itself: the best, {best.name}, tells {best.acc:.0%} of the images (the largest "
            f"class {majority:.0%}, the net's features {probe:.0%})."
        )
    else:
        text = "; ".join(said)
        text = (
            f"{text[0].upper()}{text[1:]}. If that is not what makes the class, the net may learn it instead of the "
            "object: photograph all classes alike."
        )
    evidence: Evidence = {
        "probe": probe,
        "majority": majority,
        "cues": [[cue.name, cue.acc, cue.balanced] for cue in facts.cues],
        "auc": [[cue.name, *(_number(auc) for auc in cue.aucs)] for cue in facts.cues],
        "classes": list(classes),
    }
    _draw(facts.cues, classes, folder / "shortcuts.png")
    return Finding("shortcuts", TITLE, verdict, MEASURED, text, evidence, picture=Path("shortcuts.png"))


def _number(auc: float) -> float | None:
    return None if np.isnan(auc) else round(float(auc), 4)


def _draw(cues: list[Cue], classes: list[str], path: Path) -> None:
    shown = range(min(len(classes), 30))
    made = figure(2.6 + 0.75 * len(shown), 1.6 + 0.45 * len(cues))
    axes = made.subplots()
    values = np.asarray([cue.aucs[list(shown)] for cue in cues])
    axes.imshow(values, vmin=0.5, vmax=1, cmap="YlOrBr", aspect="auto")
    for y, row in enumerate(values):
        for x, auc in enumerate(row):
            colour = "white" if auc > 0.85 else INK
            axes.text(
                x, y, f"{auc:.2f}" if auc == auc else "", ha="center", va="center", fontsize=8, color=colour
            )
    axes.set_xticks(shown, [classes[k] for k in shown], rotation=35, ha="right", fontsize=8, parse_math=False)
    axes.set_yticks(range(len(cues)), [f"{cue.name} ({cue.acc:.0%})" for cue in cues], fontsize=9)
    axes.set_title(
        "How well a cue alone tells a class (AUC; 0.5: not at all)", loc="left", fontsize=10, color=INK
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    save(made, path)
