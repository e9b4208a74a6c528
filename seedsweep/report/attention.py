"""Where the net looked: Grad-CAM (Selvaraju and others 2017), by captum."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seedsweep.data.images import Reading, read_image
from seedsweep.deploy.given import find_checkpoint
from seedsweep.deploy.load import load_trained


class _Tail(nn.Module):
    """What follows the backbone's feature map; the map passes through a layer of its own, where captum listens."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.seen = nn.Identity()
        self.head = head

    def forward(self, maps: Tensor) -> Tensor:
        """Returns logits [B, N] of feature maps [B, C, h, w]."""
        return cast(Tensor, self.head(self.seen(maps).mean(dim=(2, 3))))


def attention(run_dir: Path, paths: list[Path], targets: list[str]) -> list[NDArray[np.float64]]:
    """Returns a heat map [h, w] a photograph: the parts of the last feature map that spoke for its target class.

    The gradient is taken from the logit to the feature map alone, so the backbone needs no backward pass.

    Args:
        run_dir: holds checkpoints/best.ckpt, a whole net.
        paths: readable photographs.
        targets: class names, one a photograph.

    Raises:
        SeedsweepError: there is no checkpoint, or it does not hold all that is needed.
    """
    from captum.attr import LayerGradCam

    trained = load_trained(find_checkpoint(str(run_dir)))
    net = trained.net
    images = torch.stack([read_image(path, trained.image_size, Reading(trained.ranges)) for path in paths])
    with torch.no_grad():
        maps = net.backbone(net.preprocess(images))
    tail = _Tail(net.head)
    heat = LayerGradCam(tail, tail.seen).attribute(
        maps.requires_grad_(),
        target=torch.tensor([trained.classes.index(name) for name in targets]),
        relu_attributions=True,
    )
    return [np.asarray(each[0].detach().double()) for each in heat]
