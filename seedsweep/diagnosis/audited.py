"""What several checks of the images share: names, file headers, thumbnails, and which images are of one photograph."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from seedsweep.data.folder import SPLIT_NAMES
from seedsweep.data.image_formats import open_image, orientation
from seedsweep.data.images import SIDEWAYS
from seedsweep.data.manifest import ImageTable
from seedsweep.data.prepare import PreparedImages
from seedsweep.diagnosis.charts import draw_sheet
from seedsweep.diagnosis.stored_features import EVAL_BATCH

EXAMPLES = 20  # of a list in the evidence; the rest is counted
SIDE = 32  # pixels of a thumbnail
NAMINGS = (
    r"^(.+)[_-]\d+\.\w+$",  # the last number counts the pieces of one photograph
    r"^(\D*\d+)\d[_-]\d+\.\w+$",  # and photographs taken one after the other show the same objects
)
FEWEST = 2.0  # images a group in the mean
MORE = 2  # groups, for each class: with fewer a name is but the class's own


class Audited:
    """Lazily computed facts about all images of a run.

    Args:
        prepared: the run's images.
        group_regex: ``data.group_regex``.
    """

    def __init__(self, prepared: PreparedImages, group_regex: str | None) -> None:
        self.prepared = prepared
        self.group_regex = group_regex

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
    def grouping(self) -> Grouping | None:
        """The photographs that the images come from: as ``data.group_regex`` says, or as the names suggest."""
        labels = self.table.labels
        if self.group_regex is not None:
            return measure_grouping(self.group_regex, self.table.groups, labels)
        return guess_grouping([path.name for path in self.table.paths], labels)

    @cached_property
    def groups(self) -> list[str]:
        """What cross-validation keeps together: photographs where they are known or shown by names, else equal files.

        Pieces of one photograph would vouch for one another's wrong label.
        """
        if len(set(self.table.groups)) < len(self.table.groups):
            return self.table.groups
        return self.table.digests if self.grouping is None else self.grouping.groups

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
        """Draws images with lines and the file's name below each.

        Args:
            captions: row of the table and lines of each image.
            path: of the PNG.
            marked: the first lines are in the colour of a fault.
        """
        paths = self.table.paths
        shown = [(paths[row], (*lines, paths[row].name)) for row, lines in captions]
        draw_sheet(shown, path, self.prepared.pixels.how, marked)


def why_split_is_fixed(facts: Audited, manifest: str | None) -> str | None:
    """Returns what makes the split, and where to change it; None: a setting can change it.

    Args:
        facts: about the images.
        manifest: that the user gave.
    """
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
    """What an image file tells without its pixels.

    Attributes:
        width: pixels, as EXIF turns the image.
        height: likewise.
        kind: format and mode, such as "JPEG RGB".
        quantisation: mean of a JPEG's first quantisation table (small: high quality); 0 for other formats.
    """

    width: int
    height: int
    kind: str
    quantisation: float


def read_facts(path: Path) -> FileFacts:
    """Reads the header of a readable image file, in about 0.1 ms."""
    with open_image(path, float("inf")) as image:
        width, height = image.size
        if orientation(image) >= SIDEWAYS:
            width, height = height, width
        tables: dict[int, Any] = getattr(image, "quantization", None) or {}
        mean = float(np.mean(next(iter(tables.values())))) if tables else 0.0
        return FileFacts(width, height, f"{image.format} {image.mode}", mean)


@dataclass(frozen=True)
class Grouping:
    """Groups of images, such as those of one photograph, and what they tell about classes.

    Attributes:
        pattern: the regular expression that makes the groups.
        groups: [N] names.
        count: of groups.
        pure: groups of at least two images that hold one class only.
        several: groups of at least two images.
        told: share of images whose class is the most frequent one of the others of their group; images without
            others count as not told.
        expected: the same for groups of these sizes filled at random.
    """

    pattern: str
    groups: list[str]
    count: int
    pure: int
    several: int
    told: float
    expected: float


def measure_grouping(pattern: str, groups: Sequence[str], labels: NDArray[np.int64]) -> Grouping:
    """Counts how often a group's other images tell an image's class."""
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    content = _content(numbers, labels)
    sizes = content.sum(1)
    several = sizes > 1
    pure = (content.max(1) == sizes) & several
    rng = np.random.default_rng(0)
    drawn = [_told(numbers, rng.permutation(labels)) for _ in range(5)]
    return Grouping(
        pattern,
        list(groups),
        len(sizes),
        int(pure.sum()),
        int(several.sum()),
        _told(numbers, labels),
        float(np.mean(drawn)),
    )


def guess_grouping(names: Sequence[str], labels: NDArray[np.int64]) -> Grouping | None:
    """Looks for photographs in the files' names; None where the names show none that is more than the class's name.

    Args:
        names: of the files.
        labels: [N] class numbers.
    """
    found = []
    for pattern in NAMINGS:
        regex = re.compile(pattern)
        groups = [match.group(1) if (match := regex.match(name)) else name for name in names]
        count = len(set(groups))
        if len(names) / count >= FEWEST and count >= MORE * (int(labels.max()) + 1):
            found.append(measure_grouping(pattern, groups, labels))
    return max(found, key=lambda grouping: grouping.told - grouping.expected, default=None)


def _content(numbers: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts the images of each group and class."""
    content = np.zeros((int(numbers.max()) + 1, int(labels.max()) + 1), dtype=np.int64)
    np.add.at(content, (numbers, labels), 1)
    return content


def _told(numbers: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    rows = np.arange(len(labels))
    others = _content(numbers, labels)[numbers]
    others[rows, labels] -= 1
    own = others[rows, labels]
    return float(((own == others.max(1)) & (own > 0)).mean())
