"""Finds the labelled images below a folder."""

from __future__ import annotations

import difflib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

from seedsweep.data.image_formats import listed
from seedsweep.data.options import DataConfig
from seedsweep.data.walk import LeftOut, Walked, folders_in, loose_files, sentences, walk
from seedsweep.errors import SeedsweepError
from seedsweep.names import class_of, path_of, printable, some

log = logging.getLogger(__name__)

SPLIT_NAMES = {
    "train": ("train", "training", "training_set", "train_set"),
    "val": ("val", "valid", "validation", "validation_set", "valid_set", "val_set", "dev"),
    "test": ("test", "testing", "test_set"),
}
NO_CLASS = "it lies in no class folder"
MOST_NAMES = 6  # of folders in a warning


@dataclass(frozen=True)
class Found:
    """An image file, its class, and its split where it lies in a split's folder."""

    path: Path
    label: str
    split: str | None


@dataclass(frozen=True)
class Scan:
    """The images of a folder, and the files that are not used."""

    found: list[Found]
    left_out: list[LeftOut]


def check_root(config: DataConfig) -> None:
    """Checks what can be known of ``data.root`` without reading images.

    Raises:
        SeedsweepError: it is missing, is no folder, or would not be read at all.
    """
    if config.name == "table" and not config.file:
        raise SeedsweepError(
            "data.file is not set: give the CSV or Parquet file of your images with data.file=FILE."
        )
    if config.name != "table" and config.file:
        raise SeedsweepError(
            f"data.file={config.file} is read by data=table alone: take that, or leave data.file out."
        )
    if config.name == "demo":
        if config.root is not None:
            raise SeedsweepError(
                f"data.root={config.root} is not read by data=demo: take data=folder for your own images, "
                "or leave data.root out."
            )
        return
    if not config.root:
        raise SeedsweepError("data.root is not set: give the folder of your images with data.root=DIR.")
    root = path_of(config.root).resolve()
    if root.is_dir():
        return
    there = [each.name for each in root.parent.iterdir() if each.is_dir()] if root.parent.is_dir() else []
    near = difflib.get_close_matches(root.name, there, 1)
    hint = f"; did you mean {root.parent / near[0]}?" if near else "; give a folder with data.root=DIR."
    raise SeedsweepError(f"data.root={root} is no folder{hint}")


def scan_folder(root: Path) -> Scan:
    """Lists the images of ``root/<class>/**`` or ``root/{train,val,test}/<class>/**``, folder by folder in
    the order of their names, the same each time.

    A folder called ``train`` is a split if it holds class folders and one for validation or testing stands beside it;
    a class if it holds images directly and other classes stand beside it.

    Raises:
        SeedsweepError: no images, no validation folder, classes that differ between splits, or folders that could be
            meant in two ways.
    """
    top = {folder: walk(folder, class_of(folder.name)) for folder in folders_in(root)}
    loose = loose_files(root)
    left_out = loose.left_out + [LeftOut(path, "", "image(s)", NO_CLASS) for path in loose.images]
    by_split = {
        split: [folder for folder in top if folder.name.lower() in names]
        for split, names in SPLIT_NAMES.items()
    }
    if _are_splits(root, top, by_split):
        found, others = _of_splits(root, top, by_split)
    else:
        found, others = [], [each for below in top.values() for each in below.left_out]
        for folder, below in top.items():
            found += [Found(path, class_of(folder.name), None) for path in below.images]
        _log_forms([class_of(folder.name) for folder in top])
        _warn_of_folders_within(root, top)
        empty = {class_of(folder.name) for folder in top} - {each.label for each in found}
        if found and empty:
            names = ", ".join(sorted(empty))
            log.warning("folders of %s without an image are no classes: %s", printable(str(root)), names)
    left_out += others
    if not found:
        raise SeedsweepError(
            f"{printable(str(root))} holds no images in class folders: {_what_is_there(root, left_out)}."
        )
    return Scan(found, left_out)


def _are_splits(root: Path, top: dict[Path, Walked], by_split: dict[str, list[Path]]) -> bool:
    """Says whether the folders called train, val, ... are splits; if not, they are classes.

    Raises:
        SeedsweepError: they could be either, or no folder is for validation.
    """
    train = [folder for folder in by_split["train"] if top[folder].images]
    if not train:
        return False
    splits = [folder for folders in by_split.values() for folder in folders]
    others = [folder for folder, below in top.items() if below.images and folder not in splits]
    nested = any(path.parent != folder for folder in train for path in top[folder].images)
    if not nested and others:
        return False
    first, name, val = printable(str(train[0])), printable(train[0].name), printable(str(root / "val"))
    rename = f"give its folder another name, such as class_{name}"
    if not nested:
        raise SeedsweepError(
            f"{first} holds images but no class folders: make a folder for each class in it; if {name} is itself a "
            f"class, {rename}."
        )
    if others and not any(top[folder].images for folder in by_split["val"] + by_split["test"]):
        raise SeedsweepError(
            f"{first} holds folders of images, and {printable(others[0].name)} stands beside it: if {name} is the "
            f"training split, add a folder {val}; if it is a class, {rename}."
        )
    if not by_split["val"]:
        raise SeedsweepError(
            f"{printable(str(root))} has a training folder but none for validation: add {val}, or put all classes "
            "directly into one folder and seedsweep splits them."
        )
    return True


def _of_splits(
    root: Path, top: dict[Path, Walked], by_split: dict[str, list[Path]]
) -> tuple[list[Found], list[LeftOut]]:
    """Takes the folders in each split's folder as classes."""
    found: list[Found] = []
    left_out: list[LeftOut] = []
    for split, folders in by_split.items():
        for folder in folders:
            classes = {each.name: class_of(each.name) for each in folders_in(folder)}
            _log_forms(list(classes.values()))
            for path in top[folder].images:
                first, *below = path.relative_to(folder).parts
                if below:
                    found.append(Found(path, classes[first], split))
                else:
                    left_out.append(LeftOut(path, "", "image(s)", NO_CLASS))
            for each in top[folder].left_out:
                first, *below = each.path.relative_to(folder).parts
                left_out.append(replace(each, label=classes.get(first, "") if below else ""))
    splits = [folder for folders in by_split.values() for folder in folders]
    for folder in (each for each in top if each not in splits):
        why = f"folder {printable(folder.name)} is none of train, val, test"
        left_out += [LeftOut(path, "", "image(s)", why) for path in top[folder].images]
    classes_of = {split: {each.label for each in found if each.split == split} for split in SPLIT_NAMES}
    train = classes_of["train"]
    for split in ("val", "test"):
        if (those := classes_of[split]) and those != train:
            lacks = [f"{name} is missing in {split}" for name in sorted(train - those)]
            lacks += [f"{name} is missing in train" for name in sorted(those - train)]
            raise SeedsweepError(
                f"The classes of {printable(str(root))} differ between train and {split}: {', '.join(lacks)}."
            )
    return found, left_out


def _warn_of_folders_within(root: Path, top: dict[Path, Walked]) -> None:
    """Warns where each class holds folders of images and none beside them: the root may be a level too high."""
    within = {
        folder: sorted({path.relative_to(folder).parts[0] for path in below.images if path.parent != folder})
        for folder, below in top.items()
        if below.images
    }
    direct = any(path.parent == folder for folder, below in top.items() for path in below.images)
    if direct or not any(len(folders) > 1 for folders in within.values()):
        return
    first = max(within, key=lambda folder: len(within[folder]))
    log.warning(
        "%s are taken as classes, but hold folders of images (%s: %s); if those are the classes, give data.root=%s",
        ", ".join(printable(folder.name) for folder in within), printable(first.name),
        some(within[first], MOST_NAMES), printable(str(first)),
    )  # fmt: skip


def _log_forms(classes: list[str]) -> None:
    """Logs which folders are one class, as their names differ in the form of Unicode alone."""
    if twice := sorted({name for name in classes if classes.count(name) > 1}):
        log.info(
            "folders whose names differ in the form of Unicode alone are one class: %s", ", ".join(twice)
        )


def _what_is_there(root: Path, left_out: list[LeftOut]) -> str:
    """Says what to do about a folder in which no image was found."""
    if any(each.what == "image(s)" for each in left_out):
        return "its images lie in the folder itself; make a folder for each class in it"
    expected = f"expected {printable(str(root))}/<class>/<file> with {listed()} files"
    return f"{expected}, found {'; '.join(sentences(left_out))}" if left_out else expected
