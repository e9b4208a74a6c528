"""Puts the layers of a Keras file into our net of the same name, which then computes what Keras' does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from seedsweep.models.backbone import Backbone, InputSpec
from seedsweep.models.fitting import COUNTER, WeightsMisfitError, load_whole
from seedsweep.models.keras_file import KerasFile, KerasLayer, read_keras


@dataclass(frozen=True)
class KerasTwin:
    """How Keras' net of the same name differs from ours.

    Attributes:
        input_spec: the normalisation that Keras' weights expect.
        in_order: maps the net to its convolutions' module names: in the order of Keras' ``model.layers``, or
            (second argument true) in the order in which Keras makes, and so numbers, them.
        bgr: the first kernel reads blue, green, red.
        adapt: changes in place what else differs; None: nothing does.
    """

    input_spec: InputSpec
    in_order: Callable[[nn.Module, bool], list[str]]
    bgr: bool = False
    adapt: Callable[[nn.Module], None] | None = None


def fit_keras(net: nn.Module, path: Path, name: str, twin: KerasTwin | None) -> None:
    """Loads a Keras file into the net that has the same name there.

    Whatever stands behind that part in the file is left aside. Where Keras' BatchNorm has no gamma, ours becomes 1.

    Args:
        net: filled in place, and only if everything fits.
        path: the file.
        name: the net's name, for messages.
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
    for model in file.models:
        names = twin.in_order(net, model in file.numbered)
        convs = _run(file.of("conv", model), [_conv_of(net, where) for where in names])
        norms = _run(file.of("norm", model), [norm for where in names for norm in _norm_of(net, where)])
        if convs is not None and norms is not None:
            break
    else:
        raise WeightsMisfitError(f"{path} doesn't fit {name}: {_why_not(file, net, name)}.")
    state: dict[str, Tensor] = {}
    left = iter(norms)
    for place, (where, layer) in enumerate(zip(names, convs, strict=True)):
        conv, norm = _parts(net, where)
        state |= _convolution(conv, layer, flip=twin.bgr and place == 0)
        if norm:
            state |= _norm(norm, next(left))
    wanted = net.state_dict()
    lacking = [key for key in wanted if key not in state and not key.endswith(COUNTER)]
    if lacking:
        raise WeightsMisfitError(f"{path} doesn't fit {name}: it lacks {', '.join(lacking[:3])}.")
    load_whole(net, wanted | state, name, path)


def _parts(net: nn.Module, where: str) -> tuple[str, str]:
    """Returns the names of a convolution and of its BatchNorm; the second is empty where it has none."""
    alone = isinstance(net.get_submodule(where), nn.Conv2d)
    return (where, "") if alone else (f"{where}.conv", f"{where}.bn")


def _conv_of(net: nn.Module, where: str) -> list[tuple[int, ...]]:
    """Returns the shapes of the arrays that Keras keeps of a convolution."""
    conv = net.get_submodule(_parts(net, where)[0])
    assert isinstance(conv, nn.Conv2d)
    out, into, height, width = conv.weight.shape
    return [(height, width, into, out)] + ([(out,)] if conv.bias is not None else [])


def _norm_of(net: nn.Module, where: str) -> list[list[tuple[int, ...]]]:
    norm = _parts(net, where)[1]
    if not norm:
        return []
    layer = net.get_submodule(norm)
    assert isinstance(layer, nn.BatchNorm2d)
    return [[(layer.num_features,)] * 3]  # a gamma would come before them


def _run(layers: list[KerasLayer], wanted: list[list[tuple[int, ...]]]) -> list[KerasLayer] | None:
    """Returns the first layers in a row that have the wanted shapes; None: there are none."""
    shapes = [[array.shape for array in layer.arrays] for layer in layers]
    shapes = [
        each[1:] if layer.kind == "norm" and len(each) == 4 else each
        for layer, each in zip(layers, shapes, strict=True)
    ]
    for start in range(len(layers) - len(wanted) + 1):
        if shapes[start : start + len(wanted)] == wanted:
            return layers[start : start + len(wanted)]
    return None


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
