"""Finds the labelled images below a folder."""

from __future__ import annotations

import difflib
import logging
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from seedsweep.config.schema import DataConfig
from seedsweep.errors import SeedsweepError

log = logging.getLogger(__name__)

# here, for the module that decodes them needs PyTorch, which takes seconds, and a wrong path is told before
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
SPLIT_NAMES = {
    "train": ("train", "training", "training_set", "train_set"),
    "val": ("val", "valid", "validation", "validation_set", "valid_set", "val_set", "dev"),
    "test": ("test", "testing", "test_set"),
}


@dataclass(frozen=True)
class Found:
    """An image file, its class, and its split where the folders tell it."""

    path: Path
    label: str
    split: str | None


def check_root(config: DataConfig) -> None:
    """Checks what can be known of ``data.root`` without reading images.

    Raises:
        SeedsweepError: it is missing, is no folder, or would not be read at all.
    """
    if config.name == "demo":
        if config.root is not None:
            raise SeedsweepError(
                f"data.root={config.root} is not read by data=demo: add data=folder for your own images."
            )
        return
    if config.root is None:
        raise SeedsweepError("data.root is not set: give the folder of your images with data.root=DIR.")
    root = Path(config.root).expanduser().resolve()
    if root.is_dir():
        return
    near = []
    if root.parent.is_dir():
        near = difflib.get_close_matches(root.name, [p.name for p in root.parent.iterdir() if p.is_dir()], 1)
    hint = f"; did you mean {root.parent / near[0]}?" if near else "; give a folder with data.root=DIR."
    raise SeedsweepError(f"data.root={root} is no folder{hint}")


def scan_folder(root: Path) -> list[Found]:
    """Lists the images of ``root/<class>/**`` or ``root/{train,val,test}/<class>/**``, sorted by path.

    Hidden files and files without an image's suffix are passed over.

    Args:
        root: an existing folder.

    Raises:
        SeedsweepError: no images, no validation folder, or classes that differ between splits.
    """
    top = _folders(root)
    by_split = {
        split: [folder for folder in top if folder.name.lower() in names]
        for split, names in SPLIT_NAMES.items()
    }
    if not by_split["train"]:
        found = [Found(path, folder.name, None) for folder in top for path in images_below(folder)]
    else:
        if not by_split["val"]:
            raise SeedsweepError(
                f"{root} has a training folder but none for validation: add {root / 'val'}, or put all classes "
                "directly into one folder and seedsweep splits them."
            )
        found = [
            Found(path, label.name, split)
            for split, folders in by_split.items()
            for folder in folders
            for label in _folders(folder)
            for path in images_below(label)
        ]
        _same_classes(found, root)
    if not found:
        raise SeedsweepError(f"{root} holds no images in class folders: {_what_is_there(root)}.")
    if not by_split["train"] and (empty := {folder.name for folder in top} - {f.label for f in found}):
        log.warning("folders of %s without an image are no classes: %s", root, ", ".join(sorted(empty)))
    return found


def _what_is_there(root: Path) -> str:
    """Says what to do about a folder in which no image was found."""
    if any(p.is_file() and p.suffix.lower() in SUFFIXES for p in root.iterdir()):
        return "its images lie in the folder itself; make a folder for each class in it"
    kinds = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
    expected = f"expected {root}/<class>/<file> with {kinds} files"
    others = Counter(p.suffix.lower() for p in root.rglob("*") if p.is_file() and p.suffix)
    seen = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(3))
    return f"{expected}, found {seen}" if seen else expected


def _same_classes(found: list[Found], root: Path) -> None:
    classes = {split: {f.label for f in found if f.split == split} for split in SPLIT_NAMES}
    for split in ("val", "test"):
        if classes[split] and classes[split] != classes["train"]:
            lacks = [f"{name} is missing in {split}" for name in sorted(classes["train"] - classes[split])]
            lacks += [f"{name} is missing in train" for name in sorted(classes[split] - classes["train"])]
            raise SeedsweepError(
                f"The classes of {root} differ between train and {split}: {', '.join(lacks)}."
            )


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def images_below(folder: Path) -> list[Path]:
    """Lists the files with an image's suffix below ``folder``, at any depth, sorted; hidden ones are passed over."""
    found = []
    # a link may lead back to where the walk comes from, or to the folder of all classes
    real_folder = Path(os.path.realpath(folder))
    above = {str(folder): {str(real_folder), *map(str, real_folder.parents)}}
    for base, folders, files in os.walk(folder, followlinks=True):
        way = above.pop(base)
        real = {name: os.path.realpath(os.path.join(base, name)) for name in folders}
        folders[:] = sorted(name for name in folders if not name.startswith(".") and real[name] not in way)
        above |= {os.path.join(base, name): way | {real[name]} for name in folders}
        found += [
            Path(base, name)
            for name in sorted(files)
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES
        ]
    return found
