"""Puts the layers of a Keras file into our net of the same name, which then computes what Keras' does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from seedsweep.models.backbone import Backbone, InputSpec
from seedsweep.models.fitting import WeightsMisfitError, fit_by_name
from seedsweep.models.keras_file import KerasFile, KerasLayer, read_keras

Shapes = list[tuple[int, ...]]  # of the arrays of one layer


@dataclass(frozen=True)
class KerasTwin:
    """How Keras' net of the same name differs from ours."""

    input_spec: InputSpec  # the normalisation that Keras' weights expect
    # maps the net to its convolutions' module names: in the order of Keras' ``model.layers``, or (second
    # argument true) in the order in which Keras makes, and so numbers, them
    in_order: Callable[[nn.Module, bool], list[str]]
    bgr: bool = False  # the first kernel reads blue, green, red
    adapt: Callable[[nn.Module], None] | None = None  # changes in place what else differs; None: nothing does


def fit_keras(net: nn.Module, path: Path, name: str, twin: KerasTwin | None) -> None:
    """Loads a Keras file into the net that has the same name there.

    Whatever stands behind that part in the file is left aside. Where Keras' BatchNorm has no gamma, ours becomes 1.

    Args:
        twin: how Keras' net differs; None: Keras files of this net are not understood.

    Raises:
        WeightsMisfitError: another net.
        SeedsweepError: not a weight file of Keras, or a value is not finite.
    """
    file = read_keras(path)
    if twin is None:
        raise WeightsMisfitError(
            f"{path} is a Keras file, which {name} can't read: those of InceptionV3 and VGG16 can be read "
            "(backbone=inception_v3, backbone=vgg16)."
        )
    found = (_by_names_of_net(net, file, model, twin) for model in file.models)
    state = next((state for state in found if state), None)
    if state is None:
        raise WeightsMisfitError(f"{path} doesn't fit {name}: {_why_not(file, net, name)}.")
    fit_by_name(net, state, name, path)


def behave_as_keras(backbone: Backbone, twin: KerasTwin) -> None:
    """Makes our net compute what Keras' does with the same weights, and expect what Keras' expects."""
    backbone.input_spec = twin.input_spec
    if twin.adapt is not None:
        twin.adapt(backbone.net)


def _by_names_of_net(
    net: nn.Module, file: KerasFile, model: str, twin: KerasTwin
) -> dict[str, Tensor] | None:
    """Returns the tensors of a model in the file by the names of our net; None: they have other shapes."""
    convs: dict[str, Shapes] = {}
    norms: dict[str, Shapes] = {}
    for where in twin.in_order(net, model in file.numbered):
        unit = net.get_submodule(where)
        names = [where] if isinstance(unit, nn.Conv2d) else [f"{where}.conv", f"{where}.bn"]
        conv = net.get_submodule(names[0])
        assert isinstance(conv, nn.Conv2d)
        out, into, height, width = conv.weight.shape
        convs[names[0]] = [(height, width, into, out), *([(out,)] if conv.bias is not None else [])]
        norms |= {norm: [(out,)] * 3 for norm in names[1:]}  # a gamma may come before them
    kernels = _run(file.of("conv", model), list(convs.values()))
    statistics = _run(file.of("norm", model), list(norms.values()))
    if kernels is None or statistics is None:
        return None
    state: dict[str, Tensor] = {}
    for where, layer in zip(convs, kernels, strict=True):
        state |= _convolution(where, layer, flip=twin.bgr and not state)
    for where, layer in zip(norms, statistics, strict=True):
        state |= _norm(where, layer)
    return state


def _run(layers: list[KerasLayer], wanted: list[Shapes]) -> list[KerasLayer] | None:
    """Returns the first layers in a row whose last arrays have the wanted shapes; None: there are none."""
    shapes = [[array.shape for array in layer.arrays] for layer in layers]
    for start in range(len(layers) - len(wanted) + 1):
        if all(there[-len(each) :] == each for there, each in zip(shapes[start:], wanted, strict=False)):
            return layers[start : start + len(wanted)]
    return None


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


def _why_not(file: KerasFile, net: nn.Module, name: str) -> str:
    for what, kind, layer in (
        ("convolutions", "conv", nn.Conv2d),
        ("BatchNorm layers", "norm", nn.BatchNorm2d),
    ):
        there = max(len(file.of(kind, model)) for model in file.models)
        ours = sum(isinstance(module, layer) for module in net.modules())
        if there < ours:
            return f"it has {there} {what}, where {name} has {ours}"
    return f"its layers in a row have other shapes than those of {name}"
