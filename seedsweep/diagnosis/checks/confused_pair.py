"""The two classes that are confused most often."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seedsweep.diagnosis.audited import EXAMPLES, Audited
from seedsweep.diagnosis.finding import Evidence, Finding, Verdict
from seedsweep.diagnosis.sheet import Photograph, draw_sheet
from seedsweep.diagnosis.subject import Subject

ORDER = 89
TITLE = "Classes that are confused most"
MEASURED = (
    "Which two classes a linear probe on the net's features, out of fold, takes for one another most often."
)
ACROSS = 8


def check(subject: Subject, folder: Path) -> Finding:
    """Counts mistakes in both directions, in shares of the two classes' images."""
    facts, seen = subject.audited, subject.out_of_fold
    classes, n = facts.table.classes, len(facts.table.classes)
    answers = seen.probabilities.argmax(1)
    asked = seen.asked  # the others are not mistakes
    counts = np.zeros((n, n), dtype=np.int64)
    np.add.at(counts, (seen.labels[asked], answers[asked]), 1)
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
        return Finding(
            "confused_pair", TITLE, Verdict.FINE, MEASURED, "No class is taken for another.", evidence
        )
    text = (
        f"{classes[a]} and {classes[b]}: {share[a, b]:.0%} of their images are taken for the other ({counts[a, b]} of "
        f"{sizes[a]} {classes[a]}, {counts[b, a]} of {sizes[b]} {classes[b]}), {mistakes[a, b]} of {wrong} mistakes in "
        "all."
    )
    rows = [
        int(seen.rows[row])
        for given, taken in ((a, b), (b, a))
        for row in np.flatnonzero(asked & (seen.labels == given) & (answers == taken))[: EXAMPLES // 2]
    ]
    _draw(facts, rows, folder / "confused_pair.png")
    picture = Path("confused_pair.png")
    return Finding("confused_pair", TITLE, Verdict.FINE, MEASURED, text, evidence, picture=picture)


def _draw(facts: Audited, rows: list[int], path: Path) -> None:
    draw_sheet(
        [
            Photograph(facts.table.paths[row], (facts.class_of(row), facts.table.paths[row].name))
            for row in rows
        ],
        path,
        how=facts.prepared.pixels.how,
    )
