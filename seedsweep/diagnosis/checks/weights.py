"""Weights: does the frozen net have any that were trained?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from seedsweep.diagnosis.finding import Check, Finding, Verdict
from seedsweep.diagnosis.other_inputs import Sample
from seedsweep.diagnosis.stored_features import feature_net
from seedsweep.diagnosis.subject import Subject
from seedsweep.training.assemble import backbone_as_set

CHECK = Check(
    "weights",
    "Weights",
    31,
    "Whether the layers that are not trained have weights that somebody trained; a linear probe, cross-validated by "
    "photograph, on the features of the same net with random and with pretrained weights.",
)


def check(subject: Subject, folder: Path) -> Finding:
    """Compares a frozen net of random weights with the pretrained one."""
    backbone = subject.config.backbone
    if backbone.weights != "none":
        return CHECK.found(
            Verdict.FINE, f"The net starts from trained weights ({subject.backbone.weights.source})."
        )
    if not backbone.freeze and backbone.train_from is None:
        return CHECK.found(
            Verdict.FINE, "The net starts from random weights, and all its layers are trained."
        )
    text = "The layers that are not trained have random weights: what the net sees was never learned from any image."
    sample = Sample.of(subject)
    if subject.clean_config.backbone.weights == "none":
        text += " Pretrained weights can't be reached here, so what they would give is not measured."
        return CHECK.found(Verdict.SUSPECT, text)
    with torch.random.fork_rng():
        torch.manual_seed(subject.config.seed)
        net = backbone_as_set(
            replace(sample.config, backbone=replace(sample.config.backbone, weights="none"))
        )
    tried = sample.compare(
        sample.passed((pixels for _, pixels in sample.pixels()), feature_net(net)), sample.as_they_are()
    )
    low = tried.change.difference.low
    verdict = Verdict.FAULT if low > 0 else Verdict.SUSPECT
    text += f" On features of the pretrained net a probe gets {tried}."
    return CHECK.found(
        verdict, text, {"tried": tried.row("pretrained")}, ["backbone.weights=auto"], tried.change.difference
    )
