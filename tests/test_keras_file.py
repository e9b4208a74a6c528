"""Keras' own files against Keras itself, with random weights: nothing is downloaded."""

import os
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from composed import config_of
from fewer import mostly_slow

from seedsweep.diagnosis.keras_model import of_keras
from seedsweep.diagnosis.subject import Subject
from seedsweep.digest import digest_of_net
from seedsweep.errors import SeedsweepError
from seedsweep.models import keras_twin, nets
from seedsweep.models.backbone_builder import build_backbone
from seedsweep.models.keras_file import dense_of, head_of, is_ours, read_keras
from seedsweep.models.nets import inception_v3
from seedsweep.models.options import BackboneConfig

SIDE = 96
KINDS = ("flat.h5", "flat.keras", "notop.weights.h5", "nested.h5", "nested.keras", "keras2.h5")
PAST = ("past.h5", "past.keras")


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ["KERAS_BACKEND"] = "torch"  # read when it is loaded
    return pytest.importorskip("keras")


def randomised(model: Any, seed: int = 0) -> Any:
    """Gives every weight a value of its own: fresh statistics are all 0 and 1, and would hide a mix-up."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape, name = tuple(weight.shape), weight.path.rsplit("/", 1)[1]
        if name == "kernel":
            values = rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
        elif name == "moving_variance":
            values = rng.uniform(0.5, 1.5, shape)
        else:
            values = rng.normal(0, 0.1, shape)
        weight.assign(values.astype(np.float32))
    return model


def classifier(keras: Any, base: Any, nested: bool) -> Any:
    """The question's very model; nested as its answers write it."""
    tail = [
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(1024, activation="relu"),
        keras.layers.Dense(7, activation="softmax"),
    ]
    if nested:
        return keras.Sequential([base, *tail])
    answer = base.output
    for layer in tail:
        answer = layer(answer)
    return keras.Model(base.input, answer)


def past_any_head(keras: Any, base: Any, nested: bool) -> Any:
    """A head that none of ours can be: BatchNormalization at its beginning and within, and a model in the model."""
    k = keras.layers
    inner = keras.Sequential([keras.Input((8,)), k.Dense(8), k.BatchNormalization(), k.Dense(5)])
    tail = [k.BatchNormalization(), k.Flatten(), k.Dense(8), k.BatchNormalization(), k.Dropout(0.5), inner]
    if nested:
        return keras.Sequential([base, *tail])
    answer = base.output
    for layer in tail:
        answer = layer(answer)
    return keras.Model(base.input, answer)


def as_downloaded(path: Path, out: Path, *, first: bool = False) -> None:
    """Rewrites Keras 3's HDF5 as Keras' own downloads are: no-top, names at the top level, ``:0`` behind each.

    ``first``: with the names of Keras 1, as the VGG16 download has them (``block1_conv1_W_1:0``).
    """
    with h5py.File(path) as source, h5py.File(out, "w") as target:
        group = source["model_weights"]
        names = [name for name in group.attrs["layer_names"] if "dense" not in name]
        target.attrs["layer_names"] = np.array([name.encode() for name in names])
        for name in names:
            made = target.create_group(name)
            weights = {weight: f"{weight}:0" for weight in group[name].attrs["weight_names"]}
            if first:
                weights = {old: f"{name}_{'Wb'[place]}_1:0" for place, old in enumerate(weights)}
            made.attrs["weight_names"] = np.array([new.encode() for new in weights.values()])
            for old, new in weights.items():
                made[new] = np.asarray(group[name][old])


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.float32)


class Inception:
    """Files of one net in every layout, each written when it is first asked for, and what Keras answers."""

    def __init__(
        self, folder: Path, map_: np.ndarray, probabilities: np.ndarray, save: Callable[[Path], None]
    ):
        self.folder, self.map, self.probabilities, self._save = folder, map_, probabilities, save

    def file(self, kind: str) -> Path:
        """Returns the file of that name, one of ``KINDS`` or ``PAST``."""
        path = self.folder / kind
        if not path.exists():
            self._save(path)
        return path


@pytest.fixture(scope="module")
def inception(keras: Any, photographs: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Inception:
    base = randomised(
        keras.applications.InceptionV3(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3))
    )
    flat = classifier(keras, base, nested=False)
    nested = classifier(keras, base, nested=True)
    randomised(flat, 1)
    nested.layers[-1].set_weights(flat.layers[-1].get_weights())
    nested.layers[-2].set_weights(flat.layers[-2].get_weights())

    def save(path: Path) -> None:
        layout = path.name.partition(".")[0]
        # as the tutorial fine-tunes: the file has the trainable weights first
        for layer in base.layers[:249]:
            layer.trainable = layout not in ("nested", "past")
        if layout == "notop":
            base.save_weights(path)
        elif layout == "keras2":
            as_downloaded(made.file("flat.h5"), path)
        elif layout == "past":
            past_any_head(keras, base, nested=path.suffix == ".h5").save(path)
        else:
            {"flat": flat, "nested": nested}[layout].save(path)

    scaled = keras.applications.inception_v3.preprocess_input(photographs.copy())
    answers = keras.Model(flat.input, [base.output, flat.output]).predict(scaled, verbose=0)
    made = Inception(tmp_path_factory.mktemp("keras"), *answers, save)
    return made


def features(net: Any, photographs: np.ndarray) -> torch.Tensor:
    images = torch.tensor(photographs).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (net.input_spec.mean, net.input_spec.std))
    with torch.no_grad():
        return net.eval()((images - mean) / std).permute(0, 2, 3, 1)


@pytest.mark.parametrize(
    "kind",
    mostly_slow(KINDS + PAST, ["nested.h5", "past.keras"]),
)
def test_inception_answers_as_keras_does(inception: Inception, photographs: np.ndarray, kind: str) -> None:
    wanted = inception.map
    built = build_backbone(BackboneConfig(name="inception_v3", weights=str(inception.file(kind))))
    assert (built.weights.source, built.weights.keras) == ("file", True)
    found = features(built.net, photographs).numpy()
    assert np.abs(wanted).max() > 0.5
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


def test_without_keras_padding_the_answer_is_another(inception: Inception, photographs: np.ndarray) -> None:
    wanted = inception.map
    net = inception_v3.build()
    keras_twin.fit_keras(net.net, inception.file("flat.h5"), "inception_v3", inception_v3.KERAS)
    usual = digest_of_net(net)
    assert np.abs(features(net, photographs).numpy() - wanted).max() > 1e-2
    keras_twin.behave_as_keras(net, inception_v3.KERAS)
    np.testing.assert_allclose(features(net, photographs).numpy(), wanted, rtol=0, atol=1e-4)
    assert digest_of_net(net) != usual  # or stored features of the one would serve the other


def test_the_engines_take_it(inception: Inception, photographs: np.ndarray) -> None:
    from seedsweep.features.torch_engine import folded

    wanted = inception.map
    net = build_backbone(BackboneConfig(name="inception_v3", weights=str(inception.file("flat.h5")))).net
    np.testing.assert_allclose(features(folded(net), photographs).numpy(), wanted, rtol=0, atol=1e-4)


# .keras in every suite: past.keras above, and the heads below
@pytest.mark.parametrize(
    "kind", mostly_slow(["flat.h5", "flat.keras", "nested.h5"], ["flat.h5", "nested.h5"])
)
def test_the_whole_classifier(inception: Inception, kind: str) -> None:
    read = dense_of(read_keras(inception.file(kind)))
    assert read is not None
    assert is_ours(head_of(inception.file(kind)) or [])
    assert read.sizes == (2048, 1024, 7)
    (first, bias), (last, offset) = read.dense
    pooled = torch.tensor(inception.map).mean((1, 2))
    logits = torch.relu(pooled @ first.T + bias) @ last.T + offset
    np.testing.assert_allclose(logits.softmax(1).numpy(), inception.probabilities, rtol=0, atol=1e-4)


def test_a_file_without_a_head_has_no_dense_layers(inception: Inception) -> None:
    assert dense_of(read_keras(inception.file("notop.weights.h5"))) is None


def test_the_whole_classifier_is_diagnosed(inception: Inception, photographs: np.ndarray) -> None:
    """As ``task=diagnose diagnose.checkpoint=flat.h5`` opens it; the demo has seven classes, as the question had."""
    flat = inception.file("flat.h5")
    config = config_of("backbone=inception_v3", f"data.image_size=[{SIDE},{SIDE}]", "data.demo.n_images=70")
    subject = of_keras(flat, config)
    assert subject.net is not None
    assert (subject.config.head.width, subject.config.backbone.weights) == (1024, str(flat))
    with torch.no_grad():
        found = subject.net(torch.tensor(photographs).permute(0, 3, 1, 2)).softmax(1)
    np.testing.assert_allclose(found.numpy(), inception.probabilities, rtol=0, atol=1e-4)
    with pytest.raises(SeedsweepError, match=r"no Dense layers .*train a new head .*backbone=inception_v3"):
        of_keras(inception.file("notop.weights.h5"), config)
    config.backbone.name = "vgg16"
    with pytest.raises(SeedsweepError, match="doesn't fit vgg16"):
        of_keras(flat, config)


@pytest.mark.slow
def test_vgg16_answers_as_keras_does(keras: Any, photographs: np.ndarray, tmp_path: Path) -> None:
    model = randomised(keras.applications.VGG16(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3)))
    first = model.layers[1]
    kernel, bias = first.get_weights()
    first.set_weights([kernel / 64, bias])  # inputs are up to 255 here
    model.save(tmp_path / "vgg.h5")
    model.save_weights(tmp_path / "vgg.weights.h5")
    as_downloaded(tmp_path / "vgg.h5", tmp_path / "keras1.h5", first=True)
    wanted = model.predict(keras.applications.vgg16.preprocess_input(photographs.copy()), verbose=0)
    assert np.abs(wanted).max() > 0.5
    past_any_head(keras, model, nested=False).save(tmp_path / "past.h5")
    past_any_head(keras, model, nested=True).save(tmp_path / "past.keras")
    files = {"vgg.h5": "auto", "vgg.weights.h5": "vgg16", "keras1.h5": "vgg16"} | dict.fromkeys(PAST, "vgg16")
    for name, backbone in files.items():
        built = build_backbone(BackboneConfig(name=backbone, weights=str(tmp_path / name)))
        assert built.name == "vgg16"
        np.testing.assert_allclose(features(built.net, photographs).numpy(), wanted, rtol=0, atol=1e-4)


def test_what_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"not a weight file")
    with zipfile.ZipFile(tmp_path / "b.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    for name in ("a.h5", "b.keras", "empty.h5"):
        with pytest.raises(SeedsweepError, match="can't be read as Keras weights"):
            read_keras(tmp_path / name)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["layers/conv2d/vars/0"] = np.zeros((3, 3, 3, 8))
        file["optimizer/vars/0"] = np.zeros((3, 3, 3, 8))
    other = str(tmp_path / "other.h5")
    for backbone, message in (
        ("vgg16", "doesn't fit vgg16: it has 1 convolutions, where vgg16 has 13"),
        ("efficientnet_lite0", "efficientnet_lite0 can't read"),
    ):
        with pytest.raises(SeedsweepError, match=message) as caught:
            build_backbone(BackboneConfig(name=backbone, weights=other))
        assert "\n" not in str(caught.value)


def test_layers_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for number in range(12):
            name = "conv2d" if number == 0 else f"conv2d_{number}"
            file[f"layers/{name}/vars/0"] = np.full((1, 1, 1, 1), number)
    kernels = [layer.arrays[0].item() for layer in read_keras(tmp_path / "w.h5").of("conv")]
    assert kernels == list(range(12))


HEADS = {
    "GlobalMaxPooling2D, Dense(4, relu), Dense(7, softmax)": lambda k: [
        k.GlobalMaxPooling2D(), k.Dense(4, activation="relu"), k.Dense(7, activation="softmax")
    ],
    "GlobalAveragePooling2D, Dense(4, LeakyReLU), Dense(7, softmax)": lambda k: [
        k.GlobalAveragePooling2D(), k.Dense(4), k.LeakyReLU(), k.Dense(7, activation="softmax")
    ],
    "GlobalAveragePooling2D, Dense(7, sigmoid)": lambda k: [
        k.GlobalAveragePooling2D(), k.Dense(7, activation="sigmoid")
    ],
    "ends in a single unit (Dense(1, sigmoid))": lambda k: [
        k.GlobalAveragePooling2D(), k.Dense(4, activation="relu"), k.Dense(1, activation="sigmoid")
    ],
}  # fmt: skip


POCKET = """
from torch import nn
from seedsweep.models.backbone import IMAGENET, Backbone, Source
from seedsweep.models.keras_twin import KerasTwin

SOURCE = Source()
KERAS = KerasTwin(IMAGENET, lambda backbone, numbered: ["0"])

def build():
    return Backbone(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)), 4, IMAGENET, min_size=16)
"""


@pytest.fixture
def pocket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backbone of ours whose twin ends as VGG16 does."""
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "pocket.py").write_text(POCKET)
    monkeypatch.setattr(nets, "__path__", [*nets.__path__, str(tmp_path / "nets")])
    monkeypatch.delitem(sys.modules, "seedsweep.models.nets.pocket", raising=False)


def small(keras: Any, layers: list[Any], units: int = 4) -> Any:
    """A net that ends as VGG16 does, inside a model, and a head."""
    base = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(units, 3, padding="same", activation="relu", name="block5_conv3"),
            keras.layers.MaxPooling2D(name="block5_pool"),
        ]
    )
    return keras.Sequential([base, *layers])


def opened(path: Path, *overrides: str) -> Subject:
    config = config_of("backbone=vgg16", "backbone.name=pocket", "data.demo.n_images=70", *overrides)
    return of_keras(path, config)


def advised(message: str) -> list[str]:
    """Returns the settings that a sentence advises."""
    found = re.search(
        r"train a new head on its backbone with (backbone=\S+) (backbone\.weights=\S+)\.$", message
    )
    assert found, message
    return list(found.groups())


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("said", HEADS)
def test_a_head_that_is_not_ours_is_refused(
    keras: Any, said: str, suffix: str, tmp_path: Path, pocket: None
) -> None:
    path = tmp_path / f"net{suffix}"
    model = small(keras, HEADS[said](keras.layers))
    model.save(path)
    with pytest.raises(SeedsweepError, match=re.escape(said)) as caught:
        opened(path)
    name, weights = (setting.partition("=")[2] for setting in advised(str(caught.value)))
    built = build_backbone(BackboneConfig(name=name, weights=weights))  # the advice works
    kernel = model.layers[0].layers[0].get_weights()[0]
    np.testing.assert_array_equal(built.net.net[0].weight.numpy(force=True), kernel.transpose(3, 2, 0, 1))


def test_what_is_advised_is_not_advised_of_another_backbone(keras: Any, tmp_path: Path, pocket: None) -> None:
    path = tmp_path / "net.keras"
    k = keras.layers
    small(keras, [k.GlobalMaxPooling2D(), k.Dense(7, activation="softmax")], units=5).save(path)
    with pytest.raises(SeedsweepError, match="doesn't fit pocket: its layers in a row have other shapes"):
        opened(path)


def test_a_head_that_is_ours(
    keras: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, pocket: None
) -> None:
    """Each written another way."""
    k = keras.layers
    caplog.set_level("INFO")
    tails = [
        [
            k.GlobalAveragePooling2D(),
            k.Flatten(),
            k.Dropout(0.2),
            k.Dense(4),
            k.Activation("relu"),
            k.Dense(7),
        ],
        [k.GlobalAveragePooling2D(), k.Dense(4), k.ReLU(), k.Dropout(0.2), k.Dense(7), k.Softmax()],
        [k.Dropout(0.2), k.GlobalAveragePooling2D(), k.Dense(7, activation=keras.activations.softmax)],
    ]
    for place, tail in enumerate(tails):
        path = tmp_path / f"net{place}.keras"
        small(keras, tail).save(path)
        assert is_ours(head_of(path) or []), head_of(path)
    model = small(keras, HEADS["GlobalAveragePooling2D, Dense(4, LeakyReLU), Dense(7, softmax)"](k))
    model.save_weights(tmp_path / "net.weights.h5")
    assert opened(tmp_path / "net.weights.h5").net is not None
    assert "weights alone: taken for GlobalAveragePooling2D, Dense(4, relu), Dense(7, softmax)" in caplog.text


def test_what_a_file_of_weights_alone_holds_beside_dense_layers_is_named(
    keras: Any, tmp_path: Path, pocket: None
) -> None:
    k = keras.layers
    model = small(keras, [k.GlobalAveragePooling2D(), k.Dense(4), k.BatchNormalization(), k.Dense(7)])
    model.save_weights(tmp_path / "net.weights.h5")
    # right behind the pooling of VGG16, where BatchNormalization might be the backbone's
    small(keras, [k.BatchNormalization(), k.GlobalAveragePooling2D(), k.Dense(7)]).save(
        tmp_path / "net.keras"
    )
    for name in ("net.weights.h5", "net.keras"):
        with pytest.raises(SeedsweepError, match="has 1 x BatchNormalization beside its backbone") as caught:
            opened(tmp_path / name)
        assert advised(str(caught.value))[0] == "backbone=pocket"
