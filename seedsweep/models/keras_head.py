"""What a Keras file says about its classifier's head: layers, pooling and activations; nothing of it is run."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

POOLING = "GlobalAveragePooling2D"
CONVOLUTIONS = ("Conv2D", "Convolution2D", "SeparableConv2D", "DepthwiseConv2D")
WITH_CONVOLUTION = ("BatchNormalization", "Activation", "ReLU", "Concatenate", "Merge")  # may follow the last
LAST_OF_VGG = "block5_pool"
NOTHING = (
    "InputLayer",
    "Dropout",
    "SpatialDropout2D",
    "GaussianDropout",
    "GaussianNoise",
    "ActivityRegularization",
)


@dataclass(frozen=True)
class HeadLayer:
    """A layer of a head, by Keras' class; ``units`` and ``activation`` of a Dense layer only."""

    kind: str
    units: int = 0
    activation: str = ""

    def __str__(self) -> str:
        return f"Dense({self.units}, {self.activation})" if self.kind == "Dense" else self.kind


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
    last = max(
        (place for place, layer in enumerate(layers) if layer["class_name"] in CONVOLUTIONS), default=-1
    )
    head: list[HeadLayer] = []
    for layer in layers[last + 1 :]:
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
    pooling, dense = head[:1], head[1:]
    return (
        pooling == [HeadLayer(POOLING)]
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
        text = file.attrs["model_config"]
        return text.decode() if isinstance(text, bytes) else str(text)


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
    return {"Softmax": "softmax", "LeakyReLU": "LeakyReLU", "PReLU": "PReLU", "ELU": "elu"}.get(kind, "")
