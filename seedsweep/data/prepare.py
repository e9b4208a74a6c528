"""From the configuration to a checked, split and decoded set of images, before any training."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedsweep.config.schema import DataConfig
from seedsweep.data.demo import ensure_demo
from seedsweep.data.folder import Found, check_root, scan_folder
from seedsweep.data.pixels import Pixels, digest_files
from seedsweep.data.readable import known_readable, remember_readable
from seedsweep.data.split import groups_of, split_images
from seedsweep.data.table import SPLITS, ImageTable, read_manifest
from seedsweep.errors import SeedsweepError

log = logging.getLogger(__name__)


@dataclass
class PreparedImages:
    """The table of a run's images and their pixels, row by row."""

    table: ImageTable
    pixels: Pixels


def prepare_images(config: DataConfig, cache_dir: Path) -> PreparedImages:
    """Finds, checks, splits and decodes the images.

    Args:
        config: the data settings.
        cache_dir: where the demo photographs are drawn, and where files proved readable are noted.

    Raises:
        SeedsweepError: anything wrong with the images, in one sentence.
    """
    check_root(config)
    if config.root is None:
        root = ensure_demo(cache_dir, config.demo.n_images, config.demo.seed)
    else:
        root = Path(config.root).expanduser().resolve()
    found = _from_manifest(Path(config.manifest), root) if config.manifest else scan_folder(root)
    files = tuple(found)
    size = (config.image_size[0], config.image_size[1])
    stamps = tuple(_stamp(f.path) for f in files)
    pixels, digests, bad = _proved(files, stamps, size, config.cache_gib, config.workers, cache_dir)
    if bad:
        files, pixels, digests = _without_bad(config, files, pixels, digests, bad)
    return PreparedImages(_table(config, root, files, digests), pixels)


def _stamp(path: Path) -> tuple[int, int] | None:
    """Returns time and size of a file; None if it is gone or a link to nothing."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size


@lru_cache(maxsize=1)  # the jobs of a grid read the files once
def _proved(
    files: tuple[Found, ...],
    stamps: object,
    size: tuple[int, int],
    cache_gib: float,
    workers: int,
    cache_dir: Path,
) -> tuple[Pixels, list[str], dict[int, str]]:
    """Digests every file, and decodes those that were never decoded before."""
    paths = [f.path for f in files]
    digests, bad = digest_files(paths, workers)
    pixels = Pixels(paths, size, keep=len(paths) * 3 * size[0] * size[1] <= cache_gib * 2**30)
    known = known_readable(cache_dir)
    unproved = [row for row, digest in enumerate(digests) if digest and digest not in known]
    bad |= pixels.read(unproved, workers)
    if proved := {digests[row] for row in unproved if row not in bad}:
        remember_readable(cache_dir, sorted(proved))
    return pixels, digests, dict(sorted(bad.items()))


def _without_bad(
    config: DataConfig, files: tuple[Found, ...], pixels: Pixels, digests: list[str], bad: dict[int, str]
) -> tuple[tuple[Found, ...], Pixels, list[str]]:
    listed = "; ".join(f"{files[row].path} ({reason})" for row, reason in bad.items())
    if config.on_bad_image == "error":
        raise SeedsweepError(
            f"{len(bad)} of {len(files)} images can't be read; remove them or set data.on_bad_image=skip: {listed}"
        )
    images = "image" if len(bad) == 1 else "images"
    log.warning("skipped %d %s that can't be read: %s", len(bad), images, listed)
    keep = [row for row in range(len(files)) if row not in bad]
    return tuple(files[row] for row in keep), pixels.select(keep), [digests[row] for row in keep]


def _table(config: DataConfig, root: Path, files: tuple[Found, ...], digests: list[str]) -> ImageTable:
    classes = sorted({f.label for f in files})
    if len(classes) < 2:
        raise SeedsweepError(
            f"{root} has one class only ({', '.join(classes)}): there is nothing to tell apart."
        )
    labels = np.asarray([classes.index(f.label) for f in files], dtype=np.int64)
    paths = [f.path for f in files]
    groups = groups_of(paths, config.group_regex)
    splits = _divided(files, tuple(groups), config.val_fraction, config.test_fraction, config.split_seed)
    table = ImageTable(root, classes, paths, labels, splits, groups, digests)
    if config.manifest:
        _check_digests(Path(config.manifest), table)
    for split in SPLITS[:2]:
        for name, count in table.counts()[split].items():
            if count == 0:
                raise SeedsweepError(
                    f"Class {name} has no image in the {split} split"
                    + (
                        ": its images fall into too few groups (data.group_regex)."
                        if config.group_regex
                        else "."
                    )
                )
    return table


@lru_cache(maxsize=4)  # the trials of a study divide the same files in the same way
def _divided(
    files: tuple[Found, ...], groups: tuple[str, ...], val: float, test: float, seed: int
) -> NDArray[np.str_]:
    """Returns each file's split."""
    if files[0].split is None:
        classes = sorted({f.label for f in files})
        labels = np.asarray([classes.index(f.label) for f in files], dtype=np.int64)
        fractions = {"train": 1 - val - test, "val": val, "test": test}
        splits = split_images(labels, groups, classes, fractions, seed)
    else:
        splits = np.asarray([f.split for f in files])
    splits.flags.writeable = False
    return splits


def _from_manifest(manifest: Path, root: Path) -> list[Found]:
    found = [Found(root / row["path"], row["class"], row["split"]) for row in read_manifest(manifest)]
    missing = [f.path for f in found if not f.path.is_file()]
    if missing:
        raise SeedsweepError(
            f"data.manifest={manifest} names {len(missing)} files that are not below {root}, first {missing[0]}."
        )
    return found


def _check_digests(manifest: Path, table: ImageTable) -> None:
    rows = {row["path"]: row for row in read_manifest(manifest)}
    groups = []
    for path, digest in zip(table.paths, table.digests, strict=True):
        row = rows[path.relative_to(table.root).as_posix()]
        groups.append(row["group"])
        if row["digest"] != digest:
            raise SeedsweepError(
                f"data.manifest={manifest}: {path} has changed since the manifest was written."
            )
    table.groups = groups
