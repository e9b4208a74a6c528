"""Channel order: are the photographs RGB, as the weights expect, or BGR?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from seedsweep.batchnorm.policy import norm_layers
from seedsweep.diagnosis.charts import finish, saved
from seedsweep.diagnosis.finding import Check, Evidence, Finding, Verdict
from seedsweep.diagnosis.layers import layer_shifts
from seedsweep.diagnosis.probes import fit_probe, paired_error
from seedsweep.diagnosis.remedy import apply
from seedsweep.diagnosis.stored_features import EVAL_BATCH, feature_net
from seedsweep.diagnosis.subject import Subject
from seedsweep.drawing import TRAP, VAL, figure
from seedsweep.training.assemble import backbone_as_set
from seedsweep.training.options import ArmSettings

CHECK = Check(
    "channels",
    "Channel order",
    32,
    "The same photographs with red and blue as they are and swapped: how far each norm layer's input is from what the "
    "weights were trained with, and a linear probe on the features.",
    on_validation=True,
)
IMAGES = 128  # for the layers
PROBED = 300  # of training and of validation each
EARLY = 0.25  # share of the layers, from the first: later ones no longer know colours
CLEAR = 0.10  # relative difference of the shifts
SIGMA = 2.5  # standard errors between the probes
STORED = ["batchnorm=inference"]  # recalibrated on one order, the net would know that one better


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
    picture = None
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
        picture = _draw({"photographs as they are": as_they_are, "red and blue swapped": swapped}, folder)
    own_acc, other_acc, by_probe = _probes(subject, config, net)
    evidence |= {"probe_as_they_are": own_acc, "probe_swapped": other_acc}
    votes = by_layers + by_probe
    numbers = f"the probe gets {own_acc:.0%} as they are and {other_acc:.0%} swapped"
    if not by_probe and own_acc != other_acc:
        numbers += f", within the noise of {min(PROBED, len(material.val_labels))} photographs"
    if votes > 0:
        verdict, text = Verdict.FINE, f"Red and blue stand in the order that the weights know ({numbers})."
    elif votes == -2 or (by_layers < 0 and not by_probe and other_acc > own_acc):
        verdict = Verdict.SUSPECT
        text = (
            f"With red and blue swapped the photographs look more like what the weights know ({numbers}): if their "
            "colours look wrong to you, they were saved as BGR; save them anew as RGB."
        )
    else:
        verdict, text = Verdict.UNKNOWN, f"The net can't tell RGB from BGR on these photographs ({numbers})."
    return CHECK.found(verdict, text, evidence, picture=picture)


@torch.no_grad()
def _probes(subject: Subject, config: ArmSettings, net: torch.nn.Module) -> tuple[float, float, int]:
    """Returns the probe's accuracies on images as they are and swapped, and which is clearly better (1: the first)."""
    material = subject.material
    rng = np.random.default_rng(0)
    train, val = (
        torch.from_numpy(np.sort(rng.permutation(n)[:PROBED]))
        for n in (material.n_train, len(material.val_labels))
    )
    clean = material.features(config)
    net.eval()
    rows = torch.cat([train, val + material.n_train])
    parts = [material.images.pixels.batch(part.numpy()).flip(1) for part in torch.split(rows, EVAL_BATCH)]
    swapped = torch.cat([net(part) for part in parts])
    labels, val_labels, n = material.train_labels[train], material.val_labels[val], len(material.classes)
    own = fit_probe(clean.train[train], labels, clean.val[val], val_labels, n)
    other = fit_probe(swapped[: len(train)], labels, swapped[len(train) :], val_labels, n)
    z = (own.acc - other.acc) / paired_error(own.predicted, other.predicted, val_labels.numpy())
    return own.acc, other.acc, int(z > SIGMA) - int(z < -SIGMA)


def _draw(shifts: dict[str, np.ndarray], folder: Path) -> Path:
    made = figure(8, 3.4)
    axes = made.subplots()
    for (label, shift), colour in zip(shifts.items(), (VAL, TRAP), strict=True):
        axes.plot(range(1, len(shift) + 1), shift, color=colour, label=label)
    title = "Distance from the stored statistics, in standard deviations"
    finish(axes, title, "BatchNorm layer, in the order of execution")
    return saved(made, folder, "channels.png")
