"""BatchNorm regime: does the net that was trained normalise as the net that is used?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from seedsweep.batchnorm.policy import norm_layers
from seedsweep.diagnosis.charts import finish, saved
from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict, in_points
from seedsweep.diagnosis.layers import Modes, Shifts, layer_shifts, two_modes
from seedsweep.diagnosis.remedy import apply
from seedsweep.diagnosis.stored_features import EVAL_BATCH
from seedsweep.diagnosis.subject import Subject
from seedsweep.drawing import TRAIN, TRAP, VAL, figure, tidy
from seedsweep.models.called import batchnorm_called
from seedsweep.models.classifier import Classifier
from seedsweep.stats.interval import Interval
from seedsweep.stats.pairs import compare

CHECK = Check(
    "batchnorm",
    "BatchNorm regime",
    34,
    "Accuracy and loss on the same un-augmented training images with the batch's statistics and with the stored ones; "
    "a linear probe fitted in train mode and used in eval mode; each layer's input against its stored statistics.",
)
IMAGES = 256  # training images that are measured in both modes
CLEAR = 0.05  # of accuracy: less may be noise, or costs little
SIGMA = 3.0  # standard errors, where no setting says what training did
LAG = 0.10  # where the statistics are trained they lag a little behind in any healthy run


def check(subject: Subject, folder: Path) -> Finding:
    """Compares both modes of the net, and of a probe that has no head's faults."""
    backbone = subject.backbone
    net = subject.last_net or Classifier(backbone.preprocess, backbone.net, torch.nn.Identity())
    if not norm_layers(net):
        return CHECK.found(Verdict.FINE, "The net has no BatchNorm layer: no such fault can occur.")
    config, material = subject.config, subject.material
    rows = material.some_train(IMAGES)
    size = max(2, config.data.batch_size)
    modes = None if subject.last_net is None else two_modes(net, material, rows, size)
    rows = rows[: len(rows) // size * size] if len(rows) >= size else rows  # whole batches
    inputs = (net.preprocess(material.train_pixels(part)) for part in torch.split(rows, EVAL_BATCH))
    shifts = layer_shifts(net.backbone, inputs, size)
    evidence: Evidence = {
        "policy": batchnorm_called(config.batchnorm),
        "batch_size": config.data.batch_size,
        "layers": len(shifts.names),
        "layer_shift_median": float(torch.tensor(shifts.shift).median()),
        "layer_shift": np.round(shifts.shift, 4).tolist(),
        "layer_spread": np.round(shifts.spread, 4).tolist(),
        "batch_noise": np.round(shifts.noise, 4).tolist(),
        "layer_names": shifts.names,
    }
    if modes is not None:
        evidence |= {
            "acc_batch_statistics": modes.acc_batch,
            "acc_stored_statistics": modes.acc_stored,
            "loss_batch_statistics": modes.loss_batch,
            "loss_stored_statistics": modes.loss_stored,
            "gap": modes.gap,
            "standard_error": modes.error,
        }
    damage = None
    if config.batchnorm.training_statistics == "batch" and not config.batchnorm.train_affine:
        in_train = subject.probe_on(apply(subject.frozen_config, ["preprocess=auto"]))
        labels = material.val_labels.numpy()
        damage = compare(subject.probe.predicted == labels, in_train.predicted == labels).difference
        evidence |= {
            "probe_fitted_in_train_mode": in_train.acc,
            "probe_fitted_in_eval_mode": subject.probe.acc,
        }
    verdict, sentence, remedy = _judge(subject, modes, damage)
    cost = None
    if verdict is Verdict.FAULT and damage is None and subject.is_frozen and not remedy:
        cost = subject.worth(subject.frozen_config)  # the settings are as they should be
    return CHECK.found(verdict, sentence, evidence, remedy, cost, _draw(shifts, modes, size, folder))


def _judge(subject: Subject, modes: Modes | None, damage: Interval | None) -> tuple[Verdict, str, list[str]]:
    policy, size = subject.config.batchnorm, subject.config.data.batch_size
    gap = modes.gap if modes else 0.0
    if damage is not None:
        return _of_frozen(subject, modes, damage)
    if policy.training_statistics == "batch" and policy.train_affine:
        if gap >= LAG and not policy.update_statistics:
            text = (
                f"{_apart(subject, modes)}: scale and shift are trained on the batch's statistics, but the stored "
                "ones, which inference takes, never move."
            )
            return Verdict.FAULT, text, ["batchnorm.update_statistics=true"]
        if gap >= LAG:
            text = (
                f"{_apart(subject, modes)}: the running statistics may lag behind the weights, which more epochs would "
                f"show, or the batches of {size} may be too small."
            )
            return Verdict.SUSPECT, text, [f"trainer.max_epochs={2 * subject.config.trainer.max_epochs}"]
        if modes is None:
            text = (
                "BatchNorm is trained with the net: whether its statistics keep up shows once it was trained."
            )
            return Verdict.UNKNOWN, text, []
        return Verdict.FINE, f"{_in_both(subject, modes, ' and', '')}: its statistics keep up.", []
    clear = modes is not None and gap >= max(CLEAR, SIGMA * modes.error)
    if subject.kind == "checkpoint" and modes and modes.loss_stored > modes.loss_batch and clear:
        text = (
            f"{_apart(subject, modes)}: its head was fitted to features that the batch normalised, whatever these "
            "settings say, and inference normalises otherwise. Train the head again, with the stored statistics, as "
            "these settings say."
        )
        return Verdict.FAULT, text, []
    if subject.config.backbone.weights == "none" and not policy.recalibrate:
        text = (
            "Training and inference normalise with the mean 0 and variance 1 that a random net begins with, which no "
            "image was measured for."
        )
        frozen = subject.config.backbone.freeze
        return Verdict.SUSPECT, text, ["batchnorm=recalibrate" if frozen else "batchnorm=train"]
    return Verdict.FINE, "Training and inference normalise with the same stored statistics.", []


def _of_frozen(subject: Subject, modes: Modes | None, damage: Interval) -> tuple[Verdict, str, list[str]]:
    """Judges a head that was trained on a frozen net's features under batch statistics."""
    size, gap = subject.config.data.batch_size, modes.gap if modes else 0.0
    loses = (
        f"linear probe fitted on stored statistics beats one fitted on such features by {in_points(damage)}"
    )
    if max(gap, damage.value) < CLEAR:
        text = (
            f"BatchNorm normalises with batches of {size} in training and with stored statistics at "
            f"inference. A {loses} on validation."
        )
        return Verdict.SUSPECT, text, ["batchnorm=inference"]
    seen = (
        f"{_apart(subject, modes)} (an overfitted net would be correct with both). " if gap >= CLEAR else ""
    )
    text = (
        f"Training normalises with the statistics of {size} images, inference with the stored ones: the head "
        f"learns on features that it never meets again. {seen}A {loses} on validation."
    )
    return Verdict.FAULT, text, ["batchnorm=inference"]


def _apart(subject: Subject, modes: Modes | None) -> str:
    assert modes is not None
    return _in_both(subject, modes, ", but", " of the same images")


def _in_both(subject: Subject, modes: Modes, joined: str, of: str) -> str:
    return (
        f"The net{subject.epoch_called(last=True)} classifies {modes.acc_batch:.0%} of its own training images "
        f"correctly with the batch's statistics{joined} {modes.acc_stored:.0%}{of} with the stored ones"
    )


def _draw(shifts: Shifts, modes: Modes | None, batch_size: int, folder: Path) -> Path:
    made = figure(10, 3.8)
    left, right = made.subplots(1, 2, width_ratios=[3, 1])
    depth = range(1, len(shifts.names) + 1)
    left.plot(depth, shifts.shift, color=VAL, label="shift of the mean")
    left.plot(depth, shifts.noise, color=TRAP, label=f"noise of a mean over {batch_size} images")
    title = "What reaches each BatchNorm layer, in stored standard deviations"
    finish(left, title, "layer, in the order of execution")
    if modes is None:
        right.axis("off")
    else:
        accs = [modes.acc_batch, modes.acc_stored]
        bars = right.bar(["batch's", "stored"], accs, color=[TRAIN, TRAP], width=0.6)
        right.bar_label(bars, fmt="{:.2f}", fontsize=10)
        tidy(right, "The same training images")
        right.set_ylim(0, 1.08)
        right.set_ylabel("accuracy")
        right.set_xlabel("statistics that normalise")
    return saved(made, folder, "batchnorm.png")
