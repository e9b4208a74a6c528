"""Says how a deployed model wants its images: scaling, order of colours, size and crop, order of the classes."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest

from seedsweep.data.image_formats import BadImageError
from seedsweep.data.images import Reading, read_image
from seedsweep.data.labelled import Labelled
from seedsweep.data.value_ranges import Ranges
from seedsweep.diagnosis.feeding import (
    CENTRE,
    COARSE,
    CROPPED,
    PADDED,
    RAW,
    SCALINGS,
    SIZES,
    SQUASHED,
    Feeding,
)
from seedsweep.diagnosis.finding import Check, Diagnosis, Finding, Verdict, capital, in_points, worst_first
from seedsweep.diagnosis.onnx_file import OnnxModel
from seedsweep.diagnosis.part_of_training import drawn_part, renamings
from seedsweep.errors import SeedsweepError
from seedsweep.export.classify import reading_of
from seedsweep.names import and_more
from seedsweep.stats.interval import group_numbers
from seedsweep.stats.pairs import Comparison, compare
from seedsweep.stats.ranking import accuracy
from seedsweep.whole import write_json

log = logging.getLogger(__name__)

HALVES = "Chosen on one half of the photographs, measured on the other."
INPUTS = Check(
    "inputs", "Inputs", 20, f"Accuracy with other scalings, and with red and blue swapped. {HALVES}"
)
FRAMING = Check("framing", "Size and crop", 25, f"Accuracy with other sizes, crops and filters. {HALVES}")
CLASSES = Check(
    "class_order", "Class order", 30, f"The exchange of class names that fits the answers best. {HALVES}"
)
FEWEST = 20  # images
SMALL, CERTAIN = 0.03, 0.01  # of accuracy, and the p value, below which another feeding is not called better


def diagnose_deployed(
    model: OnnxModel, images: Labelled, said: Feeding, folder: Path, limit: int = 1000, gib: float = 1.5
) -> Diagnosis:
    """Searches how ``model`` wants its images, and writes diagnosis.json.

    A way to feed it is chosen on one half of the photographs; what it gains is measured on the other, with its
    interval.

    Args:
        images: labelled images that it was not trained on.
        said: how it is fed now.
        limit: images that are looked at.

    Raises:
        SeedsweepError: the classes are others than the model's, too few images can be read, or it can't be computed.
    """
    seen = _Seen(model, images, limit, gib)
    base = seen.predicted([said])[said]
    parts = _found(seen, said)
    while True:
        fed, names = _mended(said, parts, len(seen.names))
        full = seen.correct(fed, names)
        costs = {}
        for part in parts:
            back = {key: value for key, value in parts.items() if key != part}
            less = seen.correct(*_mended(said, back, len(seen.names)))
            costs[part] = seen.judged(full, less)
        clear = {part for part, cost in costs.items() if cost.difference.value >= SMALL and cost.p < CERTAIN}
        kept = {part: value for part, value in parts.items() if part in clear}
        if len(kept) == len(parts):
            break
        parts = kept
    largest = seen.labels == np.bincount(seen.labels).argmax()
    helpless = seen.judged(full, largest).difference.low <= 0
    findings = [
        _finding(check, seen, said, parts.get(check.name), costs.get(check.name), helpless=helpless)
        for check in (INPUTS, FRAMING, CLASSES)
    ]
    ranked = worst_first(findings)
    numbers = {
        "val_acc": float((base == seen.labels).mean()),
        "mended": float(full[~seen.choose].mean()),
        "majority": float(largest.mean()),
        "chance": 1 / len(seen.names),
    }
    faults = " ".join(f"{each.title}: {each.sentence}" for each in ranked if each.verdict is Verdict.FAULT)
    standing = _standing(seen, said, base, numbers, mended=bool(faults))
    headline = f"{faults or 'No fault was found in how the model is fed.'} {standing}"
    diagnosis = Diagnosis(headline, ranked, numbers, kind="model", standing=standing)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "diagnosis.json", diagnosis.as_dict())
    return diagnosis


class _Seen:
    """What a model makes of images that are fed in several ways; each way is computed once."""

    def __init__(self, model: OnnxModel, images: Labelled, limit: int, gib: float) -> None:
        rows = np.sort(np.random.default_rng(0).permutation(len(images.paths))[:limit])
        known = Ranges.from_dict(json.loads(model.metadata.get("values", "{}") if model.is_ours else "{}"))
        self._how = reading_of([images.paths[row] for row in rows], known, gib, -1)
        rows, self._paths = _readable(images, rows, self._how)
        if len(rows) < FEWEST:
            raise SeedsweepError(
                f"{len(rows)} images can be read, and {FEWEST} are needed to tell how a model is fed."
            )
        self.model, self.found = model, dict[Feeding, NDArray[np.int64]]()
        self.by_name, self.names = _names(model, images)
        self.labels = np.asarray([self.names.index(images.names[row]) for row in rows], dtype=np.int64)
        self.groups = None if images.groups is None else np.asarray(images.groups)[rows]
        numbers = group_numbers(self.groups, len(rows))[0]
        self.choose = drawn_part(numbers, len(rows) // 2, np.random.default_rng(1))

    def judged(self, correct: NDArray[np.bool_], other: NDArray[np.bool_]) -> Comparison:
        """Compares which images [n] are correct, on those that nothing was chosen by."""
        rows = ~self.choose
        return compare(correct[rows], other[rows], None if self.groups is None else self.groups[rows])

    def takes(self, way: Feeding) -> bool:
        """Says whether the model can read images of that size."""
        try:
            self.model.scores(torch.zeros(1, 3, *way.size))
        except SeedsweepError:
            return False
        return True

    def predicted(self, ways: Sequence[Feeding]) -> dict[Feeding, NDArray[np.int64]]:
        """Returns the classes [n] for each way to feed the model."""
        new = [way for way in ways if way not in self.found]
        made: dict[Feeding, list[NDArray[np.int64]]] = {way: [] for way in new}
        for start in range(0, len(self._paths) if new else 0, 64):
            read = [read_image(path, how=self._how) for path in self._paths[start : start + 64]]
            for way in new:
                scores = self.model.scores(torch.stack([way.of(image) for image in read]))
                if scores.shape[1] != len(self.names):
                    raise SeedsweepError(
                        f"{self.model.path} tells {scores.shape[1]} classes apart, and {len(self.names)} are known of "
                        f"it or of the folders ({and_more(self.names, 12)}): give a folder with all of its classes."
                    )
                made[way].append(scores.argmax(1))
        self.found |= {way: np.concatenate(parts) for way, parts in made.items()}
        return {way: self.found[way] for way in ways}

    def correct(self, way: Feeding, names: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Says [n] which images are classified correctly where output k means class ``names[k]``."""
        right: NDArray[np.bool_] = names[self.predicted([way])[way]] == self.labels
        return right

    def fit(self, way: Feeding) -> int:
        """Counts the images of the choosing half that are correct under the class names that fit best."""
        labels, predicted = self.labels[self.choose], self.predicted([way])[way][self.choose]
        gained = sum(each.gain for each in renamings(labels, predicted, len(self.names)))
        return int((labels == predicted).sum()) + gained


def _found(seen: _Seen, said: Feeding) -> dict[str, Any]:
    """Returns what is otherwise than said by what fits the choosing half best, by the name of its check."""
    least = SMALL * float(seen.choose.sum())
    scalings = [RAW] if seen.model.kind is np.uint8 else list(SCALINGS)
    ways = [
        replace(said, scaling=scaling, swapped=swapped) for scaling in scalings for swapped in (False, True)
    ]
    fed = _best(seen, said, ways, least)
    frames = [replace(fed, framing=each) for each in (SQUASHED, COARSE, CROPPED, CENTRE, PADDED)]
    if seen.model.size is None:
        frames += [way for side in SIZES if seen.takes(way := replace(fed, size=(side, side)))]
    best = _best(seen, fed, frames, least)
    parts: dict[str, Any] = {}
    if fed != said:
        parts[INPUTS.name] = fed
    if best != fed:
        parts[FRAMING.name] = best
    labels, predicted = seen.labels[seen.choose], seen.predicted([best])[best][seen.choose]
    pairs = [
        pair
        for each in renamings(labels, predicted, len(seen.names))
        if each.gain > 0 and binomtest(each.after, each.after + each.before).pvalue < CERTAIN
        for pair in each.names
    ]
    if pairs:
        parts[CLASSES.name] = pairs
    return parts


def _best(seen: _Seen, now: Feeding, ways: list[Feeding], least: float) -> Feeding:
    """Returns the way that fits best; ``now`` unless another fits ``least`` images more."""
    seen.predicted([now, *ways])
    best = max(ways, key=seen.fit)
    return best if seen.fit(best) - seen.fit(now) >= least else now


def _mended(said: Feeding, parts: dict[str, Any], n: int) -> tuple[Feeding, NDArray[np.int64]]:
    """Returns how to feed the model with ``parts`` put right, and the class [n] that each output means."""
    fed, names = said, np.arange(n)
    if INPUTS.name in parts:
        fed = replace(fed, scaling=parts[INPUTS.name].scaling, swapped=parts[INPUTS.name].swapped)
    if FRAMING.name in parts:
        fed = replace(fed, framing=parts[FRAMING.name].framing, size=parts[FRAMING.name].size)
    for labelled, output in parts.get(CLASSES.name, ()):
        names[output] = labelled
    return fed, names


def _finding(
    check: Check, seen: _Seen, said: Feeding, part: Any, cost: Comparison | None, *, helpless: bool
) -> Finding:
    tried = {way.inputs if check is INPUTS else way.frame: way for way in seen.found}
    evidence: dict[str, Any] = {"as_said": float((seen.predicted([said])[said] == seen.labels).mean())}
    if check is not CLASSES:
        evidence["fit_by_" + check.name] = sorted(
            ([name, seen.fit(way) / int(seen.choose.sum())] for name, way in tried.items()),
            key=lambda each: -each[1],
        )
    if part is None or cost is None:
        if helpless:
            text = (
                "Can't tell: fed in no way that was tried, the model is better than always the largest class."
            )
            return check.found(Verdict.UNKNOWN, text, evidence)
        better = f"is {SMALL * 100:.0f} points better beyond chance."
        if check is CLASSES:
            return check.found(Verdict.FINE, f"No other order of the classes {better}", evidence)
        now = said.inputs if check is INPUTS else said.frame
        return check.found(Verdict.FINE, f"{capital(now)}: nothing else that was tried {better}", evidence)
    gain = cost.difference
    evidence["judged_on"] = int((~seen.choose).sum())
    if check is CLASSES:
        told = [f"{seen.names[output]} means {seen.names[labelled]}" for labelled, output in part]
        by = "the file's list of classes" if seen.by_name else "the folders' names in order"
        text = f"The model's outputs are in another order than {by}: {and_more(told, 6)}. That costs {in_points(gain)}."
        return check.found(Verdict.FAULT, text, evidence, cost=gain)
    now, other = (said.inputs, part.inputs) if check is INPUTS else (said.frame, part.frame)
    text = f"The model wants images {other}. Images {now} cost {in_points(gain)}."
    return check.found(Verdict.FAULT, text, evidence, cost=gain)


def _standing(
    seen: _Seen, said: Feeding, base: NDArray[np.int64], numbers: dict[str, float], *, mended: bool
) -> str:
    found = accuracy(base == seen.labels, seen.groups)
    after = (
        f"with all of this put right it is {numbers['mended']:.0%} of the {int((~seen.choose).sum())} images that "
        "nothing was chosen by; "
    )
    return (
        f"Fed with images {said.inputs}, {said.frame}, it "
        f"classifies {found.value:.0%} ({found.low:.0%} to {found.high:.0%}) of {len(base)} images correctly; "
        f"{after if mended else ''}always predicting the largest class gets {numbers['majority']:.0%}."
    )


def _readable(
    images: Labelled, rows: NDArray[np.int64], how: Reading
) -> tuple[NDArray[np.int64], list[Path]]:
    """Returns the rows, and paths, of images that can be read; says how many can't."""
    good = []
    for row in rows.tolist():
        try:
            read_image(images.paths[row], (16, 16), how)
            good.append(row)
        except BadImageError:
            continue
    if bad := len(rows) - len(good):
        log.warning("%d of %d images can't be read and are left out", bad, len(rows))
    return np.asarray(good, dtype=np.int64), [images.paths[row] for row in good]


def _names(model: OnnxModel, images: Labelled) -> tuple[bool, list[str]]:
    """Returns the class of each output, and whether the file tells it; else it is that of the folders in order."""
    folders, told = sorted(set(images.names)), model.classes
    if told is not None and set(folders) <= set(told):
        return True, told
    if told is not None and len(told) != len(folders):
        images.refuse_unknown(told, model.path.name)
    if told is not None:
        log.warning(
            "%s calls its classes otherwise than the folders: they are taken by their order", model.path
        )
    return False, folders
