"""Keeps recalibrated statistics: a second run with the same weights and images needs no second pass."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from seedsweep.batchnorm.policy import norm_layers
from seedsweep.whole import replacing


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
