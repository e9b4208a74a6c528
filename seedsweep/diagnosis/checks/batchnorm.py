"""BatchNorm regime: does the net that was trained normalise as the net that is used?"""

from __future__ import annotations

from pathlib import Path

import torch

from seedsweep.batchnorm.policy import norm_layers
from seedsweep.diagnosis.finding import Evidence, Finding, Verdict
from seedsweep.diagnosis.layers import Modes, Shifts, layer_shifts, two_modes
from seedsweep.diagnosis.remedy import apply
from seedsweep.diagnosis.subject import Subject
from seedsweep.drawing import TRAIN, TRAP, VAL, figure, save, tidy
from seedsweep.models.called import batchnorm_called
from seedsweep.models.classifier import Classifier

ORDER = 10
TITLE = "BatchNorm regime"
MEASURED = (
    "Accuracy and loss on the same un-augmented training images with the batch's statistics and with the stored "
    "ones; a linear probe fitted in train mode and used in eval mode; each layer's input against its stored statistics."
)
IMAGES = 256  # training images that are measured in both modes
CLEAR = 0.05  # of accuracy: less may be noise, or costs little
SIGMA = 3.0  # standard errors, where no setting says what training did
LAG = 0.10  # where the statistics are trained they lag a little behind in any healthy run


def check(subject: Subject, folder: Path) -> Finding:
    """Compares both modes of the net, and of a probe that has no head's faults."""
    net = subject.last_net or _headless(subject)
    if not norm_layers(net):
        return Finding(
            "batchnorm",
            TITLE,
            Verdict.FINE,
            MEASURED,
            "The net has no BatchNorm layer: no such fault can occur.",
        )
    config, material = subject.config, subject.material
    order = material.some_train(IMAGES)
    size = max(2, config.data.batch_size)
    modes = None if subject.last_net is None else two_modes(net, material, order, size)
    with torch.inference_mode():
        batches = [
            net.preprocess(material.train_pixels(part))
            for part in torch.split(order, size)
            if len(part) == size
        ]
    if not batches:
        batches = [net.preprocess(material.train_pixels(order))]
    shifts = layer_shifts(net.backbone, batches)
    evidence: Evidence = {
        "policy": batchnorm_called(config.batchnorm),
        "batch_size": config.data.batch_size,
        "layers": len(shifts.names),
        "layer_shift_median": float(torch.tensor(shifts.shift).median()),
        "layer_shift": [round(float(value), 4) for value in shifts.shift],
        "layer_spread": [round(float(value), 4) for value in shifts.spread],
        "batch_noise": [round(float(value), 4) for value in shifts.noise],
        "layer_names": list(shifts.names),
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
    batchwise = config.batchnorm.training_statistics == "batch"
    if batchwise and not config.batchnorm.train_affine:
        probe_config = apply(subject.frozen_config, ["preprocess=auto"])
        faulty, right = subject.probe_on(probe_config).acc, subject.probe.acc
        damage = right - faulty
        evidence |= {"probe_fitted_in_train_mode": faulty, "probe_fitted_in_eval_mode": right}
    _draw(shifts, modes, folder / "batchnorm.png", size)
    picture = Path("batchnorm.png")
    verdict, sentence, remedy = _judge(subject, modes, damage)
    cost = None
    if verdict is Verdict.FAULT and damage is None and subject.is_frozen and subject.val_acc is not None:
        cost = (
            subject.rehearsed.acc - subject.val_acc
        )  # the settings are right: they are what a head is tried with
    return Finding("batchnorm", TITLE, verdict, MEASURED, sentence, evidence, remedy, cost, picture)


def _judge(subject: Subject, modes: Modes | None, damage: float | None) -> tuple[Verdict, str, list[str]]:
    policy, size = subject.config.batchnorm, subject.config.data.batch_size
    gap = modes.gap if modes else 0.0
    seen = (
        f"The net{subject.epoch_called(last=True)} classifies {modes.acc_batch:.0%} of its own training images "
        "correctly with the batch's statistics, but "
        f"{modes.acc_stored:.0%} of the same images with the stored ones"
        if modes
        else ""
    )
    if damage is not None:
        probe = f"A linear probe fitted on such features loses {max(damage, 0) * 100:.0f} points at inference"
        if max(gap, damage) >= CLEAR:
            told = (
                f"{seen} (an overfitted net would be correct with both). {probe}."
                if gap >= CLEAR
                else f"{probe}."
            )
            text = (
                f"Training normalises with the statistics of {size} images, inference with the stored ones: the head "
                f"learns on features that it never meets again. {told}"
            )
            return Verdict.FAULT, text, ["batchnorm=inference"]
        text = (
            f"BatchNorm normalises with batches of {size} in training and with stored statistics at "
            f"inference; here it costs little ({probe[0].lower()}{probe[1:]})."
        )
        return Verdict.SUSPECT, text, ["batchnorm=inference"]
    if policy.training_statistics == "batch" and policy.train_affine:
        if gap >= LAG and not policy.update_statistics:
            text = (
                f"{seen}: scale and shift are trained on the batch's statistics, but the stored ones, which inference "
                "takes, never move."
            )
            return Verdict.FAULT, text, ["batchnorm.update_statistics=true"]
        if gap >= LAG:
            text = (
                f"{seen}: the running statistics may lag behind the weights, which more epochs would show, or the "
                f"batches of {size} may be too small."
            )
            return Verdict.SUSPECT, text, ["trainer.max_epochs=" + str(2 * subject.config.trainer.max_epochs)]
        if modes is None:
            text = (
                "BatchNorm is trained with the net: whether its statistics keep up shows once it was trained."
            )
            return Verdict.UNKNOWN, text, []
        return Verdict.FINE, f"{_both(subject, modes)}: its statistics keep up.", []
    if subject.kind == "checkpoint" and modes and modes.loss_stored > modes.loss_batch and _is_clear(modes):
        text = (
            f"{seen}: its head was fitted to features that the batch normalised, whatever these settings say, and "
            "inference normalises otherwise. Train the head again, with the stored statistics, as these settings say."
        )
        return Verdict.FAULT, text, []
    return Verdict.FINE, "Training and inference normalise with the same stored statistics.", []


def _is_clear(modes: Modes) -> bool:
    return modes.gap >= max(CLEAR, SIGMA * modes.error)


def _both(subject: Subject, modes: Modes) -> str:
    return (
        f"The net{subject.epoch_called(last=True)} classifies {modes.acc_batch:.0%} of its own training images "
        "correctly with the batch's statistics and "
        f"{modes.acc_stored:.0%} with the stored ones"
    )


def _headless(subject: Subject) -> Classifier:
    return Classifier(subject.backbone.preprocess, subject.backbone.net, torch.nn.Identity())


def _draw(shifts: Shifts, modes: Modes | None, path: Path, batch_size: int) -> None:
    made = figure(10, 3.8)
    left, right = made.subplots(1, 2, width_ratios=[3, 1])
    depth = range(1, len(shifts.names) + 1)
    left.plot(depth, shifts.shift, color=VAL, label="shift of the mean")
    left.plot(depth, shifts.noise, color=TRAP, label=f"noise of a mean over {batch_size} images")
    left.axhline(0, color="#cccccc", linewidth=0.8)
    tidy(left, "What reaches each BatchNorm layer, in stored standard deviations")
    left.set_xlabel("layer, in the order of execution")
    left.set_ylim(bottom=0)
    left.legend(frameon=False, fontsize=9)
    if modes is None:
        right.axis("off")
    else:
        bars = right.bar(
            ["batch's", "stored"], [modes.acc_batch, modes.acc_stored], color=[TRAIN, TRAP], width=0.6
        )
        right.bar_label(bars, fmt="{:.2f}", fontsize=10)
        tidy(right, "The same training images")
        right.set_ylim(0, 1.08)
        right.set_ylabel("accuracy")
        right.set_xlabel("statistics that normalise")
    save(made, path)
