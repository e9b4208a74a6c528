"""Grad-CAM: which parts of a photograph speak for a class (Selvaraju and others 2017)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seedsweep.data.images import Reading, read_image
from seedsweep.errors import SeedsweepError
from seedsweep.export.arguments import find_checkpoint
from seedsweep.export.load import load_trained
from seedsweep.models.backbone import Backbone


def attention(run_dir: Path, paths: list[Path], targets: list[str]) -> list[NDArray[np.float64]]:
    """Returns a heat map [h, w] a photograph: how much each part speaks for its target class.

    Args:
        run_dir: holds checkpoints/best.ckpt, a whole net.
        paths: readable photographs.
        targets: class names, one a photograph.

    Raises:
        SeedsweepError: there is no checkpoint, it does not hold all that is needed, or the net's last features do not
            lie on the image in rows and columns.
    """
    trained = load_trained(find_checkpoint(str(run_dir)))
    net = trained.net
    images = torch.stack([read_image(path, trained.image_size, Reading(trained.ranges)) for path in paths])
    assert isinstance(net.backbone, Backbone)
    with torch.no_grad():
        maps, space = net.backbone.spaced(net.preprocess(images))
    name = trained.card["backbone"]["name"]
    places = maps.shape[2] * maps.shape[3]
    if places == 1:
        raise SeedsweepError(f"the last features of {name} are one cell, the whole image.")
    if space is None:
        raise SeedsweepError(
            f"the last features of {name} are {places} tokens, and it is not known which part of the image each is of."
        )
    classes = torch.tensor([trained.classes.index(name) for name in targets])
    heat = grad_cam(maps, net.head, classes).flatten(1)[:, space.prefix :]
    return [np.asarray(each.view(space.rows, space.columns).double()) for each in heat]


def grad_cam(maps: Tensor, head: nn.Module, classes: Tensor) -> Tensor:
    """Returns [B, h, w], at least 0: the map's channels, weighted by how much each raises the logit of a class.

    The gradient is taken from the logit to the feature map alone, so the backbone needs no backward pass.

    Args:
        maps: the last feature map [B, C, h, w].
        head: the map's mean [B, C] to logits [B, N].
        classes: one an image, int64 [B].
    """
    with torch.enable_grad():
        leaf = maps.detach().requires_grad_()
        logits = head(leaf.mean(dim=(2, 3)))
        (gradient,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), leaf)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return (weights * maps).sum(1).relu().detach()
