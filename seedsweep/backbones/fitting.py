"""Reads weight files and puts their tensors into a net, or says in one sentence why they don't fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from seedsweep.errors import SeedsweepError

CLASSIFIERS = ("fc.", "AuxLogits.", "classifier.", "head.fc.", "_fc.")
WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "backbone.", "net.", "model.")


class WeightsMisfitError(SeedsweepError):
    """A weight file holds another net."""


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


def fit_by_name(
    net: nn.Module, tensors: dict[str, Tensor], name: str, path: Path, classifiers: tuple[str, ...] = ()
) -> None:
    """Loads tensors whose names, without known prefixes, are the net's own.

    Classifiers are left aside, float16 becomes the net's dtype, and ``num_batches_tracked`` may be missing.

    Args:
        net: filled in place.
        tensors: by their names in the file.
        name: the net's name, for messages.
        path: the file, for messages.
        classifiers: key prefixes of this net's classifier, beside the usual ones.

    Raises:
        WeightsMisfitError: names or shapes differ; the first three are shown.
    """
    wanted = net.state_dict()
    given: dict[str, Tensor] = {}
    for key, value in tensors.items():
        short = key
        while short not in wanted and (prefix := next((p for p in PREFIXES if short.startswith(p)), None)):
            short = short.removeprefix(prefix)
        given[short] = value
    ignored = (*CLASSIFIERS, *classifiers)
    missing = [k for k in wanted if k not in given and not k.endswith("num_batches_tracked")]
    unknown = [k for k in given if k not in wanted and not k.startswith(ignored)]
    shapes = [k for k in wanted if k in given and wanted[k].shape != given[k].shape]
    for what, keys in (("lacks", missing), ("has unknown", unknown), ("has other shapes for", shapes)):
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise WeightsMisfitError(f"{path} doesn't fit {name}: it {what} {', '.join(keys[:3])}{more}.")
    net.load_state_dict({k: given[k].to(v.dtype) if k in given else v for k, v in wanted.items()})


def fit_in_order(net: nn.Module, tensors: dict[str, Tensor], name: str, path: Path) -> None:
    """Loads tensors one by one, for a file whose names differ but whose order is the net's.

    Raises:
        WeightsMisfitError: the number of tensors or a shape differs.
    """
    wanted = net.state_dict()
    values = [value for key, value in tensors.items() if not key.startswith(CLASSIFIERS)]
    if [v.shape for v in values] != [v.shape for v in wanted.values()]:
        raise WeightsMisfitError(f"{path} doesn't fit {name}: its tensors differ in number or shape.")
    net.load_state_dict(dict(zip(wanted, values, strict=True)))


def fit_through_timm(net: nn.Module, model: str, name: str, path: Path) -> None:
    """Loads a file of timm's hub with timm's own converter, which knows each model's old key names.

    Raises:
        WeightsMisfitError: timm can't make the file fit.
    """
    from seedsweep.backbones import timm_model

    try:
        with torch.random.fork_rng(devices=[]):  # the throw-away net must not move the run's random stream
            full = timm_model.create(model, pretrained=True, pretrained_cfg_overlay={"file": str(path)})
        loaded = full.state_dict()
        net.load_state_dict({key: loaded[key] for key in net.state_dict()})
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsMisfitError(f"{path} doesn't fit {name} ({reason}).") from error
