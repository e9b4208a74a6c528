"""Augmentation: does it change the training images so much that less is learned from them?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seedsweep.data.epoch import Augment, build_augment
from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict
from seedsweep.diagnosis.other_inputs import Sample
from seedsweep.diagnosis.subject import Subject

CHECK = Check(
    "augmentation",
    "Augmentation",
    54,
    "A linear probe, cross-validated by photograph, that learns from augmented images on the corrected frozen net, and "
    "one that learns from the same images as they are; both are judged on images as they are.",
    on_validation=True,
)
MOST = 400  # images; each passes the net anew in each view
VIEWS = 3
SURE, SOME = 0.03, 0.03  # of accuracy: the lower end of the interval for a fault, and the value for a word
CERTAIN = 0.01  # the p value for a word


def check(subject: Subject, folder: Path) -> Finding:
    """Learns from the images with the run's augmentation, and without."""
    config, sample = subject.config, Sample.of(subject, MOST)
    augment = build_augment(config.augment, config.seed, subject.material.images.table.digests)
    if augment is None:
        mixed = "" if config.augment.mix == "none" else f" (augment.mix={config.augment.mix} is not judged)"
        return CHECK.found(Verdict.FINE, f"No training image is changed by itself{mixed}.")
    plain = sample.as_they_are()
    views = [sample.passed(_changed(sample, augment, view)) for view in range(VIEWS)]
    tried = sample.compare(plain, plain, views)
    evidence: Evidence = {"tried": tried.row("augment=none")}
    text = f"A probe that learns from images without this augmentation gets {tried}"
    gain = tried.change.difference
    if gain.value < SOME or tried.change.p >= CERTAIN:
        return CHECK.found(Verdict.FINE, f"{text}: what it costs is not beyond chance.", evidence)
    verdict = Verdict.FAULT if subject.is_frozen and gain.low >= SURE else Verdict.SUSPECT
    text = f"The augmentation is too strong for these images on this frozen net. {text}."
    if not subject.is_frozen:
        text += " This net is trained, and may get used to it; the probe only says what its first weights make of them."
        text += _while_training(subject)
    return CHECK.found(verdict, text, evidence, ["augment=none"], gain)


def _changed(sample: Sample, augment: Augment, view: int) -> list[Tensor]:
    return [augment(pixels, torch.from_numpy(rows), view) for rows, pixels in sample.pixels()]


def _while_training(subject: Subject) -> str:
    """Returns the accuracy on augmented images in the last epoch, beside that on validation; empty: not known."""
    row = subject.epochs[-1] if subject.epochs else {}
    if not {"train/acc", "val/acc"} <= row.keys() or not np.isfinite(row["train/acc"]):
        return ""
    return (
        f" In the last epoch it classified {row['train/acc']:.0%} of the augmented training images correctly, and "
        f"{row['val/acc']:.0%} of validation."
    )
