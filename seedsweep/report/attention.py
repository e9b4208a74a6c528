"""Where the net looked: Grad-CAM (Selvaraju and others 2017), by captum."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seedsweep.config.schema import Config
from seedsweep.data.images import read_image
from seedsweep.models.build import add_head, build_trunk
from seedsweep.models.classifier import Classifier

log = logging.getLogger(__name__)


class _Tail(nn.Module):
    """What follows the backbone's feature map; the map passes through a layer of its own, where captum listens."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.seen = nn.Identity()
        self.head = head

    def forward(self, maps: Tensor) -> Tensor:
        """Returns logits [B, N] of feature maps [B, C, h, w]."""
        return cast(Tensor, self.head(self.seen(maps).mean(dim=(2, 3))))


def attention(
    config: Config, run_dir: Path, n_classes: int, paths: list[Path], targets: list[int]
) -> list[NDArray[np.float64]] | None:
    """Returns a heat map [h, w] a photograph: the parts of the last feature map that spoke for its target class.

    The gradient is taken from the logit to the feature map alone, so the backbone needs no backward pass.

    Args:
        config: the run's own.
        run_dir: holds checkpoints/best.ckpt.
        n_classes: of the head.
        paths: readable photographs.
        targets: class numbers, one a photograph.

    Returns:
        None where there is no checkpoint, or it does not hold all that is needed.
    """
    from captum.attr import LayerGradCam

    net = _net(config, run_dir, n_classes)
    if net is None or not paths:
        return None
    height, width = config.data.image_size
    images = torch.stack([read_image(path, (height, width)) for path in paths])
    with torch.no_grad():
        maps = net.backbone(net.preprocess(images))
    tail = _Tail(net.head)
    method = LayerGradCam(tail, tail.seen)
    heat = method.attribute(maps.requires_grad_(), target=torch.tensor(targets), relu_attributions=True)
    return [np.asarray(each[0].detach().double()) for each in heat]


def _net(config: Config, run_dir: Path, n_classes: int) -> Classifier | None:
    path = run_dir / "checkpoints" / "best.ckpt"
    if not path.is_file():
        return None
    saved = torch.load(path, map_location="cpu", weights_only=False)
    whole = bool(saved.get("whole", True))
    if not whole and config.batchnorm.recalibrate:  # its statistics were not kept
        return None
    net = add_head(build_trunk(config), n_classes, config).classifier
    state = {
        key.removeprefix("classifier."): value
        for key, value in saved["state_dict"].items()
        if key.startswith("classifier.")
    }
    wrong = net.load_state_dict(state, strict=False)
    if wrong.unexpected_keys or any(key.startswith("head.") for key in wrong.missing_keys):
        return None
    return net.eval()
