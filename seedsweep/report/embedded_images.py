"""Photographs and drawn pictures as data URIs, and which parts of a photograph speak for a class."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from seedsweep.data.image_formats import BadImageError
from seedsweep.data.images import DEFAULT, Reading, read_image, thumbnail
from seedsweep.errors import SeedsweepError
from seedsweep.export.given_files import find_checkpoint
from seedsweep.export.load import load_trained
from seedsweep.models.backbone import Backbone

SIDE = 260  # pixels of the longer side of a photograph
WIDEST = 1500  # pixels of a drawn picture
DARK = 0.22  # share of the light that is left where nothing speaks for the class


def photograph(path: Path, side: int = SIDE, how: Reading = DEFAULT) -> Image.Image | None:
    """Reads a photograph, at most ``side`` pixels long; None if it can't be read any more."""
    try:
        pixels = thumbnail(path, side, how)
    except BadImageError:
        return None
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def attention(run_dir: Path, paths: list[Path], targets: list[str]) -> list[NDArray[np.float64]]:
    """Returns a heat map [h, w] a photograph: how much each part speaks for its target class.

    Args:
        run_dir: holds checkpoints/best.ckpt, a whole net.
        targets: class names, one a photograph.

    Raises:
        SeedsweepError: there is no checkpoint, it does not hold all that is needed, or the net's last features do not
            lie on the image in rows and columns.
    """
    trained = load_trained(find_checkpoint(str(run_dir)))
    net = trained.net
    images = torch.stack([read_image(path, trained.image_size, Reading(trained.ranges)) for path in paths])
    assert isinstance(net.backbone, Backbone)
    with torch.no_grad():
        maps, space = net.backbone.spaced(net.preprocess(images))
    name = trained.card["backbone"]["name"]
    places = maps.shape[2] * maps.shape[3]
    if places == 1:
        raise SeedsweepError(f"the last features of {name} are one cell, the whole image.")
    if space is None:
        raise SeedsweepError(
            f"the last features of {name} are {places} tokens, and it is not known which part of the image each is of."
        )
    classes = torch.tensor([trained.classes.index(name) for name in targets])
    heat = _grad_cam(maps, net.head, classes).flatten(1)[:, space.prefix :]
    return [np.asarray(each.view(space.rows, space.columns).double()) for each in heat]


def _grad_cam(maps: Tensor, head: nn.Module, classes: Tensor) -> Tensor:
    """Returns [B, h, w], at least 0: the map's channels, weighted by how much each raises the logit of a class.

    Selvaraju and others 2017. The gradient is taken from the logit to the feature map alone, so the backbone needs no
    backward pass.

    Args:
        maps: the last feature map [B, C, h, w].
        head: the map's mean [B, C] to logits [B, N].
        classes: one an image, int64 [B].
    """
    with torch.enable_grad():
        leaf = maps.detach().requires_grad_()
        logits = head(leaf.mean(dim=(2, 3)))
        (gradient,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), leaf)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return (weights * maps).sum(1).relu().detach()


def brightened(image: Image.Image, heat: NDArray[np.float64]) -> Image.Image:
    """Leaves light and colour where a heat map [h, w] is hottest, and darkens where it is coldest.

    The map is stretched to the photograph, as the photograph was to the net. No colours are laid over it: they would
    hide what is to be seen.
    """
    low, high = float(heat.min()), float(heat.max())
    scaled = (heat - low) / (high - low) if high > low else np.ones_like(heat)
    stretched = Image.fromarray(scaled.astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC)
    mask = Image.fromarray((255 * np.asarray(stretched).clip(0, 1)).astype(np.uint8))
    dark = image.convert("L").point(lambda value: value * DARK).convert("RGB")
    return Image.composite(image.convert("RGB"), dark, mask)


def jpeg_uri(image: Image.Image, quality: int = 82) -> str:
    """Returns an image as a JPEG data URI."""
    return _uri(image.convert("RGB"), "jpeg", quality=quality, optimize=True)


def png_uri(path: Path) -> str:
    """Returns a drawn picture as a data URI, at most WIDEST pixels wide; empty if it can't be read.

    It is drawn anew with a palette of 128 colours: a third of the size, and nothing to be seen of it.
    """
    try:
        with Image.open(path, formats=("PNG",)) as file:
            image = file.convert("RGBA")
    except (OSError, SyntaxError, ValueError):
        return ""
    flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    flat.thumbnail((WIDEST, flat.height), Image.Resampling.LANCZOS)
    if flat.getcolors(maxcolors=50_000) is None:  # photographs in it
        return jpeg_uri(flat, 85)
    return _uri(flat.quantize(128, dither=Image.Dither.NONE), "png", optimize=True)


def _uri(image: Image.Image, kind: str, **options: int | bool) -> str:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"
