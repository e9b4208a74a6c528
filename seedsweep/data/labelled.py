"""Labelled images as they are, without a split: to judge a net that is trained already."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seedsweep.data.folder import Found, check_root, scan_folder
from seedsweep.data.group_file import groups_by_settings
from seedsweep.data.listed import read_listed
from seedsweep.data.options import DataConfig
from seedsweep.data.walk import LeftOut
from seedsweep.errors import SeedsweepError
from seedsweep.names import path_of, printable, some

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Labelled:
    """N images and what they are called."""

    root: Path  # that they lie below
    paths: list[Path]  # [N]
    names: list[str]  # [N] of their classes
    groups: list[str] | None  # [N] names of what belongs together; None: nothing tells
    left_out: list[LeftOut]  # files that are not used

    def refuse_unknown(self, classes: Sequence[str], who: str) -> None:
        """Raises SeedsweepError where an image is of a class that ``who`` does not know."""
        counts = Counter(self.names)
        if unknown := sorted(set(counts) - set(classes)):
            n = sum(counts[name] for name in unknown)
            raise SeedsweepError(
                f"{n} of {len(self.names)} images of {printable(str(self.root))} are of classes that {who} does not "
                f"know ({some(unknown, 6)}); it knows {some(classes, 12)}: rename those folders, or leave them out."
            )


def find_labelled(config: DataConfig) -> Labelled:
    """Finds the images of ``data.root`` (or ``data.file``) by class; those of all splits, where they lie in splits.

    Masks and other annotations are left out, used or asked about as for a training.

    Args:
        config: name, root, file, group, group_regex, annotations, image_gib and workers are read.

    Raises:
        SeedsweepError: no folder, no images in class folders, annotations to be asked about, or a mistake in a file
            that lists the images.
    """
    check_root(config)
    if config.root is None:
        raise SeedsweepError(
            "data.root is not set: give the folder of your labelled images with data.root=DIR."
        )
    root = path_of(config.root).resolve()
    left_out: list[LeftOut] = []
    listed = read_listed(config.file, root) if config.file else None
    if listed is None:
        scan = scan_folder(root)
        found, left_out = scan.found, scan.left_out
    else:
        found = [Found(Path(root, row.path), row.label, row.split or None) for row in listed]
    if splits := sorted({each.split for each in found if each.split}):
        log.info("images of all splits (%s) are taken together", ", ".join(splits))
    from seedsweep.data.annotations import settle_annotations  # PyTorch takes seconds
    from seedsweep.data.checked import look_at

    facts = look_at([each.path for each in found], config.image_gib, config.workers)
    _, out = settle_annotations(found, facts, root, config.annotations)
    gone = {each.path for each in out}
    left_out += out
    given = {Path(root, row.path): row.group for row in listed or ()}
    found = [each for each in found if each.path not in gone]
    paths = [each.path for each in found]
    groups = [given.get(path) or "" for path in paths]
    is_told = any(groups) or config.group is not None or config.group_regex is not None
    if is_told and not all(groups):  # as for a training
        others = groups_by_settings(config, root, paths)
        groups = [group or other for group, other in zip(groups, others, strict=True)]
    return Labelled(root, paths, [each.label for each in found], groups if is_told else None, left_out)
