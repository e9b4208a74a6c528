"""BatchNorm policies: what normalises a pretrained net while a new head is trained on it.

A BatchNorm layer computes ``(x - mean) / sqrt(var + eps) * scale + shift``. Two questions decide whether
transfer learning works, and frameworks answer them differently behind one word, "frozen":

1. Whose ``mean`` and ``var``? The mini-batch's (``batch``) or the running ones in the weights (``stored``).
   At inference it is always the stored ones. If training uses the batch's, the head learns on features that
   it never meets again: training accuracy soars, validation stays near chance.
2. What is allowed to move? The running statistics (``update_statistics``), scale and shift (``train_affine``).

A policy is those switches and nothing else; each file of ``conf/batchnorm/`` is one. The five shipped:

=============  ==========  ==========  ======  =========================================================
policy         normalises  statistics  affine  known as
=============  ==========  ==========  ======  =========================================================
inference      stored      fixed       fixed   keras PR 9965 (V. Vryniotis, "datumbox"); Chollet's
                                               learning-phase workaround; Keras' trainable=False today
batch_stats    batch       fixed       fixed   Keras of the story; Lightning's
                                               BaseFinetuning.freeze(train_bn=False) as of 2.6
update_stats   batch       drift       fixed   requires_grad=False alone
train          batch       updated     trained usual training; with a frozen backbone: Frankle et al. 2021
recalibrate    stored      fixed       fixed   statistics re-estimated first: AdaBN (Li et al. 2016),
                                               "precise BN" (Wu and Johnson 2021)
=============  ==========  ==========  ======  =========================================================

How each switch acts on PyTorch (``torch.nn.modules.batchnorm._BatchNorm.forward``, and timm's
``BatchNormAct2d``, which repeats it): stored statistics are used when ``training`` is False, so `stored`
puts a layer in eval mode at each forward, whoever called ``train()`` before. ``track_running_stats=False``
normalises with the batch in train mode, leaves the buffers alone, and still reads them in eval mode.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from seedsweep.config.schema import BatchNormConfig

log = logging.getLogger(__name__)


def norm_layers(net: nn.Module) -> list[tuple[str, _BatchNorm]]:
    """Returns every BatchNorm layer with its name: BatchNorm1d/2d/3d, SyncBatchNorm, BatchNormAct2d."""
    return [(name, layer) for name, layer in net.named_modules() if isinstance(layer, _BatchNorm)]


def _use_stored_statistics(layer: nn.Module, _inputs: object) -> None:
    """Forward pre-hook: eval mode, whatever ``train()`` was called on the layer or above it."""
    layer.training = False


def apply_policy(net: nn.Module, policy: BatchNormConfig) -> int:
    """Puts every BatchNorm layer of ``net`` under ``policy``.

    Call it after freezing the net: the policy has the last word on BatchNorm's scale and shift.

    Args:
        net: the backbone; changed in place.
        policy: the switches.

    Returns:
        The number of BatchNorm layers (0 for VGG16: every policy is then the same).
    """
    layers = norm_layers(net)
    for _, layer in layers:
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad = policy.train_affine
        if policy.training_statistics == "stored":
            layer.register_forward_pre_hook(_use_stored_statistics)
        elif not policy.update_statistics:
            layer.track_running_stats = False
    return len(layers)


def depends_on_batch(net: nn.Module) -> bool:
    """Says whether an image's output in train mode depends on the other images of its batch."""
    return not all(follows_stored(layer) for _, layer in norm_layers(net))


def follows_stored(layer: nn.Module) -> bool:
    """Says whether a policy holds the layer to its stored statistics."""
    return _use_stored_statistics in layer._forward_pre_hooks.values()


def recalibrate(net: nn.Module, batches: Iterable[Tensor], device: torch.device | None = None) -> None:
    """Re-estimates all running statistics as the plain average over ``batches``.

    Args:
        net: the backbone, before :func:`apply_policy`; only its running statistics change.
        batches: preprocessed, un-augmented training images, [B, 3, H, W] each, in shuffled order
            (class-sorted batches would each hold one class's statistics).
        device: where to compute.
    """
    if norm_layers(net):
        update_bn(batches, net, device=device)


@contextmanager
def statistics_untouched(net: nn.Module) -> Iterator[None]:
    """Restores all BatchNorm buffers and all train/eval flags of ``net`` on leaving."""
    flags = [(module, module.training) for module in net.modules()]
    buffers = [
        (buffer, buffer.clone()) for _, layer in norm_layers(net) for buffer in layer.buffers(recurse=False)
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        for module, training in flags:
            module.training = training
