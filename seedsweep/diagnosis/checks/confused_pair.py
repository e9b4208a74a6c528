"""The two classes that are confused most often."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.metrics import confusion_matrix

from seedsweep.diagnosis.audited import EXAMPLES
from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict
from seedsweep.diagnosis.subject import Subject

CHECK = Check(
    "confused_pair",
    "Classes that are confused most",
    89,
    "Which two classes a linear probe on the net's features, out of fold, takes for one another most often.",
)


def check(subject: Subject, folder: Path) -> Finding:
    """Counts mistakes in both directions, in shares of the two classes' images."""
    facts, seen = subject.audited, subject.out_of_fold
    classes = facts.table.classes
    predicted = seen.probabilities.argmax(1)
    asked = seen.asked  # the others are not mistakes
    counts = confusion_matrix(seen.labels[asked], predicted[asked], labels=range(len(classes)))
    sizes = counts.sum(1)
    mistakes = counts + counts.T
    share = np.triu(mistakes / np.maximum(sizes[:, None] + sizes[None], 1), 1)
    a, b = (int(place) for place in np.unravel_index(share.argmax(), share.shape))
    wrong = int(counts.sum() - np.trace(counts))
    evidence: Evidence = {
        "first": classes[a],
        "second": classes[b],
        "share": float(share[a, b]),
        "first_as_second": int(counts[a, b]),
        "second_as_first": int(counts[b, a]),
        "mistakes": wrong,
    }
    if not share[a, b]:  # then a and b are any two, and may be one
        return CHECK.found(Verdict.FINE, "No class is taken for another.", evidence)
    text = (
        f"{classes[a]} and {classes[b]}: {share[a, b]:.0%} of their images are taken for the other ({counts[a, b]} of "
        f"{sizes[a]} {classes[a]}, {counts[b, a]} of {sizes[b]} {classes[b]}), {mistakes[a, b]} of {wrong} mistakes in "
        "all."
    )
    captions = [
        (int(seen.rows[row]), (classes[given],))
        for given, taken in ((a, b), (b, a))
        for row in np.flatnonzero(asked & (seen.labels == given) & (predicted == taken))[: EXAMPLES // 2]
    ]
    picture = Path("confused_pair.png")
    facts.draw(captions, folder / picture)
    return CHECK.found(Verdict.FINE, text, evidence, picture=picture)
