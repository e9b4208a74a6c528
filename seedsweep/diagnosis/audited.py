"""What several checks of the images share: names, file headers, thumbnails, and which images are of one photograph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image
from torch import Tensor
from torch.nn import functional

from seedsweep.data.equal_files import equal_pairs
from seedsweep.data.folder import SPLIT_NAMES
from seedsweep.data.image_formats import open_image, orientation
from seedsweep.data.images import SIDEWAYS
from seedsweep.data.manifest import ImageTable
from seedsweep.data.prepare import PreparedImages
from seedsweep.data.split import joined
from seedsweep.diagnosis.charts import draw_sheet
from seedsweep.diagnosis.copies import pairs_of
from seedsweep.diagnosis.grouping import Grouping, guess_grouping, measure_grouping
from seedsweep.diagnosis.near_copies import Pair
from seedsweep.diagnosis.nearness import Neighbours, nearness_of
from seedsweep.diagnosis.stored_features import EVAL_BATCH
from seedsweep.names import class_of

EXAMPLES = 20  # of a list in the evidence; the rest is counted
SIDE = 32  # pixels of a thumbnail
FEW = 0.1  # share of groups that equal files or annotations may make


class Audited:
    """Lazily computed facts about all images of a run.

    Args:
        neighbours: finds the images that are alike by a net's features; None: names alone tell of photographs.
        cache: where copies are kept; None: nowhere.
    """

    def __init__(
        self,
        prepared: PreparedImages,
        group_regex: str | None,
        neighbours: Callable[[], Neighbours] | None = None,
        group_list: str | None = None,
        cache: Path | None = None,
    ) -> None:
        self.prepared = prepared
        self.group_regex = group_regex
        self.group_list = group_list
        self._neighbours = neighbours
        self._cache = cache

    @property
    def table(self) -> ImageTable:
        """Path, class, split, group and digest of all images."""
        return self.prepared.table

    @cached_property
    def files(self) -> list[FileFacts]:
        """What the headers of the files tell."""
        return [read_facts(path) for path in self.table.paths]

    @cached_property
    def small(self) -> NDArray[np.uint8]:
        """Thumbnails of all images, [N, SIDE, SIDE, 3]."""
        rows = np.arange(len(self.table.paths))
        parts = np.split(rows, range(EVAL_BATCH, len(rows), EVAL_BATCH))
        return np.concatenate([thumbnails(self.prepared.pixels.batch(part)) for part in parts])

    @cached_property
    def pairs(self) -> list[Pair]:
        """Equal files and near copies, each with another."""
        return pairs_of(self.table, self.prepared.pixels.how, self._cache)

    @cached_property
    def grouping(self) -> Grouping | None:
        """The photographs that the images come from: as ``data.group_regex`` says, or as names and times suggest."""
        labels = self.table.labels
        neighbours = None if self._neighbours is None else self._neighbours()
        if self.group_regex is not None or self.group_list is not None:
            made_by = self.group_regex or f"the groups of data.group={self.group_list}"
            given = measure_grouping(made_by, self.table.groups, labels)
            nearness = None if neighbours is None else nearness_of(given.groups, labels, neighbours)
            return replace(given, regex=self.group_regex, nearness=nearness)
        below = [self._below_class(row) for row in range(len(labels))]
        times = [file.taken for file in self.files]
        return guess_grouping(below, labels, times, neighbours)

    def _below_class(self, row: int) -> str:
        """Returns an image's path below the folder of its class; a manifest's whole path where there is none."""
        folders = self.name(row).split("/")[:-1]
        label = self.class_of(row)
        place = next((place for place, name in enumerate(folders[:2]) if class_of(name) == label), -1)
        return "/".join([*folders[place + 1 :], self.table.paths[row].name])

    @cached_property
    def groups(self) -> list[str]:
        """What cross-validation keeps together: photographs where they are known or shown by names, else equal files.

        Pieces of one photograph would vouch for one another's wrong label.
        """
        table = self.table
        known, digests = np.asarray(table.groups), np.asarray(table.digests)
        content = len(set(zip(known.tolist(), digests.tolist(), strict=True)))
        if self.grouping is None or content > (1 + FEW) * len(
            set(table.groups)
        ):  # more than equal files in them
            return joined(table.groups, equal_pairs(table.digests))
        order = np.argsort(known, kind="stable")
        same = known[order[1:]] == known[order[:-1]]
        pairs = zip(order[:-1][same].tolist(), order[1:][same].tolist(), strict=True)
        return joined(joined(self.grouping.groups, list(pairs)), equal_pairs(table.digests))

    @cached_property
    def _names(self) -> list[str]:
        return self.table.names()

    def name(self, row: int) -> str:
        """Returns an image's path below the data's folder."""
        return self._names[row]

    def class_of(self, row: int) -> str:
        """Returns the name of an image's class."""
        return self.table.classes[int(self.table.labels[row])]

    def draw(self, captions: Sequence[tuple[int, tuple[str, ...]]], path: Path, marked: bool = False) -> None:
        """Draws images by row, with lines and the file's name below; ``marked``: first lines in the colour of a
        fault."""
        paths = self.table.paths
        shown = [(paths[row], (*lines, paths[row].name)) for row, lines in captions]
        draw_sheet(shown, path, self.prepared.pixels.how, marked)

    def draw_where(self, rows: Sequence[int], path: Path) -> None:
        """Draws images with their class and split."""
        self.draw([(row, (f"{self.class_of(row)}, {self.table.splits[row]}",)) for row in rows], path)


def why_split_is_fixed(facts: Audited, manifest: str | None) -> str | None:
    """Returns what makes the split, and where to change it; None: a setting can. ``manifest``: that the user gave."""
    if manifest is not None:
        return f"The split stands in {manifest}, where no setting changes it: make it anew there"
    top = {facts.name(row).split("/")[0].lower() for row in range(len(facts.table.paths))}
    if top.isdisjoint(SPLIT_NAMES["train"]):
        return None
    return f"The folders of {facts.table.root} make the split: move the files"


def thumbnails(images: Tensor) -> NDArray[np.uint8]:
    """Shrinks uint8 [B, 3, H, W] to [B, SIDE, SIDE, 3] by averaging."""
    small = functional.interpolate(images.float(), (SIDE, SIDE), mode="area")
    return small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


@dataclass(frozen=True)
class FileFacts:
    """What an image file tells without its pixels."""

    width: int  # pixels, as EXIF turns the image
    height: int  # likewise
    kind: str  # format and mode, such as "JPEG RGB"
    # mean of a JPEG's first quantisation table (small: high quality); 0 for other formats
    quantisation: float
    # when the photograph was taken, as EXIF says, in seconds; None: it does not say
    taken: float | None = None


def read_facts(path: Path) -> FileFacts:
    """Reads the header of a readable image file, in about 0.1 ms."""
    with open_image(path, float("inf")) as image:
        width, height = image.size
        if orientation(image) >= SIDEWAYS:
            width, height = height, width
        tables: dict[int, Any] = getattr(image, "quantization", None) or {}
        mean = float(np.mean(next(iter(tables.values())))) if tables else 0.0
        return FileFacts(width, height, f"{image.format} {image.mode}", mean, _taken(image))


def _taken(image: Image.Image) -> float | None:
    """Returns the time in EXIF, in seconds, where it can be read without decoding the opened file."""
    if "exif" not in image.info:
        return None
    text = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal)
    try:
        return (
            datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S") - datetime(1970, 1, 1)
        ).total_seconds()
    except ValueError:
        return None
