"""The one place that decides where pretrained weights come from.

In this order: the file the user names, an installed package, the hub cache, a download. Each answer carries
the path and the SHA-256 digest of the file it took.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from seedsweep.backbones.base import Source
from seedsweep.errors import SeedsweepError

log = logging.getLogger(__name__)

DOWNLOAD_TIMEOUT = 10.0  # seconds without an answer
CLASSIFIERS = ("fc.", "AuxLogits.", "classifier.", "head.fc.", "_fc.")
WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "backbone.", "net.")


@dataclass(frozen=True)
class WeightsOrigin:
    """Where a net's weights came from.

    ``source`` is file, package, hub_cache, download or none; ``digest`` the file's SHA-256 in hex.
    """

    source: str
    path: str | None = None
    digest: str | None = None
    note: str = ""


class WeightsUnreachableError(SeedsweepError):
    """No source had the weights."""


def load_pretrained(net: nn.Module, name: str, wanted: str, source: Source) -> WeightsOrigin:
    """Fills ``net`` with pretrained weights.

    Args:
        net: the trunk; its parameter names are those of the weight files. Changed in place.
        name: the net's name, for messages.
        wanted: ``backbone.weights``: auto, none, or a file.
        source: where they may be found.

    Raises:
        WeightsUnreachableError: nothing had them; the message names the file to place and where.
        SeedsweepError: the named file is missing, unreadable or doesn't fit.
    """
    if wanted == "none":
        return WeightsOrigin("none", note="random start")
    if wanted != "auto":
        path = Path(wanted).expanduser()
        if not path.is_file():
            raise SeedsweepError(
                f"backbone.weights={wanted} is no file; give a .safetensors, .pt or .pth file."
            )
        fit_by_name(net, read_tensors(path), name, path)
        return WeightsOrigin("file", str(path.resolve()), digest_of(path), f"weights from {path.name}")
    if (path_in_package := _package_file(source)) is not None:
        _fit_in_order(net, read_tensors(path_in_package), name, path_in_package)
        return _found("package", path_in_package, "ImageNet weights of an installed package")
    if source.url:
        return _from_hub(net, name, source.url)
    return _from_timm(net, name, source.timm)


def _found(source: str, path: Path, note: str) -> WeightsOrigin:
    return WeightsOrigin(source, str(path), digest_of(path), note)


def _package_file(source: Source) -> Path | None:
    spec = importlib.util.find_spec(source.package) if source.package else None
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.glob(source.package_file))), None)


def _from_hub(net: nn.Module, name: str, url: str) -> WeightsOrigin:
    file = url.rsplit("/", 1)[1]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / file
    origin = "hub_cache"
    if not path.is_file():
        origin = "download"
        log.info("%s: downloading %s", name, file)
        try:
            with _short_timeout():
                torch.hub.load_state_dict_from_url(url, check_hash=True, progress=False, map_location="cpu")
        except Exception as error:
            raise _unreachable(name, file, str(folder)) from error
    fit_by_name(net, read_tensors(path), name, path)
    return _found(origin, path, f"ImageNet weights {file}")


def _from_timm(net: nn.Module, name: str, model: str) -> WeightsOrigin:
    import timm
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cfg = timm.get_pretrained_cfg(model)
    hub_id = cfg.hf_hub_id if cfg is not None else None
    if not hub_id:
        raise SeedsweepError(
            f"timm has no pretrained weights for {model}: give backbone.weights=FILE or none."
        )
    cached = try_to_load_from_cache(hub_id, "model.safetensors")
    origin = "hub_cache" if isinstance(cached, str) else "download"
    try:
        with _short_timeout():
            path = Path(cached if isinstance(cached, str) else hf_hub_download(hub_id, "model.safetensors"))
    except Exception as error:
        raise _unreachable(name, f"model.safetensors of {hub_id}", "the Hugging Face cache") from error
    fit_by_name(net, read_tensors(path), name, path)
    return _found(origin, path, f"timm's weights {hub_id}")


def _unreachable(name: str, file: str, folder: str) -> WeightsUnreachableError:
    return WeightsUnreachableError(
        f"The weights of {name} can't be reached: place {file} in {folder}, or give backbone.weights=FILE, "
        "or use backbone=efficientnet_lite0, which works offline."
    )


@contextmanager
def _short_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def digest_of(path: Path) -> str:
    """Returns the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a weight file without running any code of its own.

    Raises:
        SeedsweepError: not a weight file.
    """
    content: Any
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # SafetensorError, UnpicklingError, EOFError, RuntimeError, ...
        raise _unreadable(path) from error
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise _unreadable(path)
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}


def _unreadable(path: Path) -> SeedsweepError:
    return SeedsweepError(
        f"{path} can't be read as weights: give a .safetensors file, or a .pt or .pth file that holds tensors alone."
    )


def fit_by_name(net: nn.Module, tensors: dict[str, Tensor], name: str, path: Path) -> None:
    """Loads tensors whose names, without known prefixes, are the net's own; classifiers are left aside.

    Raises:
        SeedsweepError: names or shapes differ; the first three are shown.
    """
    wanted = net.state_dict()
    given: dict[str, Tensor] = {}
    for key, value in tensors.items():
        short = key
        while short not in wanted and (prefix := next((p for p in PREFIXES if short.startswith(p)), None)):
            short = short.removeprefix(prefix)
        given[short] = value
    missing = [k for k in wanted if k not in given and not k.endswith("num_batches_tracked")]
    unknown = [k for k in given if k not in wanted and not k.startswith(CLASSIFIERS)]
    shapes = [k for k in wanted if k in given and wanted[k].shape != given[k].shape]
    for what, keys in (("lacks", missing), ("has unknown", unknown), ("has other shapes for", shapes)):
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise SeedsweepError(f"{path} doesn't fit {name}: it {what} {', '.join(keys[:3])}{more}.")
    net.load_state_dict({k: given[k].to(v.dtype) if k in given else v for k, v in wanted.items()})


def _fit_in_order(net: nn.Module, tensors: dict[str, Tensor], name: str, path: Path) -> None:
    """Loads tensors one by one, for a file whose names differ but whose order is the net's."""
    wanted = net.state_dict()
    values = [value for key, value in tensors.items() if not key.startswith(CLASSIFIERS)]
    if [v.shape for v in values] != [v.shape for v in wanted.values()]:
        raise SeedsweepError(f"{path} doesn't fit {name}: its tensors differ in number or shape.")
    net.load_state_dict(dict(zip(wanted, values, strict=True)))
