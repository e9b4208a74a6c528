"""The two classes that are confused most, and whether anything tells them apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.metrics import confusion_matrix

from seedsweep.diagnosis.audited import EXAMPLES
from seedsweep.diagnosis.finding import COUNTS, Check, Evidence, Finding, Verdict
from seedsweep.diagnosis.out_of_fold import OutOfFold
from seedsweep.diagnosis.probes import error_over_groups
from seedsweep.diagnosis.subject import Subject

CHECK = Check(
    "confused_pair",
    "Classes that are confused most",
    20,
    "Which two classes a linear probe on the net's features, out of fold, takes for one another most often, and "
    "whether the features tell them apart better than chance.",
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
    if not share[a, b]:  # then a and b are any two, and may be one
        return CHECK.found(Verdict.FINE, "No class is taken for another.", {"mistakes": 0})
    alike = next(iter(seen.alike), None)
    if alike is not None:
        a, b = sorted(alike[:2])
    wrong = int(counts.sum() - np.trace(counts))
    evidence: Evidence = {
        "first": classes[a],
        "second": classes[b],
        "share": float(share[a, b]),
        "first_as_second": int(counts[a, b]),
        "second_as_first": int(counts[b, a]),
        "mistakes": wrong,
    }
    verdict = Verdict.FINE
    text = (
        f"{classes[a]} and {classes[b]}: {share[a, b]:.0%} of their images are taken for the other ({counts[a, b]} of "
        f"{sizes[a]} {classes[a]}, {counts[b, a]} of {sizes[b]} {classes[b]}), {mistakes[a, b]} of {wrong} mistakes in "
        "all."
    )
    if alike is not None:
        as_one, error = _as_one(seen, a, b)
        evidence |= {"auc": alike[2], "auc_of_chance": alike[3], "gain_as_one": as_one, "gain_error": error}
        text += (
            f" The features tell them apart no better than chance (area under the ROC curve {alike[2]:.2f}; chance "
            f"reaches {alike[3]:.2f}): one class was cut in two, or the labels of these two were given at random. "
            f"Counted as one class, {100 * as_one:.1f} points more are correct (give or take {200 * error:.1f}). Look "
            "at both folders: merge them, or label their images anew."
        )
        verdict = Verdict.FAULT if as_one >= COUNTS else Verdict.SUSPECT
    captions = [
        (int(seen.rows[row]), (classes[given],))
        for given, taken in ((a, b), (b, a))
        for row in np.flatnonzero(asked & (seen.labels == given) & (predicted == taken))[: EXAMPLES // 2]
    ]
    picture = Path("confused_pair.png")
    facts.draw(captions, folder / picture)
    return CHECK.found(verdict, text, evidence, picture=picture)


def _as_one(seen: OutOfFold, a: int, b: int) -> tuple[float, float]:
    """Returns the accuracy that is gained where two classes count as one, and its standard error over groups."""
    single, made = seen.single[0], np.arange(len(seen.counted_as))
    made[b] = a
    merged = single @ np.eye(len(made))[made]
    gain = (merged.argmax(1) == made[seen.labels]).astype(float) - (single.argmax(1) == seen.labels)
    return float(gain.mean()), error_over_groups(gain, seen.groups)
