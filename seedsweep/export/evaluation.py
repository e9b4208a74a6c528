"""Scores a trained net on labelled images: what it gets right, by class, and which images are unlike its training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from seedsweep.data.labelled import Labelled
from seedsweep.data.manifest import read_manifest
from seedsweep.errors import SeedsweepError
from seedsweep.export.classify import Answers, below
from seedsweep.export.load import Trained
from seedsweep.export.tables import open_table
from seedsweep.models.familiar import FAR
from seedsweep.names import and_more
from seedsweep.runs.csv_files import Predictions
from seedsweep.stats.interval import over_correct

MANY = 0.05  # share of unlike images that is warned of, where so many are no chance:
CERTAIN = 0.001  # p below which they are none
YES_NO = ("no", "yes")


@dataclass
class Evaluation:
    """A net's answers to N labelled images."""

    answers: Predictions  # with labels and groups
    unlike: NDArray[np.bool_] | None  # [N] whether an image is unlike training; None: not known
    # [N] whether the net is sure enough to answer; None: nothing was promised
    answered: NDArray[np.bool_] | None = None

    @classmethod
    def of(
        cls, images: Labelled, trained: Trained, found: Sequence[tuple[Sequence[str], Answers]]
    ) -> Evaluation:
        """Puts the answers to the images that could be read beside their labels.

        Args:
            found: paths as tables name them, and answers, of each batch.
        """
        row_of = {below(path, images.root): row for row, path in enumerate(images.paths)}
        paths = [path for some, _ in found for path in some]
        rows = [row_of[path] for path in paths]
        number = {name: place for place, name in enumerate(trained.classes)}
        probabilities = np.concatenate([each.probabilities for _, each in found])
        groups = None if images.groups is None else np.asarray([images.groups[row] for row in rows])
        unlike, answered = (
            [part for _, each in found if (part := getattr(each, name)) is not None]
            for name in ("unlike", "answered")
        )
        return cls(
            Predictions(
                trained.classes,
                paths,
                np.asarray([number[images.names[row]] for row in rows], dtype=np.int64),
                probabilities.argmax(1),
                probabilities.astype(np.float64),
                groups if groups is not None and 1 < len(set(groups)) < len(rows) else None,
            ),
            np.concatenate(unlike) if unlike else None,
            np.concatenate(answered) if answered else None,
        )

    @property
    def largest(self) -> float:
        """The accuracy of always answering these images' largest class."""
        return float(np.bincount(self.answers.labels).max() / len(self.answers.labels))

    def as_dict(self) -> dict[str, Any]:
        """Returns what evaluation.json holds."""
        given, classes = self.answers, self.answers.classes
        confusion = np.zeros((len(classes), len(classes)), dtype=int)
        np.add.at(confusion, (given.labels, given.predicted), 1)
        return {
            "images": len(given.paths),
            "groups": None if given.groups is None else len(set(given.groups)),
            **{name: vars(interval) for name, interval in given.intervals.items()},
            "majority": self.largest,
            "classes": classes,
            "confusion": confusion.tolist(),
            "answered": None if self.answered is None else int(self.answered.sum()),
            "unlike_training": None if self.unlike is None else int(self.unlike.sum()),
        }

    def write(self, path: Path) -> None:
        """Writes a row an image: path, predicted, confidence, label, correct, unlike_training and probabilities."""
        given = self.answers
        more = {
            "label": [given.classes[label] for label in given.labels],
            "correct": [YES_NO[int(each)] for each in given.correct],
        }
        if self.answered is not None:
            more["answered"] = [YES_NO[int(each)] for each in self.answered]
        if self.unlike is not None:
            more["unlike_training"] = [YES_NO[int(each)] for each in self.unlike]
        with open_table(path, given.classes, list(more)) as add:
            add(given.paths, given.probabilities.astype(np.float32), more)

    def scores(self) -> str:
        """Returns accuracy and macro-F1 with their intervals in words."""
        found = self.answers.intervals
        acc, f1 = (
            f"{each.value:.1%} ({each.low:.1%} to {each.high:.1%})"
            for each in (found["acc"], found["macro_f1"])
        )
        n = _images(len(self.answers.paths))
        if self.answers.groups is not None:
            n += f" in {len(set(self.answers.groups))} groups"
        return f"{acc} of {n} are classified correctly, macro-F1 {f1}; always the largest class: {self.largest:.1%}"

    def kept(self, max_error: float) -> tuple[str, bool]:
        """Says how many images are answered, and how many of these wrongly; and whether that breaks the promise."""
        if self.answered is None:
            return "", False
        rows, groups = self.answered, self.answers.groups
        n = int(rows.sum())
        text = (
            f"{n} of {_images(len(rows))} ({n / len(rows):.0%}) are answered, the others are left to a person"
        )
        if not n:
            return text, False
        found = over_correct(self.answers.correct[rows], None if groups is None else groups[rows])
        wrong = f"{1 - found.value:.1%} ({1 - found.high:.1%} to {1 - found.low:.1%})"
        broken = 1 - found.high > max_error
        end = ": the promise does not hold for these images" if broken else ""
        return f"{text}; {wrong} of the answers are wrong, {max_error:.1%} were allowed{end}", broken

    def confused(self) -> str:
        """Returns the classes that are mistaken for another one most; empty: no mistake was made."""
        given = self.answers
        wrong = zip(given.labels[given.correct == 0], given.predicted[given.correct == 0], strict=True)
        most = [
            f"{given.classes[label]} as {given.classes[said]} {n}"
            for (label, said), n in Counter(wrong).most_common()
        ]
        return f"mistaken most often: {and_more(most, 5)}" if most else ""

    def strange(self) -> tuple[str, bool]:
        """Returns how many images are unlike training and where, and whether that is many; empty: not known."""
        if self.unlike is None:
            return "", False
        text, many = unlike_in_words(int(self.unlike.sum()), len(self.unlike))
        if not many:
            return text, False
        given = self.answers
        where = Counter(given.classes[label] for label in given.labels[self.unlike])
        folders = and_more([f"{count} of {name}" for name, count in where.most_common()], 4)
        shares = [given.correct[rows] for rows in (self.unlike, ~self.unlike)]
        told = " and ".join(
            f"{share.mean():.0%} of {what}"
            for share, what in zip(shares, ("these", "the others"), strict=True)
            if len(share)
        )
        return f"{text}: {folders}; {told} are classified correctly", True


def _images(n: int) -> str:
    return f"{n:,} image{'' if n == 1 else 's'}"


def unlike_in_words(n: int, total: int) -> tuple[str, bool]:
    """Says that ``n`` of ``total`` images are unlike the training images, and whether that is many."""
    many = n / total > MANY and binomtest(n, total, 1 - FAR, alternative="greater").pvalue < CERTAIN
    text = f"{n} of {_images(total)} ({n / total:.1%}) are unlike the training images"
    return f"{text}{', and' if many else '; about'} {1 - FAR:.0%} would be by chance", many


def known_before(digests: Sequence[str], run: Path) -> str:
    """Says how many images, given by their SHA-256, the manifest of a net's run names; empty: none, or not known."""
    try:
        split_of = {row.digest: row.split for row in read_manifest(run / "manifest.csv") if row.digest}
    except SeedsweepError:
        return ""
    splits = Counter(split_of.get(digest, "") for digest in digests)
    kinds = {"train": "it was trained on", "val": "it was chosen by"}
    met = [f"{splits[split]} that {what}" for split, what in kinds.items() if splits[split]]
    if not met:
        return ""
    return (
        f"of {_images(len(digests))} the net has met {' and '.join(met)}: on new images it may be less accurate; "
        "leave those out for a number that holds there"
    )
