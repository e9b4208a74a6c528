"""Writes a trained net for other programs, and checks that they get its probabilities."""

from __future__ import annotations

import importlib
import json
import logging
import os
import pkgutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from seedsweep.data.image_formats import BadImageError
from seedsweep.data.images import Reading, read_image
from seedsweep.errors import SeedsweepError
from seedsweep.export import formats
from seedsweep.export.load import Trained
from seedsweep.features.torch_engine import folded

log = logging.getLogger(__name__)

TOLERANCE = 1e-4  # largest difference of a probability
BATCH = 32


def file_of(out: Path, module: ModuleType) -> Path:
    """Returns ``out`` with the format's suffix, in the place of another format's or at its end."""
    known = {each.SUFFIX for each in _formats().values()}
    return out.with_name((out.stem if out.suffix in known else out.name) + module.SUFFIX)


def formats_of(wanted: str) -> list[ModuleType]:
    """Returns the formats that ``export.format`` names.

    Raises:
        SeedsweepError: there is none of that name, or its packages are missing.
    """
    known = _formats()
    if wanted not in (*known, "both"):
        raise SeedsweepError(f"export.format is '{wanted}', but must be one of: {', '.join(known)}, both.")
    chosen = list(known.values()) if wanted == "both" else [known[wanted]]
    for module in chosen:
        module.check()
    return chosen


def _formats() -> dict[str, ModuleType]:
    """Returns the formats by name."""
    names = [module.name for module in pkgutil.iter_modules(formats.__path__)]
    modules = [importlib.import_module(f"{formats.__name__}.{name}") for name in names]
    return {module.NAME: module for module in modules}


def check_images(trained: Trained, files: list[Path], n: int) -> tuple[Tensor, int]:
    """Returns uint8 images [n, 3, H, W] to compare on, and how many are ``files``; the rest is random.

    Random ones are coarse patches, as unlike one another as images can be: noise pixel by pixel would all look
    the same to a net.
    """
    found: list[Tensor] = []
    for path in files:
        if len(found) == n:
            break
        try:
            found.append(read_image(path, trained.image_size, Reading(trained.ranges)))
        except BadImageError:
            continue
    own = len(found)
    missing = n - own
    if missing:
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand(missing, 3, 6, 6, generator=generator) * 255
        patches = (
            nn.functional.interpolate(coarse, trained.image_size, mode="bilinear").round().to(torch.uint8)
        )
        found += list(patches)
    return torch.stack(found), own


def export(trained: Trained, module: ModuleType, path: Path, kind: torch.dtype, images: Tensor) -> float:
    """Writes ``path`` and reads it back; the file stays only if it predicts as the checkpoint does.

    Args:
        kind: of the pixels that it will read.
        images: uint8 [n, 3, H, W] to compare on.

    Returns:
        The largest difference of a probability.

    Raises:
        SeedsweepError: the net can't be written in this format, or predicts otherwise in it.
    """
    net = nn.Sequential(trained.net, nn.Softmax(1)).eval()
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    try:
        written = nn.Sequential(
            folded(trained.net), nn.Softmax(1)
        ).eval()  # half the nodes: written, read and run in less time
        with torch.no_grad():
            module.write(written, images[:2].to(kind), about(trained, kind), part)
        difference = _difference(net, module.reader(part), images.to(kind))
        if not difference <= TOLERANCE:  # NaN as well
            raise SeedsweepError(
                f"{path.name} would predict otherwise than {trained.path} (a probability differs by {difference:.2g}): "
                "it was not kept."
            )
        os.replace(part, path)
    except SeedsweepError:
        raise
    except OSError as error:
        raise SeedsweepError(f"export.out={path} can't be written ({error.strerror or error}).") from error
    except Exception as error:  # of exporter or runtime: many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SeedsweepError(f"This net can't be written as {module.NAME} ({reason}).") from error
    finally:
        part.unlink(missing_ok=True)
    return difference


def _difference(net: nn.Module, predict: Callable[[Tensor], Tensor], images: Tensor) -> float:
    """Compares in batches, and one image alone: the number of images must be free."""
    largest = 0.0
    with torch.inference_mode():
        for part in (images[:1], *torch.split(images, BATCH)):
            difference = (net(part) - predict(part)).abs().max().item()
            largest = max(largest, difference) if difference == difference else difference
    return largest


def about(trained: Trained, kind: torch.dtype) -> dict[str, str]:
    """Returns the metadata for those who use the file; every value is text."""
    height, width = trained.image_size
    name = str(kind).removeprefix("torch.")
    ranges = trained.ranges.as_dict()
    promised = {}
    if trained.promise and trained.promise.threshold is not None:
        promised = {
            "max_error": f"{trained.promise.max_error:g}",
            "answer_from_confidence": f"{trained.promise.threshold:.9g}",
            "left_to_a_person": f"{trained.promise.left:.4g}",
        }
    return (
        promised
        | ({"values": json.dumps(ranges, allow_nan=False)} if ranges else {})
        | {
            "classes": json.dumps(trained.classes, ensure_ascii=False, allow_nan=False),
            "image_size": json.dumps([height, width], allow_nan=False),
            "input": f"RGB pixels 0..255, {name} [B, 3, {height}, {width}], resized bilinear with antialiasing",
            "temperature": f"{trained.temperature:.6g}",
            "output": f"probabilities, float32 [B, {len(trained.classes)}], in the order of classes",
            "checkpoint_sha256": trained.digest,
            "backbone": str(trained.card["backbone"]["name"]),
            "weights": str(trained.card["backbone"]["weights"]),
            "preprocess": json.dumps(trained.card["preprocess"], allow_nan=False),
            "producer": f"seedsweep {trained.card['version']}",
        }
    )
