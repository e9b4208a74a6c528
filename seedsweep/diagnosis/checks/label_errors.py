"""Likely label errors: confident learning (Northcutt, Jiang and Chuang 2021) on a probe's out-of-fold predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedsweep.diagnosis.audited import EXAMPLES
from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict
from seedsweep.diagnosis.out_of_fold import was_asked
from seedsweep.diagnosis.subject import Subject

CHECK = Check(
    "label_errors",
    "Label errors",
    88,
    "Images of training and validation whose label a linear probe that has not seen them, and their nearest "
    "neighbours, both contradict clearly.",
)
SOME, MANY = 0.01, 0.10  # of the images
WEAK = 0.5  # of the way from the largest class to all: a probe below it is too weak to doubt a label
OWN_CHANCE = 0.02  # probability of the given label
OWN_VOTES = 0.1  # share of the neighbours that may still have the given label


@dataclass(frozen=True)
class Doubt:
    """An image whose label the features contradict; ``suggested`` is a class number, ``margin`` 0..1 how clearly."""

    row: int
    given: int
    suggested: int
    margin: float


def check(subject: Subject, folder: Path) -> Finding:
    """Lists the images whose label is most in doubt."""
    facts, seen = subject.audited, subject.out_of_fold
    classes = facts.table.classes
    doubts = find_doubts(seen.probabilities, seen.votes, seen.labels)
    share = len(doubts) / len(seen.labels)
    shown = [(int(seen.rows[doubt.row]), doubt) for doubt in doubts[:EXAMPLES]]
    evidence: Evidence = {
        "images": len(seen.labels),
        "probe": seen.acc,
        "doubtful": len(doubts),
        "share": share,
        "examples": [
            [facts.name(row), classes[doubt.given], classes[doubt.suggested], round(doubt.margin, 3)]
            for row, doubt in shown
        ],
        "not_listed": len(doubts) - len(shown),
    }
    judged = seen.labels[seen.asked]  # those that the probe's accuracy is of
    majority = float(np.bincount(judged).max() / len(judged))
    needed = majority + WEAK * (1 - majority)
    if seen.acc < needed:
        text = (
            f"Can't tell: a linear probe classifies {seen.acc:.0%} of unseen images correctly (the largest class "
            f"is {majority:.0%}), too few to doubt a label; {needed:.0%} are asked for."
        )
        return CHECK.found(Verdict.UNKNOWN, text, evidence)
    if not doubts:
        return CHECK.found(Verdict.FINE, "No label is clearly contradicted.", evidence)
    text = f"{len(doubts)} of {len(seen.labels)} labels are clearly contradicted ({share:.1%})"
    verdict = Verdict.FAULT if share >= MANY else Verdict.SUSPECT if share >= SOME else Verdict.FINE
    if verdict is Verdict.FINE:
        text += f", fewer than the {SOME:.0%} that may be a probe's own mistakes."
    else:
        row, first = shown[0]
        text += (
            f", such as {facts.name(row)}, labelled {classes[first.given]}, which looks like "
            f"{classes[first.suggested]}: go through the list in diagnosis.json and the picture."
        )
    picture = Path("label_errors.png")
    lines = [(f"{classes[doubt.given]}?", f"looks {classes[doubt.suggested]}") for _, doubt in shown]
    captions = [(row, each) for (row, _), each in zip(shown, lines, strict=True)]
    facts.draw(captions, folder / picture, marked=True)
    return CHECK.found(verdict, text, evidence, picture=picture)


def find_doubts(
    probabilities: NDArray[np.float64], neighbours: NDArray[np.float64], labels: NDArray[np.int64]
) -> list[Doubt]:
    """Returns likely label errors, the clearest first.

    An image is confidently another class's where that class's probability reaches the mean that images labelled so get
    themselves (confident learning's threshold), without those that the probe was not asked. A probe that is wrong in
    one image of ten would then doubt many correct labels. So the given label must also be next to impossible to the
    probe, and nearly absent among the neighbours. No label is doubted that the probe never met (all of its class in
    one group), and no such class is suggested.

    Args:
        probabilities: [N, K], out of fold.
        neighbours: [N, K] share of each class among the nearest other images.
        labels: [N] class numbers.
    """
    rows = np.arange(len(labels))
    own, asked = probabilities[rows, labels], was_asked(probabilities, labels)
    judged = [own[asked & (labels == k)] for k in range(probabilities.shape[1])]
    thresholds = np.asarray([each.mean() if len(each) else np.inf for each in judged])
    confident = np.where(probabilities >= thresholds, probabilities, -1)
    suggested, best = confident.argmax(1), confident.max(1)
    contradicted = (own < OWN_CHANCE) & (neighbours[rows, labels] <= OWN_VOTES)
    doubted = asked & (best > 0) & (suggested != labels) & contradicted
    margin = best - own
    order = sorted(np.flatnonzero(doubted).tolist(), key=lambda row: -margin[row])
    return [Doubt(row, int(labels[row]), int(suggested[row]), float(margin[row])) for row in order]
