"""Batches of one image under batch statistics, which PyTorch refuses where a layer gets one value a channel."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor, nn

from seedsweep.batchnorm.policy import follows_stored, norm_layers, statistics_untouched
from seedsweep.errors import SeedsweepError


def check_single_images(
    net: nn.Module, image_size: list[int], batch_size: int, n_train: int, probe_images: int = 0
) -> None:
    """Refuses batches of one image of which a layer can't compute batch statistics.

    A last batch of one is no such batch: an epoch and the probe leave it out.

    Args:
        net: images to features, under its BatchNorm policy.
        image_size: height and width in pixels.
        batch_size: of training.
        n_train: training images.
        probe_images: of the bn_gap probe; 0: all training images.

    Raises:
        SeedsweepError: training would stop at such a batch.
    """
    ways = []
    if n_train == 1:
        ways.append("two or more training images")
    if batch_size == 1:
        ways.append("data.batch_size=2 or more")
    if probe_images == 1 and n_train > 1:
        ways.append("trainer.probe_images=2 or more (0: all)")
    if ways and (layer := layer_of_one_value(net, *image_size)):
        raise SeedsweepError(
            f"Batch statistics can't be computed here in batches of one image: at data.image_size={list(image_size)} "
            f"the BatchNorm layer {layer} gets a single value a channel, and needs two. Use {' and '.join(ways)}, or "
            "batchnorm=inference."
        )


def layer_of_one_value(net: nn.Module, height: int, width: int) -> str:
    """Looks, by a pass in eval mode, for a layer that can't compute batch statistics of one image.

    Args:
        net: images [B, 3, H, W] to features, under its BatchNorm policy; left as it is.
        height: of the images, in pixels.
        width: likewise.

    Returns:
        The first BatchNorm layer that normalises with the batch in training and gets a single value a channel of one
        image; empty: there is none.
    """
    found: list[str] = []

    def look(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            shape = inputs[0].shape
            if shape[0] * prod(shape[2:]) == 1:
                found.append(name)

        return hook

    layers = [(name, layer) for name, layer in norm_layers(net) if not follows_stored(layer)]
    if not layers:
        return ""
    like = next(net.parameters())
    handles = [layer.register_forward_pre_hook(look(name)) for name, layer in layers]
    try:
        with statistics_untouched(net), torch.no_grad():
            net.eval()
            net(torch.zeros(1, 3, height, width, device=like.device, dtype=like.dtype))
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ""
