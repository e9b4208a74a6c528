"""Reads files of Keras, of Keras 1, 2 and 3: the layers with weights, and what they say about the head.

Keras itself loads by position, never by name, so the layers are handed out in the order of Keras' ``model.layers``.
Layouts: HDF5 with ``layer_names`` and ``weight_names`` (``.h5`` up to Keras 2, ``legacy/saving/legacy_h5_format.py``
of Keras 3), HDF5 with ``layers/<class>_<n>/vars/<k>`` (``.weights.h5``), and the zip around it (``.keras``). Nothing
that a file holds is run.
"""

from __future__ import annotations

import io
import itertools
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedsweep.errors import SeedsweepError

SUFFIXES = (".h5", ".hdf5", ".keras")
IN_ZIP = "model.weights.h5"
NOT_LAYERS = ("optimizer", "optimizer_weights", "top_level_model_weights")

POOLING = "GlobalAveragePooling2D"
CONVOLUTIONS = ("Conv2D", "Convolution2D", "SeparableConv2D", "DepthwiseConv2D")
WITH_CONVOLUTION = ("BatchNormalization", "Activation", "ReLU", "Concatenate", "Merge")  # may follow the last
LAST_OF_VGG = "block5_pool"
AT_TRAINING_ONLY = (
    "Dropout",
    "SpatialDropout2D",
    "GaussianDropout",
    "GaussianNoise",
    "ActivityRegularization",
)
NOTHING = ("InputLayer", *AT_TRAINING_ONLY)
ACTIVATIONS = {"Softmax": "softmax", "LeakyReLU": "LeakyReLU", "PReLU": "PReLU", "ELU": "elu"}

Array = NDArray[np.float32]


@dataclass(frozen=True)
class KerasLayer:
    """A layer with weights; ``arrays`` in Keras' order: kernel, bias; or gamma (if scaled), beta, mean, variance.

    ``model`` names the model that the layer belongs to: empty for the outermost one, where models are in a model.
    """

    name: str
    arrays: list[Array]
    model: str = ""

    @property
    def kind(self) -> str:
        """Returns conv, dense, norm or other."""
        if len(self.arrays) in (3, 4) and all(array.ndim == 1 for array in self.arrays):
            return "norm"
        return {4: "conv", 2: "dense"}.get(self.arrays[0].ndim, "other")


@dataclass(frozen=True)
class KerasFile:
    """The layers with weights of a file, in Keras' order.

    ``numbered`` names the models in it whose layers are in the order of their names' numbers instead.
    """

    path: Path
    layers: list[KerasLayer]
    numbered: frozenset[str] = frozenset()

    def of(self, kind: str, model: str | None = None) -> list[KerasLayer]:
        """Returns the layers of a kind, in order; of one model, or of all."""
        return [layer for layer in self.layers if layer.kind == kind and model in (None, layer.model)]

    @property
    def models(self) -> list[str]:
        """The models in it that have layers with weights, in order."""
        return list(dict.fromkeys(layer.model for layer in self.layers))


@dataclass(frozen=True)
class KerasClassifier:
    """A whole classifier: what goes into our backbone and into our head."""

    file: KerasFile  # the backbone's layers, and all others
    # weight [out, in] and bias [out] of each Dense layer, from the features to the classes
    dense: list[tuple[Tensor, Tensor]]
    sizes: tuple[int, ...]  # features, units of each Dense layer; the last is the number of classes


@dataclass(frozen=True)
class HeadLayer:
    """A layer of a head, by Keras' class; ``units`` and ``activation`` of a Dense layer only."""

    kind: str
    units: int = 0
    activation: str = ""

    def __str__(self) -> str:
        return f"Dense({self.units}, {self.activation})" if self.kind == "Dense" else self.kind


def is_keras(path: Path) -> bool:
    """Says whether a file's name is one of Keras' kinds."""
    return path.suffix.lower() in SUFFIXES


def read_keras(path: Path) -> KerasFile:
    """Reads the layers of a Keras file.

    Raises:
        SeedsweepError: not a weight file of Keras.
    """
    cause: Exception | None = None
    layers: list[KerasLayer] = []
    numbered: set[str] = set()
    try:
        source: Any = path
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                source = io.BytesIO(archive.read(IN_ZIP))
        with h5py.File(source, "r") as content:
            group = content.get("model_weights", content)
            if "layer_names" in group.attrs or "layer_names0" in group.attrs:
                layers = _legacy(group, numbered)
            else:
                layers = _by_class(content)
    except Exception as error:  # OSError, KeyError, BadZipFile, ...
        cause = error
    if not layers:
        raise SeedsweepError(
            f"{path} can't be read as Keras weights: give a .h5, .weights.h5 or .keras file that Keras wrote."
        ) from cause
    return KerasFile(path, layers, frozenset(numbered))


def dense_of(file: KerasFile) -> KerasClassifier | None:
    """Returns the Dense layers of a classifier that ends in them, as in Keras' tutorials; None: they make no chain."""
    dense = [
        (torch.tensor(layer.arrays[0].T), torch.tensor(layer.arrays[1]))
        for layer in file.of("dense")
        if len(layer.arrays) == 2
    ]
    if not dense or any(len(bias) != after.shape[1] for (_, bias), (after, _) in itertools.pairwise(dense)):
        return None
    return KerasClassifier(file, dense, (dense[0][0].shape[1], *(len(bias) for _, bias in dense)))


def _legacy(group: Any, numbered: set[str]) -> list[KerasLayer]:
    """Reads the layout with name lists; a model inside a model is one "layer" there, whose parts are known by name."""
    layers: list[KerasLayer] = []
    for name in _names(group, "layer_names"):
        parts: dict[str, list[Array]] = {}
        for weight in _names(group[name], "weight_names"):
            array = np.asarray(group[name][weight], dtype=np.float32)
            parts.setdefault(weight.rpartition("/")[0], []).append(array)
        if len(parts) > 1:
            # the trainable weights stand before the others, so only the numbers in the names give the order
            numbered.add(name)
            layers += [KerasLayer(part, parts[part], name) for part in sorted(parts, key=_natural)]
        else:
            layers += [KerasLayer(name, arrays) for arrays in parts.values()]
    return layers


def _by_class(content: Any) -> list[KerasLayer]:
    """Reads the layout of Keras 3, where a layer is called by its class and its place among those of its class."""
    found: dict[str, dict[int, Array]] = {}

    def visit(name: str, item: object) -> None:
        path = name.split("/")
        if isinstance(item, h5py.Dataset) and path[0] not in NOT_LAYERS and path[-2:-1] == ["vars"]:
            arrays = found.setdefault("/".join(path[:-2]), {})
            arrays[int(path[-1])] = np.asarray(item, dtype=np.float32)

    content.visititems(visit)
    return [
        KerasLayer(name, [found[name][n] for n in sorted(found[name])], name.rpartition("/")[0])
        for name in sorted(found, key=_natural)
    ]


def _names(group: Any, attribute: str) -> list[str]:
    """Returns a list of names; Keras writes a long one in pieces ``<attribute>0``, ``<attribute>1``, ..."""
    pieces = [attribute] if attribute in group.attrs else []
    while attribute not in group.attrs and f"{attribute}{len(pieces)}" in group.attrs:
        pieces.append(f"{attribute}{len(pieces)}")
    return [_text(name) for piece in pieces for name in group.attrs[piece]]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts conv2d before conv2d_1, and conv2d_9 before conv2d_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def head_of(path: Path) -> list[HeadLayer] | None:
    """Returns the layers behind the last convolution, without those that do nothing at inference.

    An activation that is a layer by itself becomes the Dense layer's before it.

    Args:
        path: a ``.keras`` or ``.h5`` file.

    Returns:
        None where the file holds weights alone.
    """
    try:
        layers = list(_flat(json.loads(_architecture(path))))
    except (OSError, KeyError, ValueError, TypeError, AttributeError, zipfile.BadZipFile):
        return None
    convolutions = [place for place, layer in enumerate(layers) if layer["class_name"] in CONVOLUTIONS]
    head: list[HeadLayer] = []
    for layer in layers[max(convolutions, default=-1) + 1 :]:
        kind, config = layer["class_name"], layer["config"]
        of_backbone = not head and (kind in WITH_CONVOLUTION or config.get("name") == LAST_OF_VGG)
        flat_already = kind == "Flatten" and head == [HeadLayer(POOLING)]
        if kind in NOTHING or of_backbone or flat_already:
            continue
        activation = _activation(kind, config)
        if kind == "Dense":
            head.append(HeadLayer(kind, int(config.get("units", config.get("output_dim", 0))), activation))
        elif activation and head and (head[-1].kind, head[-1].activation) == ("Dense", "linear"):
            head[-1] = HeadLayer("Dense", head[-1].units, activation)
        else:
            head.append(HeadLayer(kind))
    return head


def is_ours(head: list[HeadLayer]) -> bool:
    """Says whether a head is average pooling and Dense layers, ReLU between them, softmax (or logits) at the end."""
    dense = head[1:]
    return (
        head[:1] == [HeadLayer(POOLING)]
        and bool(dense)
        and all(layer.kind == "Dense" for layer in dense)
        and all(layer.activation == "relu" for layer in dense[:-1])
        and dense[-1].activation in ("softmax", "linear")
    )


def _architecture(path: Path) -> str:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return archive.read("config.json").decode()
    with h5py.File(path) as file:
        return _text(file.attrs["model_config"])


def _flat(model: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the layers of a model, and of the models in it, in their order."""
    config = model["config"]
    layers = config if isinstance(config, list) else config["layers"]  # a list: Sequential up to Keras 2.2
    for layer in layers:
        inner = layer["config"]
        if isinstance(inner, list) or "layers" in inner:
            yield from _flat(layer)
        else:
            yield layer


def _activation(kind: str, config: dict[str, Any]) -> str:
    """Returns the activation's name; empty for a layer that is none and has none."""
    if kind in ("Dense", "Activation"):
        given = config.get("activation") or "linear"
        if isinstance(given, dict):  # an object that Keras 3 wrote down
            given = given["config"] if isinstance(given.get("config"), str) else given["class_name"]
        return str(given)
    if kind == "ReLU":
        changed = any(config.get(key) for key in ("max_value", "negative_slope", "threshold"))
        return "ReLU with another slope or bound" if changed else "relu"
    return ACTIVATIONS.get(kind, "")
