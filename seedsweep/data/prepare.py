"""Finds, checks, splits and decodes a run's images, before any training."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from seedsweep.data.annotations import Annotation, find_annotations, joined, refuse, same_object
from seedsweep.data.checked import CheckedFiles, check_files
from seedsweep.data.demo import ensure_demo
from seedsweep.data.folder import Found, Scan, check_root, scan_folder
from seedsweep.data.manifest import (
    SPLITS,
    ImageTable,
    Row,
    check_manifest,
    files_of,
    read_manifest,
    some,
    warn_of_copies,
    write_manifest_once,
)
from seedsweep.data.options import DataConfig
from seedsweep.data.pin import Pin, added, check_content, read_pin, unnamed
from seedsweep.data.pixels import Pixels, stamp_of
from seedsweep.data.split import groups_of, split_images
from seedsweep.data.value_ranges import Ranges, read_ranges, write_ranges
from seedsweep.data.walk import LeftOut, log_left_out, read_left_out, write_left_out
from seedsweep.errors import SeedsweepError
from seedsweep.names import path_of, printable

log = logging.getLogger(__name__)


@dataclass
class PreparedImages:
    """The table of a run's images and their pixels, row by row, and the files that are not used."""

    table: ImageTable
    pixels: Pixels
    left_out: list[LeftOut] = field(default_factory=list)

    def changed(self) -> list[str]:
        """Returns the images whose files have another content now, or are gone."""
        seen = self.pixels.seen
        if seen is None:
            return []
        names = dict(zip(self.table.paths, self.table.names(), strict=True))
        return [names.get(path, str(path)) for path in seen.changed()]

    def warn_of_changes(self) -> None:
        """Warns of files that have another content now, or are gone."""
        if changed := self.changed():
            log.warning(
                "%d %s changed or removed while the run went on (%s): its numbers are of the images as they were at "
                "its beginning",
                len(changed), "image was" if len(changed) == 1 else "images were", some(changed),
            )  # fmt: skip


def prepare_images(
    config: DataConfig, cache_dir: Path, pin: Pin | None = None, known: Ranges | None = None
) -> PreparedImages:
    """Finds, checks, splits and decodes the images.

    Args:
        config: the data settings.
        cache_dir: where the demo photographs are drawn, and where files proved readable are noted.
        pin: the split to go on with, whatever the settings; images that it lacks are left out, with a line.
        known: how images of more than 8 bits are scaled; default: as the pin tells, or by these images alone.

    Raises:
        SeedsweepError: anything wrong with the images, in one sentence.
    """
    check_root(config)
    if config.root is None:
        root = ensure_demo(cache_dir, config.demo.n_images, config.demo.seed)
    else:
        root = path_of(config.root).resolve()
    rows = None
    if pin is not None:
        rows = read_pin(pin, root)
        known = known or read_ranges(pin.values)
        scan = Scan(files_of(rows, root), read_left_out(pin.left_out, root))
    elif config.manifest:
        pin = Pin.given(config.manifest)
        rows = read_manifest(pin.path, pin.name, root)
        check_manifest(rows, root, pin.name)
        if more := unnamed(rows, root):
            log.info("%s does not name %d of the images below %s (%s)", pin.name, len(more), root, some(more))
        scan = Scan(files_of(rows, root), [])
    else:
        scan = scan_folder(root)
    files, left_out = scan.found, list(scan.left_out)
    size = (config.image_size[0], config.image_size[1])
    paths = [f.path for f in files]
    limits = config.cache_gib, config.image_gib
    checked = check_files(paths, list(map(stamp_of, paths)), size, limits, config.workers, cache_dir)
    log_left_out(left_out)
    if pin and rows:
        digests = [file.digest for file in checked.files]
        check_content(pin, rows, root, digests)
        if config.manifest is None and (more := added(rows, root, left_out)):
            log.warning("%s", pin.summary_of_more(more))
        elif config.manifest:
            warn_of_copies(rows, digests, Pin.given(config.manifest).name)
    if bad := {row: file.bad for row, file in enumerate(checked.files) if file.bad is not None}:
        left_out += _bad(config, files, bad)
        files, checked = _without(files, checked, set(bad))
    annotations: list[Annotation] = []
    if rows is None:
        annotations = find_annotations(files, [file.facts for file in checked.files])
        if annotations and config.annotations == "ask":
            refuse(files, annotations, root)
        if annotations and config.annotations == "skip":
            out = [
                LeftOut(files[a.row].path, files[a.row].label, "annotation(s)", a.why) for a in annotations
            ]
            log_left_out(out)
            left_out += out
            files, checked = _without(files, checked, {a.row for a in annotations})
            annotations = []
    pixels = checked.scaled(known or Ranges(), config.workers)
    digests = [file.digest for file in checked.files]
    table = _table(config, root, files, digests, rows, same_object(files, annotations))
    return PreparedImages(table, pixels, left_out)


def pinned_images(config: DataConfig, cache_dir: Path, pin: Pin) -> PreparedImages:
    """Goes on with the images that ``pin`` names; where it is not there yet, finds them and writes it.

    Of several processes that begin together, the first to write it decides for all.

    Raises:
        SeedsweepError: anything wrong with the images, in one sentence.
    """
    if not pin.path.is_file():
        prepared = prepare_images(config, cache_dir)
        pin.path.parent.mkdir(parents=True, exist_ok=True)
        # before the manifest, which others wait for
        write_left_out(prepared.left_out, prepared.table.root, pin.left_out)
        if write_manifest_once(prepared.table, pin.path):
            write_ranges(
                prepared.pixels.how.ranges, pin.values
            )  # until then others decide alike by the same files
            return prepared
    return prepare_images(config, cache_dir, pin)


def _bad(config: DataConfig, files: list[Found], bad: dict[int, str]) -> list[LeftOut]:
    """Returns the files that can't be read as left out, and says so.

    Raises:
        SeedsweepError: ``data.on_bad_image=error``.
    """
    listed = "; ".join(
        f"{printable(str(files[row].path))} ({printable(reason)})" for row, reason in bad.items()
    )
    if config.on_bad_image == "error":
        raise SeedsweepError(
            f"{len(bad)} of {len(files)} images can't be read; remove them or set data.on_bad_image=skip: {listed}"
        )
    images = "image" if len(bad) == 1 else "images"
    log.warning("skipped %d %s that can't be read: %s", len(bad), images, listed)
    return [LeftOut(files[row].path, files[row].label, "unreadable", reason) for row, reason in bad.items()]


def _without(files: list[Found], checked: CheckedFiles, out: set[int]) -> tuple[list[Found], CheckedFiles]:
    keep = [row for row in range(len(files)) if row not in out]
    return [files[row] for row in keep], checked.select(keep)


def _table(
    config: DataConfig,
    root: Path,
    files: list[Found],
    digests: list[str],
    rows: list[Row] | None,
    pairs: list[tuple[int, int]],
) -> ImageTable:
    classes = sorted({f.label for f in files})
    if len(classes) < 2:
        raise SeedsweepError(
            f"{root} has one class only ({', '.join(classes)}): there is nothing to tell apart."
        )
    labels = np.asarray([classes.index(f.label) for f in files], dtype=np.int64)
    paths = [f.path for f in files]
    named = {Path(root, row.path): row.group for row in rows or ()}
    groups = [named.get(path) or "" for path in paths]
    if not all(groups):  # no manifest, or one without the column
        made = joined(groups_of(paths, config.group_regex), pairs)
        if pairs:
            log.info(
                "%d %s one object with another file (the same name in one folder, or its annotation): "
                "each goes into the split of the other",
                len(pairs), "image shows" if len(pairs) == 1 else "images show",
            )  # fmt: skip
        groups = [group or other for group, other in zip(groups, made, strict=True)]
    if files[0].split is None:
        val, test = config.val_fraction, config.test_fraction
        fractions = {"train": 1 - val - test, "val": val, "test": test}
        splits = split_images(labels, groups, classes, fractions, config.split_seed)
    else:
        splits = np.asarray([f.split for f in files])
    table = ImageTable(root, classes, paths, labels, splits, groups, digests)
    lacking = [
        f"Class {name} has no image in the {split} split"
        for split in SPLITS[:2]
        for name, count in table.counts()[split].items()
        if count == 0
    ]
    if lacking:
        why = ": its images fall into too few groups (data.group_regex)." if config.group_regex else "."
        raise SeedsweepError("; ".join(lacking) + why)
    return table
