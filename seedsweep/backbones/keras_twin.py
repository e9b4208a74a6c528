"""Puts the layers of a Keras file into our net of the same name, which then computes what Keras' does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from seedsweep.backbones.base import Backbone, InputSpec
from seedsweep.backbones.fitting import WeightsMisfitError
from seedsweep.backbones.keras_file import KerasLayer, read_keras


@dataclass(frozen=True)
class KerasTwin:
    """How Keras' net of the same name differs from ours.

    Attributes:
        input_spec: the normalisation that Keras' weights expect.
        in_order: maps the trunk to its convolutions' module names: in the order of Keras' ``model.layers``, or
            (second argument true) in the order in which Keras makes, and so numbers, them.
        bgr: the first kernel reads blue, green, red.
        adapt: changes in place what else differs; None: nothing does.
    """

    input_spec: InputSpec
    in_order: Callable[[nn.Module, bool], list[str]]
    bgr: bool = False
    adapt: Callable[[nn.Module], None] | None = None


def fit_keras(net: nn.Module, path: Path, name: str, twin: KerasTwin | None) -> None:
    """Loads a Keras file into the trunk of the net that has the same name there.

    Dense layers are left aside. Where Keras' BatchNorm has no gamma, ours becomes 1.

    Args:
        net: the trunk, filled in place, and only if everything fits.
        path: the file.
        name: the net's name, for messages.
        twin: how Keras' net differs; None: Keras files of this net are not understood.

    Raises:
        WeightsMisfitError: another net.
        SeedsweepError: not a weight file of Keras.
    """
    file = read_keras(path)
    if twin is None:
        raise WeightsMisfitError(
            f"{path} is a Keras file, which {name} can't read: InceptionV3 and VGG16 can (backbone=inception_v3)."
        )
    names = twin.in_order(net, file.numbered)
    convs, norms = file.of("conv"), file.of("norm")
    wanted_norms = sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    for what, there, ours in (
        ("convolutions", len(convs), len(names)),
        ("BatchNorm layers", len(norms), wanted_norms),
    ):
        if there != ours:
            raise WeightsMisfitError(
                f"{path} doesn't fit {name}: it has {there} {what}, where {name} has {ours}."
            )
    state: dict[str, Tensor] = {}
    for place, where in enumerate(names):
        module = net.get_submodule(where)
        if isinstance(module, nn.Conv2d):
            state |= _convolution(where, convs[place], flip=twin.bgr and place == 0)
        else:  # a convolution with its BatchNorm
            state |= _convolution(f"{where}.conv", convs[place], flip=twin.bgr and place == 0)
            state |= _norm(f"{where}.bn", norms[place])
    present = net.state_dict()
    wrong = [k for k, v in state.items() if k not in present or present[k].shape != v.shape]
    lacking = [k for k in present if k not in state and not k.endswith("num_batches_tracked")]
    if wrong or lacking:
        raise WeightsMisfitError(
            f"{path} doesn't fit {name}: it {'has other shapes for' if wrong else 'lacks'} "
            f"{', '.join((wrong or lacking)[:3])}."
        )
    net.load_state_dict(present | state)


def behave_as_keras(backbone: Backbone, twin: KerasTwin) -> None:
    """Makes our net compute what Keras' does with the same weights, and expect what Keras' expects."""
    backbone.input_spec = twin.input_spec
    if twin.adapt is not None:
        twin.adapt(backbone.net)


def _convolution(where: str, layer: KerasLayer, flip: bool) -> dict[str, Tensor]:
    kernel = layer.arrays[0].transpose(3, 2, 0, 1)  # height, width, in, out
    if flip:
        kernel = kernel[:, ::-1]
    state = {f"{where}.weight": torch.tensor(np.ascontiguousarray(kernel))}
    if len(layer.arrays) > 1:
        state[f"{where}.bias"] = torch.tensor(layer.arrays[1])
    return state


def _norm(where: str, layer: KerasLayer) -> dict[str, Tensor]:
    *gamma, beta, mean, variance = (torch.tensor(array) for array in layer.arrays)
    return {
        f"{where}.weight": gamma[0] if gamma else torch.ones_like(beta),
        f"{where}.bias": beta,
        f"{where}.running_mean": mean,
        f"{where}.running_var": variance,
    }
