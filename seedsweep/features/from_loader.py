"""Features of any model's inputs as arrays, with a store for those that were computed before."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seedsweep.batchnorm.batches import device_of_net, inputs_of, labels_of
from seedsweep.batchnorm.policy import modes_untouched
from seedsweep.bounds import one_of
from seedsweep.digest import digest_of_net
from seedsweep.errors import SeedsweepError
from seedsweep.features.engines import build_engine
from seedsweep.features.feature_store import PLAIN, Space, View
from seedsweep.features.options import ENGINE_NAMES, FeaturesConfig

log = logging.getLogger(__name__)

STORED_AT_ONCE = 256  # rows gathered before they are written; what a killed process had not written is lost


@dataclass(frozen=True)
class Features:
    """Features of a loader's inputs, in its order.

    Example:
        >>> import torch, seedsweep as ss
        >>> batches = [(torch.rand(8, 3, 16, 16), torch.zeros(8, dtype=torch.long))]
        >>> features = ss.extract_features(torch.nn.Conv2d(3, 4, 3), batches, engine="torch")
        >>> features.x.shape, features.y.shape, features.ids[:3].tolist()
        ((8, 4), (8,), [0, 1, 2])

    Attributes:
        x: float32 [N, C].
        y: class numbers, int64 [N].
        ids: [N], as the loader gives them; without such, the numbers 0 to N - 1.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    ids: NDArray[Any]


def extract_features(
    model: nn.Module, loader: Iterable[Any], cache: str | Path | None = None, engine: str = "auto"
) -> Features:
    """Passes a loader's inputs through a model as at inference, or reads what an earlier pass gave.

    The model may give features [N, C], or maps [N, C, H, W], of which the mean over H and W is taken. It is left as
    it was.

    With ``cache`` the features are kept on disk, in a folder below it for each model. That folder's name covers all
    parameters and buffers of the model (names, types, values), the printed form of its layers, their attributes that
    are numbers, texts or lists of such, the shape of an input, the engine and the device's kind. Each row is known by
    the digest of its input's values, type and shape, not by its id: a changed image gets new features, and the loader
    is read in any case. Not covered are the code of ``forward``, and tensors and objects that are no parameters,
    buffers or layers: after a change there, take another folder.

    Example:
        >>> import tempfile, torch, seedsweep as ss
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
        >>> images = TensorDataset(torch.rand(20, 3, 16, 16), torch.arange(20) % 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first = ss.extract_features(backbone, DataLoader(images, batch_size=8), folder, engine="torch")
        ...     again = ss.extract_features(backbone, DataLoader(images, batch_size=8), folder, engine="torch")
        >>> first.x.shape, bool((first.x == again.x).all())
        ((20, 4), True)

    Args:
        model: any module, on the device where it is to compute.
        loader: tuples (inputs [B, ...], class numbers [B]) or (inputs, class numbers, ids [B]), not augmented.
        cache: folder of stored features; None: nothing is stored.
        engine: ``torch``: the model as it is; ``openvino``, often faster on a CPU, for images [B, 3, H, W]; ``auto``:
            an engine that is installed and can run the model, else the model as it is.

    Raises:
        SeedsweepError: the loader is empty or gives something else; the model gives no features; the engine is unknown,
            not installed or can't run the model; or the folder can't be written.
    """
    one_of("engine", engine, ("auto", *ENGINE_NAMES))
    passes = _Passes(model, engine)
    store = None if cache is None else _Store(Path(cache), model, engine)
    rows: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.int64]] = []
    ids: list[NDArray[Any]] = []
    seen = 0
    try:
        for batch in loader:
            x = inputs_of(batch)
            labels.append(labels_of(batch).cpu().numpy())
            ids.append(_ids_of(batch, seen))
            seen += len(x)
            rows.append(store.rows(x, passes) if store else passes(x))
    finally:
        if store:
            store.close()
    if not rows:
        raise SeedsweepError("The loader gives no batches: there are no features of no inputs.")
    return Features(np.concatenate(rows), np.concatenate(labels), np.concatenate(ids))


class _Passes:
    """Computes features; what runs the model is made for the first inputs of each shape."""

    def __init__(self, model: nn.Module, engine: str) -> None:
        self._model = model
        self._engine = engine
        self._device = device_of_net(model)
        self._ready: dict[tuple[int, ...], Callable[[Tensor], Tensor]] = {}

    def __call__(self, x: Tensor) -> NDArray[np.float32]:
        """Returns features [B, C]."""
        with modes_untouched(self._model), torch.inference_mode():
            self._model.eval()
            shape = tuple(x.shape[1:])
            if shape not in self._ready:
                self._ready[shape] = self._made(x)
            return self._ready[shape](x).float().cpu().numpy()

    def _made(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Returns the engine for inputs like ``x``, or the model as it is."""
        device, name = self._device, self._engine
        first = self._model(x[:1].to(device))
        if not isinstance(first, Tensor) or first.ndim not in (2, 4) or len(first) != 1:
            given = f"shape {list(first.shape)}" if isinstance(first, Tensor) else type(first).__name__
            raise SeedsweepError(
                f"The model must give features [N, C] or maps [N, C, H, W], but for one input it gave {given}."
            )
        net: nn.Module = nn.Sequential(self._model, _Mean()) if first.ndim == 4 else self._model

        def plain(inputs: Tensor) -> Tensor:
            features: Tensor = net(inputs.to(device))
            return features

        images = x.ndim == 4 and x.shape[1] == 3
        if name == "torch" or (name == "auto" and not images):
            return plain
        if not images:
            raise SeedsweepError(
                f"engine={name} reads images [B, 3, H, W], but the loader gives {list(x.shape)}: take engine=torch."
            )
        try:
            with torch.inference_mode(False):
                return build_engine(
                    net.eval(), (3, x.shape[2], x.shape[3]), FeaturesConfig(engine=name), device
                )
        except SeedsweepError as error:
            if name != "auto":
                raise
            log.info("%s PyTorch runs the model as it is.", error)
            return plain


class _Mean(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        """Returns the mean [N, C] of maps [N, C, H, W]."""
        return maps.mean((2, 3))


def _described(model: nn.Module) -> str:
    """Returns a model's printed form, with its layers' classes and those of their attributes that are plain values."""
    parts = [repr(model)]
    for name, layer in model.named_modules():
        plain = {
            key: value for key, value in sorted(vars(layer).items()) if key != "training" and _is_plain(value)
        }
        parts.append(f"{name} {type(layer).__module__}.{type(layer).__qualname__} {plain}")
    return "\n".join(parts)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | complex | str)


class _Store:
    """Features on disk, by the digests of their inputs."""

    def __init__(self, root: Path, model: nn.Module, engine: str) -> None:
        self._root = root
        self._identity = {
            "net": digest_of_net(model), "layers": hashlib.sha256(_described(model).encode()).hexdigest(),
            "engine": engine, "device": device_of_net(model).type,
        }  # fmt: skip
        # by the shape of inputs: what is stored, and what waits for it
        self._open: dict[tuple[int, ...], tuple[View, dict[str, NDArray[np.float32]]]] = {}

    def rows(self, x: Tensor, passes: _Passes) -> NDArray[np.float32]:
        """Returns features [B, C] of inputs, of which those that are nowhere are computed."""
        view, waiting = self._opened(list(x.shape[1:]))
        keys = [hashlib.sha256(_bytes(row)).hexdigest() for row in x]
        missing = [key for key in view.missing(keys) if key not in waiting]
        if missing:
            made = passes(x[[keys.index(key) for key in missing]])
            waiting.update(zip(missing, made, strict=True))
        stored = [key for key in dict.fromkeys(keys) if key not in waiting]
        found = dict(zip(stored, view.take(stored).numpy(), strict=True)) | waiting
        features = np.stack([found[key] for key in keys])
        if len(waiting) >= STORED_AT_ONCE:
            self._write(view, waiting)
        return features

    def close(self) -> None:
        """Writes what waits."""
        for view, waiting in self._open.values():
            if waiting:
                self._write(view, waiting)

    def _opened(self, shape: list[int]) -> tuple[View, dict[str, NDArray[np.float32]]]:
        if tuple(shape) not in self._open:
            about = self._identity | {"input": shape}
            with self._one_error():
                self._open[tuple(shape)] = Space(self._root, about, about).view(PLAIN), {}
        return self._open[tuple(shape)]

    def _write(self, view: View, waiting: dict[str, NDArray[np.float32]]) -> None:
        with self._one_error(), view.locked():  # reads anew what others have stored meanwhile
            missing = view.missing(list(waiting))
            if missing:
                view.add(missing, np.stack([waiting[key] for key in missing]))
            view.load()
        waiting.clear()

    @contextmanager
    def _one_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SeedsweepError(
                f"Features can't be stored in {self._root} ({error.strerror or error}): give another folder, or "
                "cache=None."
            ) from error


def _bytes(row: Tensor) -> bytes:
    values = row.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return f"{row.dtype} {tuple(row.shape)} ".encode() + values


def _ids_of(batch: Any, before: int) -> NDArray[Any]:
    n = len(inputs_of(batch))
    given = batch[2] if isinstance(batch, (tuple, list)) and len(batch) > 2 else range(before, before + n)
    ids = np.asarray(given.cpu() if isinstance(given, Tensor) else list(given))
    if ids.shape != (n,):
        raise SeedsweepError(
            f"The loader must give an id for each of {n} inputs, but gave an array {list(ids.shape)}."
        )
    return ids
