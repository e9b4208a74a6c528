"""Likely label errors: images whose features contradict their label."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seedsweep.diagnosis.audit.labels import find_doubts
from seedsweep.diagnosis.audited import EXAMPLES
from seedsweep.diagnosis.finding import Evidence, Finding, Verdict
from seedsweep.diagnosis.sheet import Photograph, draw_sheet
from seedsweep.diagnosis.subject import Subject

ORDER = 88
TITLE = "Label errors"
MEASURED = (
    "Images of training and validation whose label a linear probe that has not seen them, and their nearest "
    "neighbours, both contradict clearly."
)
SOME, MANY = 0.01, 0.10  # of the images
WEAK = 0.5  # of the way from the largest class to all: a probe below it can accuse nobody


def check(subject: Subject, folder: Path) -> Finding:
    """Lists the images whose label is most in doubt."""
    facts, seen = subject.audited, subject.out_of_fold
    classes = facts.table.classes
    doubts = find_doubts(seen.probabilities, seen.votes, seen.labels)
    share = len(doubts) / len(seen.labels)
    shown = doubts[:EXAMPLES]
    rows = [int(seen.rows[doubt.row]) for doubt in shown]
    evidence: Evidence = {
        "images": len(seen.labels),
        "probe": seen.acc,
        "doubtful": len(doubts),
        "share": share,
        "examples": [
            [facts.name(row), classes[doubt.given], classes[doubt.suggested], round(doubt.margin, 3)]
            for row, doubt in zip(rows, shown, strict=True)
        ],
        "not_listed": len(doubts) - len(shown),
    }
    looked = f"{len(doubts)} of {len(seen.labels)} labels are clearly contradicted ({share:.1%})"
    judged = seen.labels[seen.asked]  # those that the probe's accuracy is of
    majority = float(np.bincount(judged).max() / len(judged))
    needed = majority + WEAK * (1 - majority)
    if seen.acc < needed:
        text = (
            f"Can't tell: a linear probe classifies {seen.acc:.0%} of unseen images correctly (the largest class "
            f"is {majority:.0%}), too few to doubt a label; {needed:.0%} are asked for."
        )
        return Finding("label_errors", TITLE, Verdict.UNKNOWN, MEASURED, text, evidence)
    if share >= SOME:
        verdict = Verdict.FAULT if share >= MANY else Verdict.SUSPECT
        first = shown[0]
        text = (
            f"{looked}, such as {facts.name(rows[0])}, labelled {classes[first.given]}, which looks like "
            f"{classes[first.suggested]}: go through the list in diagnosis.json and the picture."
        )
    else:
        verdict = Verdict.FINE
        text = (
            f"{looked}, fewer than the {SOME:.0%} that may be a probe's own mistakes."
            if doubts
            else "No label is clearly contradicted."
        )
    picture = None
    if doubts:
        picture = Path("label_errors.png")
        draw_sheet(
            [
                Photograph(
                    facts.table.paths[row],
                    (
                        f"{classes[doubt.given]}?",
                        f"looks {classes[doubt.suggested]}",
                        facts.table.paths[row].name,
                    ),
                    marked=True,
                )
                for row, doubt in zip(rows, shown, strict=True)
            ],
            folder / picture,
            how=facts.prepared.pixels.how,
        )
    return Finding("label_errors", TITLE, verdict, MEASURED, text, evidence, picture=picture)
