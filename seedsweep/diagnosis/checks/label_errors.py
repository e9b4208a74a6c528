"""Wrong labels: how many there are beyond what hard images explain, which, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedsweep.diagnosis.audited import EXAMPLES, Audited
from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict
from seedsweep.diagnosis.label_noise import Noise, tells_classes
from seedsweep.diagnosis.out_of_fold import OutOfFold, outside_fold
from seedsweep.diagnosis.probes import error_over_groups, floor_of
from seedsweep.diagnosis.subject import Subject
from seedsweep.whole import write_csv

CHECK = Check(
    "label_errors",
    "Label errors",
    10,
    "The share of wrong labels that explains best how a linear probe that has not seen them, and the most similar "
    "images, contradict the labels of training and validation; hard images contradict them otherwise.",
)
FEW = 0.005  # of the images, at the low end of the interval: less is no more than a guess
MANY = 0.02  # likewise: a fault
UNLIKE = 2.0  # largest over smallest share of the splits from which on both are told
HALF = 0.2  # of a class's images filed under one other class: a fault, however small the class
LISTED = 0.5  # probability of the given label, below which an image is listed
FILE = "doubtful_labels.csv"
COLUMNS = ("path", "class", "likely_class", "score", "split")


@dataclass(frozen=True)
class Doubt:
    """An image whose label the features contradict; ``suggested`` is a class number, ``margin`` 0..1 how clearly."""

    row: int
    given: int
    suggested: int
    margin: float


@dataclass(frozen=True)
class Cost:
    """Accuracy of a probe on unseen photographs, and what wrong labels take from it."""

    told: float  # as the given labels tell it
    likely: float  # where no doubtful image is learned from, judged by the likely true labels
    # how much of the difference comes from learning wrong labels; the rest, from judging by them
    learned: float
    error: float  # standard error of ``likely - told``, over photographs


def check(subject: Subject, folder: Path) -> Finding:
    """Estimates the share of wrong labels and their cost, and lists the images in doubt."""
    facts, seen = subject.audited, subject.out_of_fold
    noise, classes = seen.noise, facts.table.classes
    doubts = find_doubts(noise.looks, seen.counted_as[seen.labels])
    write_doubts(doubts, facts, seen, folder / FILE)
    evidence: Evidence = {
        "images": len(seen.labels),
        "probe": seen.acc,
        "share": noise.share,
        "share_low": noise.low,
        "share_high": noise.high,
        "spread": noise.spread,
        "pairs": [[classes[true], classes[given], share] for true, given, share in noise.pairs],
        "by_split": _by_split(noise, facts, seen),
        "doubtful": len(doubts),
        "examples": [
            [facts.name(int(seen.rows[each.row])), classes[seen.labels[each.row]],
             classes[each.suggested], round(each.margin, 3)]
            for each in doubts[:EXAMPLES]
        ],
        "not_listed": max(0, len(doubts) - EXAMPLES),
    }  # fmt: skip
    picture = _draw(doubts, facts, seen, folder) if doubts else None
    listed = _listed(doubts, facts, seen)
    if not noise.found:
        if not tells_classes(seen.single[0], seen.labels):
            floor = floor_of(seen.single[0].argmax(1), seen.labels, len(classes))
            text = (
                f"Can't tell: a linear probe on the features gets {floor.acc:.0%}, always predicting the largest class "
                f"{floor.majority:.0%}, so that wrong labels look like any others.{listed}"
            )
            return CHECK.found(Verdict.UNKNOWN, text, evidence, picture=picture)
        text = f"The labels are contradicted no more than hard images explain.{listed}"
        return CHECK.found(Verdict.FINE, text, evidence, picture=picture)
    about = (
        f"{noise.share:.1%} of the labels are wrong (95 % interval {100 * noise.low:.1f} to {100 * noise.high:.1f} %): "
        f"{_kinds(noise, classes)}{_splits(evidence['by_split'])}"
    )
    half = any(share >= HALF for *_, share in noise.pairs)
    if noise.low < FEW and not half:
        text = f"Hardly more is contradicted than hard images explain. Perhaps {about}.{listed}"
        return CHECK.found(Verdict.FINE, text, evidence, picture=picture)
    cost = cost_of(seen)
    evidence |= {
        "acc_told": cost.told,
        "acc_likely": cost.likely,
        "lost_by_learning": cost.learned,
        "cost": cost.likely - cost.told,
        "cost_error": cost.error,
    }
    severe = noise.is_clear and noise.low >= (FEW if half else MANY)
    gain = cost.likely - cost.told
    verdict = Verdict.FAULT if severe and gain > 2 * cost.error else Verdict.SUSPECT
    little = "Wrong labels explain the given ones but a little better than hard images do. Perhaps"
    how = "About" if noise.is_clear else little
    text = (
        f"{how} {about}. A linear probe gets {cost.told:.1%} on unseen "
        f"images by these labels; without the doubtful ones, judged by the likely true labels, about {cost.likely:.1%} "
        f"(+{100 * gain:.1f} points, give or take {200 * cost.error:.1f}).{listed}"
    )
    return CHECK.found(verdict, text, evidence, picture=picture)


def find_doubts(looks: NDArray[np.float64], labels: NDArray[np.int64]) -> list[Doubt]:
    """Returns images whose label [N] is likelier wrong than right by :attr:`Noise.looks` [N, K], the clearest first."""
    own = looks[np.arange(len(labels)), labels]
    order = np.argsort(own, kind="stable")
    return [
        Doubt(int(row), int(labels[row]), int(looks[row].argmax()), float(1 - own[row]))
        for row in order[: int((own < LISTED).sum())]
    ]


def write_doubts(doubts: list[Doubt], facts: Audited, seen: OutOfFold, path: Path) -> None:
    """Writes all doubtful images, the most doubtful first; no file where there are none."""
    table, rows = facts.table, []
    for each in doubts:
        row = int(seen.rows[each.row])
        likely, score = table.classes[each.suggested], f"{each.margin:.4f}"
        rows.append((facts.name(row), facts.class_of(row), likely, score, str(table.splits[row])))
    write_csv(path, COLUMNS, rows, may_be_empty=False)


def cost_of(seen: OutOfFold) -> Cost:
    """Measures what wrong labels take from a probe that is judged on unseen photographs."""
    rows, labels = np.arange(len(seen.labels)), seen.counted_as[seen.labels]
    truth = seen.noise.truth
    kept = truth[rows, labels] >= LISTED
    without = outside_fold(seen.parts, seen.labels, seen.groups, truth.shape[1], kept)
    given, better = (seen.counted_as[each.argmax(1)] for each in (seen.probabilities, without))
    told, likely = (given == labels).astype(np.float64), truth[rows, better]
    learned = float((likely - truth[rows, given]).mean())
    return Cost(
        float(told.mean()), float(likely.mean()), learned, error_over_groups(likely - told, seen.groups)
    )


def _by_split(noise: Noise, facts: Audited, seen: OutOfFold) -> list[list[str | float]]:
    wrong = 1 - noise.truth[np.arange(len(seen.labels)), seen.counted_as[seen.labels]]
    splits = facts.table.splits[seen.rows]
    return [[str(split), float(wrong[splits == split].mean())] for split in np.unique(splits)]


def _splits(shares: Any) -> str:
    """Says the share of each split where they differ much; nothing where they do not."""
    found = [share for _, share in shares]
    if max(found) < UNLIKE * min(found) or max(found) < MANY:
        return ""
    return f" ({', '.join(f'{split} {share:.1%}' for split, share in shares)})"


def _kinds(noise: Noise, classes: list[str]) -> str:
    said = [f"{noise.spread:.0%} of all look as if given at random"] if noise.spread else []
    pairs = [
        f"{share:.0%} of {classes[true]} lie under {classes[given]}" for true, given, share in noise.pairs
    ]
    return ", ".join(said + pairs)


def _listed(doubts: list[Doubt], facts: Audited, seen: OutOfFold) -> str:
    if not doubts:
        return ""
    first, row = doubts[0], int(seen.rows[doubts[0].row])
    count = "1 image" if len(doubts) == 1 else f"{len(doubts)} images"
    return (
        f" {FILE} lists {count}, the most doubtful first: {facts.name(row)}, labelled {facts.class_of(row)}, "
        f"looks like {facts.table.classes[first.suggested]}."
    )


def _draw(doubts: list[Doubt], facts: Audited, seen: OutOfFold, folder: Path) -> Path:
    classes = facts.table.classes
    captions = [
        (int(seen.rows[each.row]), (f"{classes[seen.labels[each.row]]}?", f"looks {classes[each.suggested]}"))
        for each in doubts[:EXAMPLES]
    ]
    facts.draw(captions, folder / "label_errors.png", marked=True)
    return Path("label_errors.png")
