"""Measures what corrected labels gain: a second head, trained on the same features with the labels as they were."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from seedsweep import signals
from seedsweep.data.prepare import PreparedImages
from seedsweep.models.build import ArmBackbone
from seedsweep.runs.label_gain import SPLITS, LabelGain, SplitGain
from seedsweep.stats.pairs import compare
from seedsweep.training.assemble import build_module
from seedsweep.training.module import predict
from seedsweep.training.options import ArmSettings
from seedsweep.training.route import Images, open_features
from seedsweep.training.stored import head_fit

FEWEST = 2  # images, on which a difference has an interval


def label_gain_of(
    config: ArmSettings, images: Images, backbone: ArmBackbone, logits: dict[str, Tensor], *, measure: bool
) -> LabelGain | None:
    """Compares a run with a head that was trained without the corrections; None: the run has none.

    Both heads have the same settings, seed, features and split. They are judged on the held-out images whose labels
    nobody changed.

    Args:
        logits: of the run, [n, N] for the images of each split that it met.
    """
    corrected = images.prepared.corrected
    if corrected is None:
        return None
    counts = corrected.counts
    gain: dict[str, SplitGain] = {}
    why_not = ""
    if not images.used.stored or backbone.cut is not None:
        why_not = "more than a head on stored features is trained here; train it without data.corrections to compare."
    elif not measure:
        why_not = "this is a trial of a study."
    elif not corrected.is_whole:
        why_not = "images that were left out are gone."
    elif counts["changed"] or counts["left_out"]:
        before = PreparedImages(corrected.before, corrected.pixels)
        gain = _gain(config, images.prepared, before, backbone, logits)
        why_not = (
            "" if gain else "its loss became infinite without them, or too few images are left to compare on."
        )
    return LabelGain(corrected.source, **counts, gain=gain, why_not=why_not)


def _gain(
    config: ArmSettings,
    now: PreparedImages,
    before: PreparedImages,
    backbone: ArmBackbone,
    logits: dict[str, Tensor],
) -> dict[str, SplitGain]:
    """Returns the gain by split; a split without enough images is left out, and all where the training diverges."""
    features = open_features(config, before, backbone)
    module, _ = build_module(config, before, backbone)
    fit = head_fit(config, features, module)
    while not fit.done:
        signals.check()
        fit.epoch()
    if not fit.best_state:
        return {}
    module.classifier.head.load_state_dict(fit.best_state)
    module.eval()
    place = {path: row for row, path in enumerate(before.table.paths)}
    found = {}
    for split in (each for each in SPLITS if each in logits):
        rows = now.table.indices(split)
        at = np.asarray([place.get(now.table.paths[row], -1) for row in rows], dtype=np.int64)
        same = np.flatnonzero((at >= 0) & (now.table.labels[rows] == before.table.labels[at]))
        if len(same) < FEWEST:
            continue
        labels = now.table.labels[rows[same]]
        old = predict(module, features, torch.from_numpy(at[same]), max(config.data.batch_size, 64))
        right = [each.argmax(1).numpy() == labels for each in (logits[split][same], old)]
        pair = compare(right[0], right[1], [now.table.groups[row] for row in rows[same]])
        after, earlier = (float(each.mean()) for each in right)
        difference = pair.difference
        found[split] = SplitGain(
            len(same), earlier, after, difference.low, difference.high, pair.p, difference.over
        )
    return found
