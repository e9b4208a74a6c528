"""Channel order: are the photographs RGB, as the weights expect, or BGR?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from seedsweep.batchnorm.policy import norm_layers
from seedsweep.diagnosis.finding import COUNTS, Check, Evidence, Finding, Verdict
from seedsweep.diagnosis.layers import layer_shifts
from seedsweep.diagnosis.other_inputs import STORED, Sample, Tried
from seedsweep.diagnosis.remedy import apply
from seedsweep.diagnosis.stored_features import EVAL_BATCH, feature_net
from seedsweep.diagnosis.subject import Subject
from seedsweep.training.assemble import backbone_as_set

CHECK = Check(
    "channels",
    "Channel order",
    32,
    "The same photographs with red and blue as they are and swapped: how far each norm layer's input is from what the "
    "weights were trained with, and a linear probe, cross-validated by photograph, on the features of both.",
    on_validation=True,
    of_images=True,
)
IMAGES = 128  # for the layers
EARLY = 0.25  # share of the layers, from the first: later ones no longer know colours
CLEAR = 0.10  # relative difference of the shifts
CERTAIN = 0.01  # the p value from which on the probe has a vote


def check(subject: Subject, folder: Path) -> Finding:
    """Swaps red and blue, and looks which of both the net knows better."""
    config = apply(subject.clean_config, STORED)
    backbone = backbone_as_set(config)
    material = subject.material
    pixels = material.train_pixels(material.some_train(IMAGES))
    colour = float((pixels[:, 0].float() - pixels[:, 2].float()).abs().mean())
    evidence: Evidence = {"red_minus_blue": colour}
    if colour < 1:
        return CHECK.found(Verdict.UNKNOWN, "The photographs are grey: red and blue are equal.", evidence)
    net = feature_net(backbone)
    by_layers = 0  # > 0: as they are fits better
    if norm_layers(backbone.net):
        as_they_are, swapped = (
            layer_shifts(
                backbone.net, map(backbone.preprocess, torch.split(each, EVAL_BATCH)), EVAL_BATCH
            ).shift
            for each in (pixels, pixels.flip(1))
        )
        early = max(3, round(EARLY * len(swapped)))
        own, other = float(as_they_are[:early].mean()), float(swapped[:early].mean())
        evidence |= {"early_shift_as_they_are": own, "early_shift_swapped": other}
        by_layers = int(other > own * (1 + CLEAR)) - int(own > other * (1 + CLEAR))
    sample = Sample.of(subject)
    swapped_too = sample.passed((pixels.flip(1) for _, pixels in sample.pixels()), net)
    tried = sample.compare(sample.as_they_are(), swapped_too)
    evidence["tried"] = tried.row("red and blue swapped")
    numbers, verdict, cost = f"swapped, a probe gets {tried}", judged(by_layers, tried), None
    if verdict is Verdict.FINE:
        text = f"Red and blue stand in the order that the weights know: {numbers}."
    elif verdict is Verdict.SUSPECT:
        cost = tried.change.difference
        text = (
            f"With red and blue swapped the photographs look more like what the weights know: {numbers}. If their "
            "colours look wrong to you, they were saved as BGR; save them anew as RGB."
        )
    else:
        text = f"The net can't tell RGB from BGR on these photographs, or it makes no difference: {numbers}."
    return CHECK.found(verdict, text, evidence, cost=cost)


def judged(by_layers: int, tried: Tried) -> Verdict:
    """Adds up the votes of the layers (1: the order is right, -1: swapped fits better) and of the probe."""
    votes = by_layers - (int(np.sign(tried.gain)) if tried.change.p < CERTAIN else 0)
    if votes < 0 and tried.change.difference.high >= COUNTS:
        return Verdict.SUSPECT
    return Verdict.FINE if votes > 0 else Verdict.UNKNOWN
