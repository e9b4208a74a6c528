"""Estimates the running statistics anew, and keeps them: a second run with the same images needs no second pass."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from seedsweep.batchnorm.modes import normalising_with_batch
from seedsweep.batchnorm.policy import norm_layers
from seedsweep.batchnorm.samples import device_of_net, inputs_of
from seedsweep.errors import SeedsweepError
from seedsweep.whole import replacing


def recalibrate(model: nn.Module, loader: Iterable[Any], device: torch.device | str | None = None) -> None:
    """Re-estimates all running statistics as the plain average over the batches of ``loader``.

    Only the running statistics change (AdaBN, Li and others 2016; "precise BN", Wu and Johnson 2021). It makes no
    difference which policy the layers are under. Dropout and all else is as at inference.

    Example:
        >>> import torch, seedsweep as ss
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        >>> images = torch.rand(64, 3, 9, 9)
        >>> ss.recalibrate(model, torch.utils.data.DataLoader(images, batch_size=16, shuffle=True))
        >>> bool(torch.allclose(model[1].running_mean, model[0](images).mean((0, 2, 3)), atol=1e-4))
        True

    Args:
        model: any module; one without BatchNorm layers is left as it is.
        loader: batches as the model takes them, [B, ...], or tuples that begin with one. They should be shuffled, not
            augmented and of equal size: each counts the same, and one of a single class holds that class's statistics.
        device: that the batches are moved to; None: the model's.

    Raises:
        SeedsweepError: the loader is empty, or a batch is too small for batch statistics. The statistics are then as
            they were.
    """
    layers = [layer for _, layer in norm_layers(model) if layer.running_mean is not None]
    if not layers:
        return
    before = [(buffer, buffer.clone()) for layer in layers for buffer in layer.buffers(recurse=False)]
    momenta = [layer.momentum for layer in layers]
    target = device_of_net(model) if device is None else device
    batches = 0
    try:
        with normalising_with_batch(model, update=True), torch.no_grad():
            for layer in layers:
                layer.reset_running_stats()
                layer.momentum = None  # the plain average
            for batch in loader:
                model(inputs_of(batch).to(target))
                batches += 1
        if not batches:
            raise SeedsweepError("The loader gives no batches: statistics can't be estimated from no images.")
    except BaseException as error:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
        if isinstance(error, ValueError) and "more than 1 value per channel" in str(error):
            raise SeedsweepError(
                f"Batch {batches + 1} of the loader gives a BatchNorm layer a single value a channel, of which there "
                "are no statistics: take larger batches, or drop_last=True in the DataLoader."
            ) from error
        raise
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def save_statistics(net: nn.Module, path: Path) -> None:
    """Writes all BatchNorm buffers of ``net``, whole or not at all."""
    tensors = {
        f"{name}.{key}": buffer.contiguous()
        for name, layer in norm_layers(net)
        for key, buffer in layer.named_buffers(recurse=False)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        save_file(tensors, part)


def load_statistics(net: nn.Module, path: Path) -> bool:
    """Fills all BatchNorm buffers of ``net``; returns False, and changes nothing, where the file can't serve."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError):
        return False
    buffers = {
        f"{name}.{key}": buffer
        for name, layer in norm_layers(net)
        for key, buffer in layer.named_buffers(recurse=False)
    }
    if buffers.keys() != tensors.keys():
        return False
    for key, buffer in buffers.items():
        buffer.copy_(tensors[key])
    return True
