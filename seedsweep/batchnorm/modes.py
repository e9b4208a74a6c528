"""Normalises with the batch for a moment, whatever a net's policy says: to look or to measure, not to train."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from seedsweep.batchnorm.policy import modes_untouched, norm_layers, statistics_untouched


def _use_batch_statistics(layer: nn.Module, _inputs: object) -> None:
    layer.training = True


@contextmanager
def batch_statistics(net: nn.Module) -> Iterator[None]:
    """Makes every norm layer of ``net`` normalise with the batch; statistics and flags are as before on leaving.

    All other modules stay in eval mode. The hooks come after those of a policy, so that they have the last word.
    """
    with statistics_untouched(net), normalising_with_batch(net, update=False):
        yield


@contextmanager
def normalising_with_batch(net: nn.Module, *, update: bool) -> Iterator[None]:
    """Makes every norm layer of ``net`` normalise with the batch, and all other modules stay in eval mode.

    Args:
        net: its flags and switches are as before on leaving.
        update: whether the running statistics move.
    """
    layers = [layer for _, layer in norm_layers(net)]
    tracking = [layer.track_running_stats for layer in layers]
    with modes_untouched(net):
        net.eval()
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
