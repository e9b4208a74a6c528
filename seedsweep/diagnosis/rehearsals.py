"""Heads trained anew on stored features, as a run with the same settings trains them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from seedsweep.diagnosis.judged_parts import Part, Parts
from seedsweep.diagnosis.stored_features import FrozenFeatures, Material
from seedsweep.models.build import build_head
from seedsweep.training.assemble import class_weights
from seedsweep.training.heads import HeadData, HeadFit, HeadSchedule
from seedsweep.training.options import ArmSettings

QUICK, LONG = 1500, 8000  # steps of one head among many, and of one that is to stand for a run: seconds each


@dataclass(frozen=True)
class Rehearsal:
    """What a head reached that was trained anew on stored features."""

    acc: float  # on the images that choose the best epoch, at that epoch
    train_acc: float  # on the images that were learned from in eval mode, at the last epoch
    predicted: NDArray[np.int64]  # classes of the images that are judged, [m], at the best epoch
    history: list[dict[str, float]]  # rows with train/loss, train/acc, val/loss, val/acc
    whole: bool  # whether all epochs of the configuration were trained


def rehearse(
    config: ArmSettings, material: Material, features: FrozenFeatures, epochs: int, part: Part | None = None
) -> Rehearsal:
    """Trains the head of ``config`` for ``epochs``, or until its patience ends.

    Args:
        config: of the head, its optimiser, batch size, patience and seed.
        part: which images are learned from, choose the epoch, and are judged; None: as in a run, where validation
            does both.
    """
    n, labels = material.n_train, material.labels
    val = np.arange(n, len(labels))
    part = part or Part(np.arange(n), val, val)
    learned, chosen = torch.from_numpy(part.learned), torch.from_numpy(part.chosen)
    views = [view[learned] for view in features.views]
    data = HeadData(
        lambda epoch: views[epoch % len(views)],
        labels[learned],
        features.plain[chosen],
        labels[chosen],
        features.plain[learned],
        labels[learned],
        material.classes,
    )
    schedule = HeadSchedule(epochs, config.trainer.patience, config.data.batch_size, config.seed)
    head = build_head(data.val.shape[1], len(material.classes), config.head, config.seed)
    weights = class_weights(config, material.images)
    fit = HeadFit(head, data, config.optim, schedule, weights, config.head.label_smoothing)
    history = []
    while not fit.done:
        history.append({"epoch": float(fit.next_epoch), **fit.epoch()})
    if fit.best_state:
        head.load_state_dict(fit.best_state)
    head.eval()
    with torch.no_grad():
        predicted = head(features.plain[torch.from_numpy(part.judged)]).argmax(1).numpy()
    return Rehearsal(
        history[max(fit.best_epoch, 0)]["val/acc"],
        history[-1]["train_images/acc_eval_mode"],
        predicted,
        history,
        epochs == config.trainer.max_epochs,
    )


@dataclass
class Rehearsals:
    """Heads on the features of one material, each trained when it is first asked for, and kept."""

    material: Material
    _whole: dict[str, Rehearsal] = field(default_factory=dict)
    _correct: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def whole(self, config: ArmSettings, max_steps: int = LONG) -> Rehearsal:
        """Trains on all training images for about ``max_steps``, at least 3 epochs; validation chooses the epoch, as in
        a run."""
        epochs = self._epochs(config, max_steps)
        key = repr((config, epochs))
        if key not in self._whole:
            self._whole[key] = rehearse(config, self.material, self.material.features(config), epochs)
        return self._whole[key]

    def correct(self, config: ArmSettings, parts: Parts, repeated: bool = True) -> NDArray[np.float64]:
        """Returns 1 for each judged image of ``parts`` that is correct, else 0, [N]; ``repeated``: each part has its
        own seed."""
        epochs = self._epochs(config, LONG)
        key = repr((config, epochs, repeated))
        if key not in self._correct:
            features, found = self.material.features(config), []
            for number, part in enumerate(parts.of):
                seeded = replace(config, seed=config.seed + number * repeated)
                made = rehearse(seeded, self.material, features, epochs, part)
                found.append(made.predicted == self.material.labels.numpy()[part.judged])
            self._correct[key] = np.concatenate(found).astype(np.float64)
        return self._correct[key]

    def _epochs(self, config: ArmSettings, max_steps: int) -> int:
        steps = math.ceil(self.material.n_train / config.data.batch_size)
        return min(config.trainer.max_epochs, max(3, max_steps // steps))
