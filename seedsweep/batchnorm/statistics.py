"""Measures what the running statistics cost in accuracy, and estimates them anew."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from seedsweep.batchnorm.batches import batch_statistics, device_of_net, forward, inputs_of, labels_of
from seedsweep.batchnorm.policy import follows_stored, modes_untouched, norm_layers
from seedsweep.errors import SeedsweepError
from seedsweep.whole import replacing


@dataclass(frozen=True)
class BnGap:
    """Accuracy on the same images with BatchNorm as in training and as at inference, 0..1.

    Example:
        >>> import torch, seedsweep as ss
        >>> net = torch.nn.Linear(2, 2)  # without BatchNorm both modes are one computation
        >>> found = ss.bn_gap(net, [(torch.rand(8, 2), torch.zeros(8, dtype=torch.long))])
        >>> found.gap, found.standard_error
        (0.0, 0.0)

    Attributes:
        train_mode: accuracy with the BatchNorm layers as ``model.train()`` leaves them, under their policies.
        eval_mode: accuracy as at inference.
        gap: the first less the second. Well above 0 on training images: the head relies on batch statistics that it
            does not get at inference.
        standard_error: of the gap, over images taken as independent; NaN for a single image.
    """

    train_mode: float
    eval_mode: float
    gap: float
    standard_error: float


def bn_gap(model: nn.Module, loader: Iterable[Any], device: torch.device | str | None = None) -> BnGap:
    """Measures accuracy with BatchNorm in train mode and in eval mode, on the same images.

    All else, such as dropout, is as at inference both times. The model's weights, statistics, modes and the random
    numbers of PyTorch are left exactly as they were.

    Example:
        >>> import torch, seedsweep as ss
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> net = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 2, bias=False))
        >>> _ = net[1].weight.data.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        >>> x = torch.tensor([[11.0, 0.0], [9.0, 0.0]]).repeat(8, 1)  # the stored mean is 0, the batch's is 10
        >>> found = ss.bn_gap(net, DataLoader(TensorDataset(x, torch.tensor([0, 1]).repeat(8)), batch_size=4))
        >>> found.train_mode, found.eval_mode, found.gap
        (1.0, 0.5, 0.5)

    Args:
        model: any classifier; gives logits [B, N].
        loader: tuples (inputs [B, ...], class numbers [B], ...). To measure what training saw, take its images and its
            batch size, shuffled; a last batch of one image is best left out (``drop_last=True``).
        device: that the batches are moved to; None: the model's.

    Raises:
        SeedsweepError: the loader is empty, gives no labels or others than the model's classes, or has a batch too
            small for batch statistics; or the model does not give finite logits.
    """
    target = device_of_net(model) if device is None else device
    hits: list[Tensor] = []  # [2, B] a batch
    with modes_untouched(model), torch.random.fork_rng(), torch.no_grad():
        model.train()  # a model may keep some layers in eval mode here
        by_batch = [layer for _, layer in norm_layers(model) if layer.training and not follows_stored(layer)]
        tracking = [layer.track_running_stats for layer in by_batch]
        model.eval()
        try:
            for layer in by_batch:
                # keeps the statistics; in eval mode they are read all the same
                layer.track_running_stats = False
            for number, batch in enumerate(loader, 1):
                x, y = inputs_of(batch).to(target), labels_of(batch).to(target)
                found = []
                for training in (True, False):
                    for layer in by_batch:
                        layer.training = training
                    found.append(_hits(forward(model, x, number), y))
                hits.append(torch.stack(found))
        finally:
            for layer, before in zip(by_batch, tracking, strict=True):
                layer.track_running_stats = before
    if not hits:
        raise SeedsweepError("The loader gives no batches: there is no accuracy of no images.")
    in_train, in_eval = torch.cat(hits, 1).double().cpu()
    difference = in_train - in_eval
    spread = float(difference.std()) if len(difference) > 1 else math.nan
    standard_error = spread / math.sqrt(len(difference))
    return BnGap(float(in_train.mean()), float(in_eval.mean()), float(difference.mean()), standard_error)


def _hits(logits: Any, y: Tensor) -> Tensor:
    """Returns which of the inputs are classified correctly, bool [B]."""
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(y):
        shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise SeedsweepError(f"The model must give logits [B, N] for {len(y)} inputs, but gave {shape}.")
    if not torch.isfinite(logits).all():
        raise SeedsweepError("The model gives NaN or infinite logits: no class can be told from them.")
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < logits.shape[1]:
        raise SeedsweepError(
            f"Class numbers must be 0 to {logits.shape[1] - 1}, as the model gives {logits.shape[1]} logits, but "
            f"they are {int(y.min())} to {int(y.max())}."
        )
    return logits.argmax(1) == y


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
        with batch_statistics(model, update=True), torch.no_grad():
            for layer in layers:
                layer.reset_running_stats()
                layer.momentum = None  # the plain average
            for batches, batch in enumerate(loader, 1):
                forward(model, inputs_of(batch).to(target), batches)
        if not batches:
            raise SeedsweepError("The loader gives no batches: statistics can't be estimated from no images.")
    except BaseException:
        for buffer, value in before:
            buffer.copy_(value)
        raise
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def save_statistics(net: nn.Module, path: Path) -> None:
    """Writes all BatchNorm buffers of ``net``, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        save_file({key: buffer.contiguous() for key, buffer in _buffers(net).items()}, part)


def load_statistics(net: nn.Module, path: Path) -> bool:
    """Fills all BatchNorm buffers of ``net``; returns False, and changes nothing, where the file can't serve."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError):
        return False
    buffers = _buffers(net)
    if buffers.keys() != tensors.keys():
        return False
    for key, buffer in buffers.items():
        buffer.copy_(tensors[key])
    return True


def _buffers(net: nn.Module) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": buffer
        for name, layer in norm_layers(net)
        for key, buffer in layer.named_buffers(recurse=False)
    }
