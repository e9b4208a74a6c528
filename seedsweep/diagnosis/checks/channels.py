"""Channel order: are the photographs RGB, as the weights expect, or BGR?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from seedsweep.batchnorm.policy import norm_layers
from seedsweep.diagnosis.finding import Evidence, Finding, Verdict
from seedsweep.diagnosis.layers import layer_shifts
from seedsweep.diagnosis.rehearse import paired_error
from seedsweep.diagnosis.remedy import apply
from seedsweep.diagnosis.ridge import fit_probe
from seedsweep.diagnosis.stored_features import feature_net
from seedsweep.diagnosis.subject import Subject
from seedsweep.drawing import TRAP, VAL, figure, save, tidy
from seedsweep.training.assemble import backbone_as_set
from seedsweep.training.options import ArmSettings

ORDER = 25
TITLE = "Channel order"
MEASURED = (
    "The same photographs with red and blue as they are and swapped: how far each norm layer's input is from what the "
    "weights were trained with, and a linear probe on the features."
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
    evidence: Evidence = {}
    by_layers = 0  # > 0: as they are fits better
    colour = float((pixels[:, 0].float() - pixels[:, 2].float()).abs().mean())
    evidence["red_minus_blue"] = colour
    if colour < 1:
        return Finding(
            "channels",
            TITLE,
            Verdict.UNKNOWN,
            MEASURED,
            "The photographs are grey: red and blue are equal.",
            evidence,
        )
    net = feature_net(backbone)
    shifts = {}
    if norm_layers(backbone.net):
        with torch.inference_mode():
            for name, swapped in (("as_they_are", pixels), ("swapped", pixels.flip(1))):
                batches = list(torch.split(backbone.preprocess(swapped), 64))
                shifts[name] = layer_shifts(backbone.net, batches).shift
        early = max(3, round(EARLY * len(shifts["swapped"])))
        own, other = (float(np.mean(shifts[name][:early])) for name in ("as_they_are", "swapped"))
        evidence |= {"early_shift_as_they_are": own, "early_shift_swapped": other}
        by_layers = int(other > own * (1 + CLEAR)) - int(own > other * (1 + CLEAR))
    own_acc, other_acc, by_probe = _probes(subject, config, net)
    evidence |= {"probe_as_they_are": own_acc, "probe_swapped": other_acc}
    picture = None
    if shifts:
        _draw(shifts, folder / "channels.png")
        picture = Path("channels.png")
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
    return Finding("channels", TITLE, verdict, MEASURED, text, evidence, picture=picture)


def _probes(subject: Subject, config: ArmSettings, net: torch.nn.Module) -> tuple[float, float, int]:
    """Returns the probe's accuracies on images as they are and swapped, and which is clearly better (1: the first)."""
    material = subject.material
    n_train, n_val = min(PROBED, material.n_train), min(PROBED, len(material.val_labels))
    rng = np.random.default_rng(0)
    train = torch.from_numpy(np.sort(rng.permutation(material.n_train)[:n_train]))
    val = torch.from_numpy(np.sort(rng.permutation(len(material.val_labels))[:n_val]))
    clean = material.answers(config)
    net.eval()
    rows = torch.cat([train, val + material.n_train])
    parts = [net(material.images.pixels.batch(part.numpy()).flip(1)) for part in torch.split(rows, 64)]
    swapped = torch.cat(parts)
    labels, val_labels, n = material.train_labels[train], material.val_labels[val], len(material.classes)
    own = fit_probe(clean.train[train], labels, clean.val[val], val_labels, n)
    other = fit_probe(swapped[:n_train], labels, swapped[n_train:], val_labels, n)
    error = paired_error(own.predicted, other.predicted, val_labels.numpy())
    z = (own.acc - other.acc) / error
    return own.acc, other.acc, int(z > SIGMA) - int(z < -SIGMA)


def _draw(shifts: dict[str, np.ndarray], path: Path) -> None:
    made = figure(8, 3.4)
    axes = made.subplots()
    for name, colour in (("as_they_are", VAL), ("swapped", TRAP)):
        label = "photographs as they are" if name == "as_they_are" else "red and blue swapped"
        axes.plot(range(1, len(shifts[name]) + 1), shifts[name], color=colour, label=label)
    tidy(axes, "Distance from the stored statistics, in standard deviations")
    axes.set_xlabel("BatchNorm layer, in the order of execution")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9)
    save(made, path)
