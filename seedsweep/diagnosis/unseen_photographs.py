"""What accuracy a run is likely to have on unseen photographs: a probe on its features, cross-validated twice."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedsweep import disk, signals
from seedsweep.data.split import joined
from seedsweep.diagnosis.audit_run import facts_of
from seedsweep.diagnosis.audited import Audited, why_split_is_fixed
from seedsweep.diagnosis.finding import COUNTS
from seedsweep.diagnosis.folds import FOLDS
from seedsweep.diagnosis.out_of_fold import components, outside_fold, was_asked
from seedsweep.diagnosis.split_by_group import lacking_if_grouped, setting_that_groups
from seedsweep.errors import DamagedError, SeedsweepError
from seedsweep.features.image_features import FeatureImages
from seedsweep.runs.unseen import COPY, Unseen
from seedsweep.stats.interval import RESAMPLES, percentiles
from seedsweep.training.options import ArmSettings
from seedsweep.training.route import Images
from seedsweep.whole import read_json, write_json

log = logging.getLogger(__name__)

VERSION = 1  # of the probe
FOLDER = "unseen"  # in the cache; a file for each set of images and net
MOST = 8000  # images that the probe looks at: whole photographs, drawn
LEAD = 0.01  # of a probe over the largest class: with less nothing can be lost
AT_ONCE = 100  # draws of the photographs

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class ProbeAnswers:
    """Which of n images a probe classifies correctly."""

    labels: NDArray[np.int64]  # class numbers, [n]
    groups: NDArray[np.int64]  # numbers of their photographs, [n]
    seen: Bools  # [n] where training had other parts of the photographs
    unseen: Bools  # [n] where it had none
    torn: float  # share of the images of which it had a part, for ``seen``, as chance deals the folds


def unseen_at_end(
    config: ArmSettings, images: Images, logits: dict[str, Tensor], folder: Path
) -> Unseen | None:
    """Measures what a run owes to parts of the same photographs in training, and to copies there.

    What fails here ends no run.

    Args:
        logits: of the run, [n, N] for the images of each split that it met.
        folder: of the audit; a list of the photographs is written there where no expression makes them.

    Returns:
        None where the split tears no photograph, or too few to matter; or where the audit is off.
    """
    if config.audit == "off":
        return None
    try:
        return _unseen(config, images, logits, folder)
    except Exception as error:
        signals.check()
        if disk.sentence(error, {}):
            raise
        log.warning("unseen photographs: their accuracy could not be estimated (%s)", error)
        log.debug("", exc_info=True)
        return None


def _unseen(config: ArmSettings, images: Images, logits: dict[str, Tensor], folder: Path) -> Unseen | None:
    facts = facts_of(images.prepared, config.data, config.cache_dir)
    table, grouping = facts.table, facts.grouping
    pairs = [(pair.first, pair.second) for pair in facts.pairs]
    groups = np.unique(joined(facts.groups, pairs), return_inverse=True)[1].astype(np.int64)
    split = "test" if "test" in logits else "val"
    rows = table.indices(split)
    torn = float(np.isin(groups[rows], groups[table.indices("train")]).mean())
    if torn < COUNTS:
        return None
    right = logits[split].argmax(1).cpu().numpy() == table.labels[rows]
    by_photograph = grouping is not None and grouping.torn_by(table.splits)[1] > 0
    one = grouping.one if grouping is not None and by_photograph else COPY
    found = Unseen(one, split, float(right.mean()), torn)
    is_free = by_photograph and not why_split_is_fixed(facts, config.data.manifest)
    if grouping is not None and is_free and not lacking_if_grouped(facts, grouping, config.data):
        found = replace(found, setting=setting_that_groups(facts, grouping, folder))
    if not isinstance(images.source, FeatureImages):
        reason = images.used.reason or "activations within the backbone are stored, and no features"
        has = (
            "`features=auto` stores them"
            if config.features.mode == "off"
            else "`+experiment=frozen_bn` has them"
        )
        return replace(found, why_not=f"that needs stored features, and {reason} ({has})")
    try:
        probe = _cached(config.cache_dir, facts, groups, images.source)
    except SeedsweepError as error:
        return replace(found, why_not=str(error))
    return replace(found, **estimate(probe, right, table.labels[rows], groups[rows], torn))


def _cached(cache: Path, facts: Audited, groups: NDArray[np.int64], features: FeatureImages) -> ProbeAnswers:
    """Returns what the probe answers for these images, features and groups: measured once."""
    table = facts.table
    rows = _drawn(groups)
    what = (VERSION, features.space.key, table.classes, table.labels[rows].tolist(), groups[rows].tolist())
    told = "\n".join([repr(what), *(f"{table.digests[row]} {table.groups[row]}" for row in rows)])
    path = cache / FOLDER / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.json"
    with suppress(DamagedError, KeyError, TypeError, ValueError):
        if known := read_json(path):
            seen, unseen = (
                np.asarray([int(each) for each in known[key]], bool) for key in ("seen", "unseen")
            )
            asked = np.asarray(known["asked"].split(), np.int64)
            return ProbeAnswers(
                table.labels[rows[asked]], groups[rows[asked]], seen, unseen, float(known["torn"])
            )
    parts = components(features.plain[torch.from_numpy(rows)].numpy())
    asked, found = answers_of(parts, table.labels[rows], [table.groups[row] for row in rows], groups[rows])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = {
            key: "".join("01"[each] for each in getattr(found, key).astype(int)) for key in ("seen", "unseen")
        }
        write_json(path, texts | {"asked": " ".join(map(str, asked)), "torn": found.torn})
    except OSError as error:  # a cache that can't be written is no error
        log.debug("%s: %s", path, error)
    return found


def _drawn(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the rows of whole photographs, drawn until they are about :data:`MOST` images; all where they are few."""
    sizes = np.bincount(groups)
    order = np.random.default_rng(0).permutation(len(sizes))
    kept = order[np.cumsum(sizes[order]) - sizes[order] < MOST]
    return np.flatnonzero(np.isin(groups, kept))


def answers_of(
    parts: NDArray[np.float64], labels: NDArray[np.int64], together: Sequence[str], groups: NDArray[np.int64]
) -> tuple[NDArray[np.int64], ProbeAnswers]:
    """Cross-validates a linear probe twice: as the split in use tears photographs, and with photographs whole.

    Args:
        parts: components of features, [n, count].
        together: [n] names of what the split in use keeps together, such as equal files.
        groups: [n] numbers of photographs.

    Returns:
        The rows that both could classify correctly, and the answers for these.

    Raises:
        SeedsweepError: the photographs are too few.
    """
    classes = int(labels.max()) + 1
    names = [str(number) for number in groups]
    seen, unseen = (outside_fold(parts, labels, each, classes) for each in (together, names))
    pieces = np.unique(
        np.stack([groups, np.unique(np.asarray(together), return_inverse=True)[1]], 1), axis=0
    )[:, 0]
    others = np.bincount(pieces, minlength=int(groups.max()) + 1)[groups] - 1
    torn = 1 - (1 / FOLDS) ** others  # all of them in the image's own fold is what leaves it whole
    asked = np.flatnonzero(was_asked(seen, labels) & was_asked(unseen, labels))
    right = [each.argmax(1)[asked] == labels[asked] for each in (seen, unseen)]
    return asked, ProbeAnswers(labels[asked], groups[asked], right[0], right[1], float(torn[asked].mean()))


def estimate(
    probe: ProbeAnswers, right: Bools, labels: NDArray[np.int64], groups: NDArray[np.int64], torn: float
) -> dict[str, Any]:
    """Estimates a run's accuracy on unseen photographs, with intervals from drawing photographs anew.

    Args:
        right: [m] which held-out images the run classifies correctly.
        labels: [m] their classes.
        groups: [m] their photographs.
        torn: share of them of which training has a part.

    Returns:
        Fields of :class:`Unseen`.
    """
    largest = int(np.bincount(probe.labels).argmax())
    every = np.unique(np.concatenate([probe.groups, groups]))
    sums: NDArray[np.float64] = np.stack(
        [
            np.bincount(np.searchsorted(every, of), values, len(every))
            for of, counted in (
                (
                    probe.groups,
                    (np.ones(len(probe.groups)), probe.seen, probe.unseen, probe.labels == largest),
                ),
                (groups, (np.ones(len(groups)), right, labels == largest)),
            )
            for values in counted
        ]
    )  # [7, photographs]
    share = min(torn / max(probe.torn, 1e-9), 1.0)
    loss, likely = _of_sums(sums.sum(1, keepdims=True), share)
    if not np.isfinite(likely[0]):
        return {
            "why_not": "a linear probe on the features is no better than always predicting the largest class"
        }
    rng = np.random.default_rng(0)
    drawn = [
        _of_sums(sums @ rng.multinomial(len(every), np.full(len(every), 1 / len(every)), AT_ONCE).T, share)
        for _ in range(RESAMPLES // AT_ONCE)
    ]
    losses, accs = (np.concatenate(each) for each in zip(*drawn, strict=True))
    gap, found = (
        percentiles(float(value[0]), each[np.isfinite(each)], "groups of images")
        for value, each in ((loss, losses), (likely, accs))
    )
    n = sums[0].sum()
    return {
        "groups": len(every),
        "largest": float(sums[6].sum() / sums[4].sum()),
        "seen": float(sums[1].sum() / n),
        "unseen": float(sums[2].sum() / n),
        "gap_low": gap.low,
        "gap_high": gap.high,
        "likely": max(found.value, 0.0),
        "low": max(found.low, 0.0),
        "high": min(found.high, 1.0),
    }


def _of_sums(sums: NDArray[np.float64], share: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns what the probe loses, and a run's likely accuracy, of sums [7, draws]; NaN where nothing can be said.

    The run keeps as much of its lead over the largest class as the probe does. So a run that has learned nothing loses
    nothing, and a head that is better than the probe loses more.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        seen, unseen, base = sums[1:4] / sums[0]
        acc, own = sums[5:7] / sums[4]
        kept = np.where(seen - base >= LEAD, (unseen - base) / (seen - base), np.nan)
        return seen - unseen, own + (acc - own) * (1 - share * (1 - kept))
