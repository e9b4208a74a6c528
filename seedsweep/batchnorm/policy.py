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

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import torch
import yaml
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from seedsweep.batchnorm.options import BatchNormConfig
from seedsweep.errors import SeedsweepError
from seedsweep.names import conf_dir

STATE = "_seedsweep_batchnorm"  # attribute of a layer under a policy: an ordinary one, so no key of its state dict


def norm_layers(net: nn.Module) -> list[tuple[str, _BatchNorm]]:
    """Returns every BatchNorm layer with its name: BatchNorm1d/2d/3d, SyncBatchNorm, BatchNormAct2d."""
    return [(name, layer) for name, layer in net.named_modules() if isinstance(layer, _BatchNorm)]


def policy_named(name: str) -> BatchNormConfig:
    """Returns the switches of a policy of ``conf/batchnorm``."""
    known = {path.stem: path for path in sorted((conf_dir() / "batchnorm").glob("*.yaml"))}
    if name not in known:
        raise SeedsweepError(f"There is no BatchNorm policy {name!r}: choose one of {', '.join(known)}.")
    return BatchNormConfig(**yaml.safe_load(known[name].read_text(encoding="utf-8")))


@dataclass
class _State:
    """What a layer was before any policy, and the policies that were set since, the one in force last."""

    requires_grad: dict[str, bool]
    track_running_stats: bool
    own_mode: bool | None  # of a layer that was not in the mode of the module around it
    policies: dict[str, BatchNormConfig] = field(default_factory=dict)  # by call
    hook: RemovableHandle | None = None


class BatchNormHandle:
    """Takes back what one call of :func:`set_batchnorm` did; in a ``with`` statement, at its end.

    Example:
        >>> import torch, seedsweep as ss
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        >>> with ss.set_batchnorm(model, "inference") as handle:
        ...     list(handle.layers), model[1].weight.requires_grad
        (['1'], False)
        >>> model[1].weight.requires_grad
        True

    Args:
        model: the model.
        layers: its BatchNorm layers under the policy, by name.
        policy: the switches.
    """

    def __init__(self, model: nn.Module, layers: dict[str, _BatchNorm], policy: BatchNormConfig) -> None:
        self.model = model
        self.layers = layers
        self.policy = policy
        self._call = uuid4().hex

    def apply(self) -> None:
        """Sets the policy again on all layers, last: for use after other code has changed their switches."""
        for name, layer in self.layers.items():
            state = getattr(layer, STATE, None)
            if state is None:
                around = _around(self.model, name)
                own_mode = (
                    None if around is not None and around.training == layer.training else layer.training
                )
                trained = {key: p.requires_grad for key, p in layer.named_parameters(recurse=False)}
                state = _State(trained, layer.track_running_stats, own_mode)
                setattr(layer, STATE, state)
            state.policies.pop(self._call, None)
            state.policies[self._call] = self.policy
            _act(layer, state)

    def remove(self) -> None:
        """Takes the policy back: an earlier one is in force again, or the layers are as they were before any.

        Switches and ``requires_grad`` get their earlier values. The layers then are in the mode, training or eval,
        of the module around them, which the last ``train()`` or ``eval()`` set. Running statistics and weights that
        were trained in the meantime stay. A second call does nothing.
        """
        for name, layer in self.layers.items():
            state = getattr(layer, STATE, None)
            if state is None or state.policies.pop(self._call, None) is None:
                continue
            _act(layer, state)
            if not state.policies:
                around = _around(self.model, name)
                layer.training = (
                    around.training if around and state.own_mode is None else bool(state.own_mode)
                )
                delattr(layer, STATE)

    def __enter__(self) -> BatchNormHandle:
        """Returns itself: ``with set_batchnorm(...):`` takes the policy back at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def set_batchnorm(
    model: nn.Module, policy: str | BatchNormConfig, modules: Sequence[str] | None = None
) -> BatchNormHandle:
    """Puts the BatchNorm layers of any model under a policy, whatever ``train()`` or ``eval()`` is called afterwards.

    The model keeps its class, its parameters and the keys of its state dict. The policy goes along with
    ``copy.deepcopy`` and ``pickle``. A later call wins over an earlier one until its handle is removed. Call it after
    freezing layers: the policy decides whether scale and shift of the layers are trained.

    Example:
        >>> import torch, seedsweep as ss
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        >>> handle = ss.set_batchnorm(model, "inference")
        >>> images = torch.rand(8, 3, 9, 9)
        >>> bool(torch.equal(model.train()(images), model.eval()(images)))  # stored statistics in both modes
        True
        >>> handle.remove()

    Args:
        model: any module with BatchNorm1d, BatchNorm2d, BatchNorm3d or SyncBatchNorm layers; changed in place.
        policy: ``inference``, ``batch_stats``, ``update_stats``, ``train`` or ``recalibrate`` (which acts like
            ``inference``; call :func:`recalibrate` before it); or switches of your own, a ``BatchNormConfig`` of
            :mod:`seedsweep.batchnorm.options`.
        modules: names of submodules, such as ``["backbone"]``, whose layers are meant; None: those of the whole model.

    Returns:
        A handle. Its ``remove()`` takes the policy back; its ``layers`` are the layers by name, none for a model
        without BatchNorm.

    Raises:
        SeedsweepError: there is no such policy or submodule, or a layer keeps no running statistics, which the
            policy needs.
    """
    switches = policy_named(policy) if isinstance(policy, str) else policy
    layers = _chosen(model, modules)
    for name, layer in layers.items():
        needs = switches.training_statistics == "stored" or switches.update_statistics
        if needs and layer.running_mean is None:
            raise SeedsweepError(
                f"The BatchNorm layer {name or type(layer).__name__} was made with track_running_stats=False and has "
                f"no running statistics, which the policy {switches.name} needs: make it with "
                "track_running_stats=True, or leave it out with modules=."
            )
    handle = BatchNormHandle(model, layers, switches)
    handle.apply()
    return handle


def depends_on_batch(net: nn.Module) -> bool:
    """Says whether an image's output in train mode depends on the other images of its batch."""
    return not all(follows_stored(layer) for _, layer in norm_layers(net))


def follows_stored(layer: nn.Module) -> bool:
    """Says whether a policy holds the layer to its stored statistics."""
    return _use_stored_statistics in layer._forward_pre_hooks.values()


@contextmanager
def statistics_untouched(net: nn.Module) -> Iterator[None]:
    """Restores all BatchNorm buffers and all train/eval flags of ``net`` on leaving."""
    layers = [layer for _, layer in norm_layers(net)]
    buffers = [(buffer, buffer.clone()) for layer in layers for buffer in layer.buffers(recurse=False)]
    with modes_untouched(net):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)


@contextmanager
def modes_untouched(net: nn.Module) -> Iterator[None]:
    """Restores all train/eval flags of ``net`` on leaving."""
    modes = [(module, module.training) for module in net.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _use_stored_statistics(layer: nn.Module, _inputs: object) -> None:
    """Forward pre-hook: eval mode, whatever ``train()`` was called on the layer or above it."""
    layer.training = False


def _act(layer: _BatchNorm, state: _State) -> None:
    """Makes the layer do what the last policy says, or what it did before any."""
    policy = next(reversed(state.policies.values()), None)
    stored = policy is not None and policy.training_statistics == "stored"
    if state.hook is not None and not stored:
        state.hook.remove()
        state.hook = None
    if state.hook is None and stored:
        state.hook = layer.register_forward_pre_hook(_use_stored_statistics)
    layer.track_running_stats = state.track_running_stats
    if policy is not None and not stored:
        layer.track_running_stats = policy.update_statistics
    for key, parameter in layer.named_parameters(recurse=False):
        parameter.requires_grad = policy.train_affine if policy else state.requires_grad[key]


def _around(model: nn.Module, name: str) -> nn.Module | None:
    """Returns the module that holds the one called ``name``; None for the model itself."""
    return model.get_submodule(name.rpartition(".")[0]) if name else None


def _chosen(model: nn.Module, modules: Sequence[str] | None) -> dict[str, _BatchNorm]:
    layers = dict(norm_layers(model))
    if modules is None:
        return layers
    names = [modules] if isinstance(modules, str) else list(modules)
    known = dict(model.named_modules())
    for name in names:
        if name not in known:
            children = ", ".join(child for child, _ in model.named_children())
            raise SeedsweepError(
                f"The model has no submodule {name!r}: its direct submodules are {children}."
            )
    chosen = {id(layer) for name in names for _, layer in norm_layers(known[name])}
    return {name: layer for name, layer in layers.items() if id(layer) in chosen}
