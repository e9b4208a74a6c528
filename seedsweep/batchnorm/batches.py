"""Batches and BatchNorm: read from a loader, normalised with their own statistics, refused where they are too small."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from seedsweep.batchnorm.policy import follows_stored, modes_untouched, norm_layers, statistics_untouched
from seedsweep.errors import SeedsweepError


def inputs_of(batch: Any) -> Tensor:
    """Returns the inputs of a loader's batch: itself, or the first part of a tuple or list.

    Raises:
        SeedsweepError: that is no tensor.
    """
    first = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
    if not isinstance(first, Tensor):
        raise SeedsweepError(
            f"The loader gives batches of type {type(batch).__name__}, whose inputs can't be found: let it give "
            "tensors, or tuples that begin with one."
        )
    return first


def labels_of(batch: Any) -> Tensor:
    """Returns the class numbers, int64 [B], of a loader's batch ``(inputs, labels, ...)``.

    Raises:
        SeedsweepError: there are none, or not one an input.
    """
    labels = batch[1] if isinstance(batch, (tuple, list)) and len(batch) > 1 else None
    if (
        not isinstance(labels, Tensor)
        or labels.shape != inputs_of(batch).shape[:1]
        or labels.is_floating_point()
    ):
        raise SeedsweepError(
            "The loader must give tuples (inputs, labels, ...) with a class number for each input, integers [B]."
        )
    return labels.long()


def device_of_net(net: nn.Module) -> torch.device:
    """Returns where a net's parameters are; the CPU for one without any."""
    first = next(net.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def forward(model: nn.Module, inputs: Tensor, number: int) -> Any:
    """Returns what ``model`` gives for a loader's batch ``number``, from 1.

    Raises:
        SeedsweepError: the batch is too small for batch statistics.
    """
    try:
        return model(inputs)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise SeedsweepError(
            f"Batch {number} of the loader gives a BatchNorm layer a single value a channel, of which there are no "
            "statistics: take larger batches, or drop_last=True in the DataLoader."
        ) from error


@contextmanager
def batch_statistics(net: nn.Module, *, update: bool = False) -> Iterator[None]:
    """Makes every norm layer of ``net`` normalise with the batch, whatever its policy; all else is in eval mode.

    Args:
        net: its modes and switches are as before on leaving.
        update: whether the running statistics move.
    """
    layers = [layer for _, layer in norm_layers(net)]
    tracking = [layer.track_running_stats for layer in layers]
    with modes_untouched(net):
        net.eval()
        # they come after the hooks of a policy, so that they have the last word
        handles = [layer.register_forward_pre_hook(_use_batch_statistics) for layer in layers]
        for layer in layers:
            layer.track_running_stats = update
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for layer, before in zip(layers, tracking, strict=True):
                layer.track_running_stats = before


def _use_batch_statistics(layer: nn.Module, _inputs: object) -> None:
    layer.training = True


def check_single_images(
    net: nn.Module, image_size: list[int], batch_size: int, n_train: int, probe_images: int = 0
) -> None:
    """Refuses batches of one image of which a layer can't compute batch statistics.

    A last batch of one is no such batch: an epoch and the probe leave it out.

    Args:
        net: images to features, under its BatchNorm policy.
        image_size: height and width in pixels.
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

    Returns:
        The first BatchNorm layer that normalises with the batch in training and gets a single value a channel of one
        image; empty: there is none.
    """
    found: list[str] = []

    def look(name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        shape = inputs[0].shape
        if shape[0] * prod(shape[2:]) == 1:
            found.append(name)

    layers = [(name, layer) for name, layer in norm_layers(net) if not follows_stored(layer)]
    if not layers:
        return ""
    like = next(net.parameters())
    handles = [layer.register_forward_pre_hook(partial(look, name)) for name, layer in layers]
    try:
        with statistics_untouched(net), torch.no_grad():
            net.eval()
            net(torch.zeros(1, 3, height, width, device=like.device, dtype=like.dtype))
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ""
