"""Reads weight files of torch as one flat table of tensors, without running any code that they may hold.

A checkpoint of seedsweep is one of them; its card says which backbone it holds.
"""

from __future__ import annotations

import argparse
import logging
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from seedsweep.errors import DamagedError, SeedsweepError
from seedsweep.models.called import preprocess_called
from seedsweep.models.checkpoint import CARD
from seedsweep.models.options import PreprocessConfig

log = logging.getLogger(__name__)

OURS = "a checkpoint of seedsweep"  # a note of weights begins with it in brackets
RANDOM_AND_FROZEN = "random start, and what is frozen stays random"  # a note of weights, which cards hold
DEEPEST = 8  # dictionaries in one another
# what wrappers put between the names of a net: torch.compile, FSDP, activation checkpoints
WRAPPED = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
# what training scripts keep beside their tensors: settings and numbers, which run no code when they are read
PLAIN: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *(type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"),
]


@dataclass(frozen=True)
class WeightFile:
    """What a weight file holds."""

    path: Path  # of the file
    # by the names in the file; those inside dictionaries are called ``outer.inner.name``
    tensors: dict[str, Tensor]
    # what a checkpoint of ours says about itself; None: the file is of another program
    card: dict[str, Any] | None = None
    whole: bool = True  # False for a checkpoint of ours that holds a head alone

    @property
    def backbone(self) -> dict[str, Any]:
        """What the card says about the backbone; empty for another program's file."""
        return dict(self.card["backbone"]) if self.card else {}

    @property
    def choice(self) -> str:
        """The setting that chooses the backbone of a checkpoint of ours."""
        name = self.backbone["name"]
        return (
            f"backbone={name}" if self.backbone["library"] == "own" else f"backbone=timm backbone.name={name}"
        )

    def check_backbone(self, name: str, has_twin: bool) -> None:
        """Checks that a checkpoint of ours holds a backbone; of another program's file, nothing.

        Args:
            has_twin: whether that net can be made to behave as Keras' does.

        Raises:
            SeedsweepError: it holds a head alone, or weights of Keras for a net that can't behave as Keras'.
        """
        if not self.whole:
            raise SeedsweepError(
                f"{self.path} is of a study's trial and holds the head alone, no backbone: train the winner "
                "(+experiment=best_of_STUDY) and give its checkpoint."
            )
        if self.backbone.get("weights") == RANDOM_AND_FROZEN:
            log.warning(
                "!!! %s: the frozen part of the backbone in it began random and was never trained", self.path
            )
        if self.backbone.get("keras") and not has_twin:
            raise SeedsweepError(
                f"{self.path} holds weights of Keras' {self.backbone['name']}, which {name} would compute "
                f"otherwise: take {self.choice}."
            )

    @property
    def about(self) -> str:
        """What a checkpoint of ours says about its backbone's training; empty for another program's file."""
        if self.card is None:
            return ""
        began = self.backbone["weights"]
        if f"({OURS}" in began:  # it began with another one, whose own start its card says
            began = f"{began.partition(' (')[0]}, a checkpoint of seedsweep too"
        parts = [
            f"{OURS}, {self.backbone['name']} of a run of {self.card['experiment']}, which began with {began}"
        ]
        if any(name.endswith("running_mean") for name in self.tensors):
            parts.append(f"BatchNorm statistics {_statistics(self.card)}")
        scaling = PreprocessConfig(**self.card["preprocess"])
        if not scaling.normalise or scaling.rescale:
            parts.append(f"trained on inputs as preprocess={preprocess_called(scaling)} scales them")
        return "; ".join(parts)


def read_tensors(path: Path) -> WeightFile:
    """Reads a ``.safetensors`` file, or any file that ``torch.save`` wrote.

    Raises:
        SeedsweepError: it can't be read, or not without running code that it holds.
        DamagedError: a checkpoint of ours whose content is not what was written.
    """
    content: Any
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            _check_archive(path)
            with torch.serialization.safe_globals(PLAIN):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except SeedsweepError:
        raise
    except Exception as error:  # SafetensorError, UnpicklingError, EOFError, RuntimeError, ...
        raise SeedsweepError(f"{path} can't be read as weights: {_what_to_do(path, error)}.") from error
    if isinstance(content, Tensor):
        content = {"tensor": content}
    if not isinstance(content, Mapping):
        raise SeedsweepError(
            f"{path} can't be read as weights: it holds a {type(content).__name__}, and not tensors by name."
        )
    card = _card(content)
    tensors = dict(_flat(content, "", DEEPEST))
    for name, tensor in tensors.items():
        if kind := _odd_kind(tensor):
            raise SeedsweepError(
                f"{path} can't be used as weights: {name} is {kind}; save a file whose tensors are dense real "
                "numbers with their values."
            )
    return WeightFile(path, tensors, card, card is None or bool(content.get("whole", True)))


def _statistics(card: dict[str, Any]) -> str:
    """Says what a run did to the BatchNorm statistics of its backbone."""
    policy = card["switches"]["batchnorm"]
    if policy["update_statistics"] and policy["training_statistics"] == "batch":
        return "moved by that run's training"
    return "re-estimated on that run's images" if policy["recalibrate"] else "as that run found them"


def _odd_kind(tensor: Tensor) -> str:
    """Returns what kind of tensor it is that no net can be filled from; nothing for an ordinary one."""
    kinds = {
        "a nested tensor": tensor.is_nested,
        "a meta tensor, a shape without values": tensor.is_meta,
        "a quantised tensor": tensor.is_quantized,
        "a tensor of complex numbers": tensor.is_complex(),
        "a sparse tensor": not tensor.is_nested and tensor.layout != torch.strided,
    }
    return next((kind for kind, holds in kinds.items() if holds), "")


def _check_archive(path: Path) -> None:
    """Compares the checksums of an archive before torch reads it: a wrong size has torch read beyond its buffer."""
    if not zipfile.is_zipfile(path):
        return  # of an older format
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except OSError:
        raise
    except Exception as error:  # of zipfile and zlib: many kinds
        raise DamagedError(f"{path} is damaged (its archive can't be read): get the file again.") from error
    if damaged:
        raise DamagedError(
            f"{path} is damaged (its checksums do not match), or was saved without checksums "
            "(torch.serialization.set_crc32_options): get or save the file again."
        )


def _card(content: Mapping[Any, Any]) -> dict[str, Any] | None:
    """Returns the card of a checkpoint of ours, if it has one that says all that is needed here."""
    card = content.get(CARD)
    if "state_dict" not in content or not isinstance(card, Mapping):
        return None
    backbone = card.get("backbone")
    complete = isinstance(backbone, Mapping) and {"name", "library", "weights"} <= backbone.keys()
    return dict(card) if complete and {"experiment", "preprocess", "switches"} <= card.keys() else None


def _what_to_do(path: Path, error: Exception) -> str:
    if "TorchScript" in str(error):
        return (
            "it is a TorchScript archive; save its tensors with torch.save(torch.jit.load(FILE).state_dict(), "
            "'weights.pth')"
        )
    if isinstance(error, pickle.UnpicklingError) and (classes := _classes(path)):
        return (
            f"beside tensors it holds Python objects ({', '.join(classes[:3])}), and to read those could run code; "
            "where you trust the file, load it yourself and save its tensors alone with "
            "torch.save(model.state_dict(), 'weights.pth')"
        )
    return "give a .safetensors file, or a .pt or .pth file that holds tensors by name"


def _classes(path: Path) -> list[str]:
    """Returns the names of the classes and functions that a file asks for and that may not be loaded."""
    try:
        with torch.serialization.safe_globals(PLAIN):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:  # of an older format, or no pickle at all
        return []


def _flat(content: Mapping[Any, Any], before: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    """Yields the tensors in dictionaries by their full names, without those of wrappers."""
    for key, value in content.items():
        name = f"{before}{key}"
        if isinstance(value, Tensor):
            for part in WRAPPED:
                name = name.replace(part, "")
            yield name, value
        elif isinstance(value, Mapping) and depth:
            yield from _flat(value, f"{name}.", depth - 1)
