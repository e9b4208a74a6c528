"""Finds, checks, splits and decodes a run's images, before any training."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from seedsweep.data.annotations import Annotation, same_object, settle_annotations
from seedsweep.data.checked import CheckedFile, FileChecks
from seedsweep.data.corrections import (
    WHY,
    Corrected,
    apply_corrections,
    left_out_by,
    read_given,
    told,
    undone,
    write_corrections,
)
from seedsweep.data.demo import ensure_demo
from seedsweep.data.equal_files import equal_pairs, leave_out_contradicting
from seedsweep.data.folder import Found, check_root, scan_folder
from seedsweep.data.group_file import groups_by_settings
from seedsweep.data.listed import read_listed
from seedsweep.data.manifest import (
    SPLITS,
    ImageTable,
    Row,
    check_manifest,
    read_manifest,
    warn_of_copies,
    write_manifest_once,
)
from seedsweep.data.options import DataConfig
from seedsweep.data.pin import Pin, added, check_content, read_pin, unnamed
from seedsweep.data.pixels import Pixels
from seedsweep.data.split import fold_images, joined, split_images
from seedsweep.data.value_ranges import Ranges, read_ranges, write_ranges
from seedsweep.data.walk import LeftOut, log_left_out, read_left_out, write_left_out
from seedsweep.errors import SeedsweepError
from seedsweep.names import path_of, printable, some

log = logging.getLogger(__name__)


@dataclass
class PreparedImages:
    """The table of a run's images and their pixels, row by row, and the files that are not used."""

    table: ImageTable
    pixels: Pixels
    left_out: list[LeftOut] = field(default_factory=list)
    corrected: Corrected | None = None  # what data.corrections did to them

    def changed(self) -> list[str]:
        """Returns the images whose files have another content now, or are gone."""
        names = dict(zip(self.table.paths, self.table.names(), strict=True))
        return [names.get(path, str(path)) for path in self.pixels.changed()]

    def warn_of_changes(self) -> None:
        """Warns of files that have another content now, or are gone."""
        if changed := self.changed():
            log.warning(
                "%d %s changed or removed while the run went on (%s): its numbers are of the images as they were at "
                "its beginning",
                len(changed), "image was" if len(changed) == 1 else "images were", some(changed),
            )  # fmt: skip


def prepare_images(
    config: DataConfig,
    cache_dir: Path,
    pin: Pin | None = None,
    known: Ranges | None = None,
    checks: FileChecks | None = None,
) -> PreparedImages:
    """Finds, checks, splits and decodes the images.

    Args:
        cache_dir: where the demo photographs are drawn, and where files proved readable are noted.
        pin: the split to go on with, whatever the settings; images that it lacks are left out, with a line.
        known: how images of more than 8 bits are scaled; default: as recorded beside the pin, or by these images alone.
        checks: holds what runs before this one in the same process have read; default: nothing.

    Raises:
        SeedsweepError: anything wrong with the images, in one sentence.
    """
    check_root(config)
    if config.root is None:
        root = ensure_demo(cache_dir, config.demo.n_images, config.demo.seed)
    else:
        root = path_of(config.root).resolve()
    checks = checks or FileChecks()
    rows, listed, left_out = None, None, list[LeftOut]()
    given = Pin.given(config.manifest) if config.manifest and pin is None else None
    corrections = read_given(config.corrections, root, pin) if config.corrections else []
    if pin is not None:
        rows = undone(read_pin(pin, root), corrections, root)
        known = known or read_ranges(pin.values)
        left_out = [each for each in read_left_out(pin.left_out, root) if each.why != WHY]
    elif given is not None:
        rows = read_manifest(given.path, given.name, root)
        check_manifest(rows, root, given.name)
        if more := unnamed(rows, root):
            log.info(
                "%s does not name %d of the images below %s (%s)", given.name, len(more), root, some(more)
            )
    if rows is None and config.name == "table" and config.file:
        listed = read_listed(config.file, root)
    if rows is None and listed is None:
        scan = scan_folder(root)
        files, left_out = scan.found, list(scan.left_out)
    else:
        files = [Found(Path(root, row.path), row.label, row.split or None) for row in rows or listed or []]
    checked = checks.check([file.path for file in files], config, cache_dir)
    log_left_out(left_out)
    if rows and (by := pin or given):
        digests = [file.digest for file in checked]
        check_content(by, rows, root, digests)
        if config.manifest is None and (more := added(rows, root, left_out)):
            log.warning("%s", by.summary_of_more(more))
        elif config.manifest:
            warn_of_copies(rows, digests, Pin.given(config.manifest).name)
    pairs = list(zip(files, checked, strict=True))
    if bad := [pair for pair in pairs if pair[1].bad is not None]:
        left_out += _bad(config, bad, len(files))
        pairs = [pair for pair in pairs if pair[1].bad is None]
    annotations: list[Annotation] = []
    if rows is None:
        files, facts = [file for file, _ in pairs], [each.facts for _, each in pairs]
        annotations, out = settle_annotations(files, facts, root, config.annotations)
        left_out += out
        gone = {each.path for each in out}
        pairs = [pair for pair in pairs if pair[0].path not in gone]
    files, checked = [file for file, _ in pairs], [each for _, each in pairs]
    pixels = checks.scaled(checked, known or Ranges(), config.workers)
    source = printable(str(root))
    if listed:
        source = f"data.file={config.file}"
    elif rows is not None:
        source = f"the manifest of the images below {source}"
    if config.folds and rows is None and files and files[0].split is not None:
        raise SeedsweepError(
            f"data.folds={config.folds} deals all images into folds, but {source} says itself what is validation or "
            "test: give one folder of class folders, or leave data.folds out."
        )
    table = _table(config, root, pairs, rows or listed, same_object(files, annotations), source)
    corrected = None
    if corrections:
        name = f"data.corrections={config.corrections}"
        table, pixels, corrected = apply_corrections(table, pixels, corrections, name)
        _refuse_lacking(table, f": {name} leaves it none.")
        log.info("%s: %s; the files are as they were", name, told(**corrected.counts))
        left_out = left_out + left_out_by(corrected)
        if given is None and config.contradictions == "train":  # as a run without corrections has them
            before, pixels_before, _ = leave_out_contradicting(
                corrected.before, corrected.pixels, everywhere=config.folds is not None
            )
            corrected = replace(corrected, before=before, pixels=pixels_before)
    if rows is None and config.contradictions == "train":
        table, pixels, out = leave_out_contradicting(table, pixels, everywhere=config.folds is not None)
        log_left_out(out)
        left_out = left_out + out
        _refuse_lacking(
            table, ": equal files in two classes are left out (data.contradictions=keep uses them)."
        )
    return PreparedImages(table, pixels, left_out, corrected)


def pinned_images(
    config: DataConfig, cache_dir: Path, pin: Pin, checks: FileChecks | None = None
) -> PreparedImages:
    """Goes on with the images that ``pin`` names; where it is not there yet, finds them and writes it.

    Of several processes that begin together, the first to write it decides for all.

    Raises:
        SeedsweepError: anything wrong with the images, in one sentence.
    """
    checks = checks or FileChecks()
    if not pin.path.is_file():
        prepared = prepare_images(config, cache_dir, checks=checks)
        pin.path.parent.mkdir(parents=True, exist_ok=True)
        # before the manifest, which others wait for
        write_left_out(prepared.left_out, prepared.table.root, pin.left_out)
        write_corrections(prepared.corrected, pin.corrections)
        if write_manifest_once(prepared.table, pin.path):
            # until then others decide alike by the same files
            write_ranges(prepared.pixels.how.ranges, pin.values)
            return prepared
    return prepare_images(config, cache_dir, pin, checks=checks)


def _bad(config: DataConfig, bad: list[tuple[Found, CheckedFile]], total: int) -> list[LeftOut]:
    """Returns the files that can't be read as left out, and says so; raises where ``data.on_bad_image=error``."""
    listed = "; ".join(f"{printable(str(file.path))} ({printable(each.bad or '')})" for file, each in bad)
    if config.on_bad_image == "error":
        raise SeedsweepError(
            f"{len(bad)} of {total} images can't be read; remove them or set data.on_bad_image=skip: {listed}"
        )
    images = "image" if len(bad) == 1 else "images"
    log.warning("skipped %d %s that can't be read: %s", len(bad), images, listed)
    return [LeftOut(file.path, file.label, "unreadable", each.bad or "") for file, each in bad]


def _table(
    config: DataConfig,
    root: Path,
    pairs: list[tuple[Found, CheckedFile]],
    rows: list[Row] | None,
    same: list[tuple[int, int]],
    source: str,
) -> ImageTable:
    """Makes the table of files, of which those in ``same`` show one object, and splits them where nothing else does.

    ``source`` is what a sentence calls that which names the files.
    """
    files = [file for file, _ in pairs]
    classes = sorted({file.label for file in files})
    if len(classes) < 2:
        what = f"one class only ({classes[0]})" if classes else "no image that can be used"
        raise SeedsweepError(f"{source} has {what}: there is nothing to tell apart.")
    labels = np.asarray([classes.index(file.label) for file in files], dtype=np.int64)
    paths = [file.path for file in files]
    named = {Path(root, row.path): row.group for row in rows or ()}
    groups = [named.get(path) or "" for path in paths]
    if not all(groups):  # no manifest, or one without the column
        made = joined(groups_by_settings(config, root, paths), same)
        if same:
            log.info(
                "%d %s one object with another file (the same name in one folder, or its annotation): "
                "each goes into the split of the other",
                len(same), "image shows" if len(same) == 1 else "images show",
            )  # fmt: skip
        if files[0].split is None and config.equal_files == "together":
            equal = equal_pairs([each.digest for _, each in pairs])
            made = joined(made, equal)
            if equal:
                log.info(
                    "%d %s to another: each goes into the split of the other",
                    len(equal),
                    "file is equal" if len(equal) == 1 else "files are equal",
                )
        groups = [group or other for group, other in zip(groups, made, strict=True)]
    if files[0].split is None and config.folds and config.fold is not None:
        splits = fold_images(
            labels, groups, classes, config.folds, config.fold, config.val_fraction, config.split_seed
        )
    elif files[0].split is None:
        val, test = config.val_fraction, config.test_fraction
        fractions = {"train": 1 - val - test, "val": val, "test": test}
        splits = split_images(labels, groups, classes, fractions, config.split_seed)
    else:
        splits = np.asarray([file.split for file in files])
    table = ImageTable(root, classes, paths, labels, splits, groups, [each.digest for _, each in pairs])
    by = "data.group_regex" if config.group is None else "data.group"
    is_drawn = (config.group_regex or config.group) and files[0].split is None
    few = f": its images fall into too few groups ({by})." if is_drawn else "."
    _refuse_lacking(table, few)
    return table


def _refuse_lacking(table: ImageTable, why: str) -> None:
    """Raises SeedsweepError where a class has no image in training or validation; ``why`` ends the sentence."""
    lacking = [
        f"Class {name} has no image in the {split} split"
        for split in SPLITS[:2]
        for name, count in table.counts()[split].items()
        if count == 0
    ]
    if lacking:
        raise SeedsweepError("; ".join(lacking) + why)
