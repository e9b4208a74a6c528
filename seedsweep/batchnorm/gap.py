"""How much accuracy a net loses when BatchNorm goes from the batch's statistics to the stored ones."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seedsweep.batchnorm.policy import follows_stored, modes_untouched, norm_layers
from seedsweep.batchnorm.samples import device_of_net, inputs_of, labels_of
from seedsweep.errors import SeedsweepError


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
        SeedsweepError: the loader is empty, gives no labels, or has a batch too small for batch statistics; or the
            model does not give logits.
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
                layer.track_running_stats = (
                    False  # keeps the statistics; in eval mode they are read all the same
                )
            for batch in loader:
                x, y = inputs_of(batch).to(target), labels_of(batch).to(target)
                found = []
                for training in (True, False):
                    for layer in by_batch:
                        layer.training = training
                    found.append(_hits(model, x, y))
                hits.append(torch.stack(found))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise SeedsweepError(
                f"Batch {len(hits) + 1} of the loader gives a BatchNorm layer a single value a channel, of which there "
                "are no statistics: take larger batches, or drop_last=True in the DataLoader."
            ) from error
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


def _hits(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Returns which of the inputs are classified correctly, bool [B]."""
    logits = model(x)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(y):
        shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise SeedsweepError(f"The model must give logits [B, N] for {len(y)} inputs, but gave {shape}.")
    return logits.argmax(1) == y
