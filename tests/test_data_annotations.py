"""Masks and label images are no photographs: asked about, left out or kept, and never on both sides of a split."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from test_data_folder import prepare as prepare_folder

from seedsweep.data.annotations import find_annotations
from seedsweep.data.checked import Facts
from seedsweep.data.folder import Found
from seedsweep.data.prepare import PreparedImages
from seedsweep.data.split import joined
from seedsweep.data.walk import sentences
from seedsweep.errors import SeedsweepError

SIDE = 64


def prepare(root: Path, **settings: object) -> PreparedImages:
    """Prepares folders in which classes share equal files."""
    return prepare_folder(root, equal_files="apart", contradictions="keep", **settings)


def photograph(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(abs(hash(path.name)) + seed).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    Image.fromarray(noise).save(path)


def mask(path: Path, values: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", (SIDE, SIDE))
    for number in range(1, values):
        ImageDraw.Draw(image).ellipse((4 * number, 4 * number, 40, 40), fill=255 // number)
    image.save(path)


def tiles(root: Path) -> Path:
    for name in ("a", "b"):
        for number in range(8):
            photograph(root / name / f"{number}.jpg")
            mask(root / name / f"{number}.png", 1 if name == "a" else 2)  # good tiles have empty masks
    return root


def beside(root: Path, named: str) -> Path:
    for name in ("a", "b"):
        for number in range(6):
            photograph(root / name / f"x ({number}).png")
            mask(root / name / f"{named.format(f'x ({number})')}.png", 4)
    return root


def folders(root: Path, masks: str) -> Path:
    for name in ("a", "b"):
        for number in range(6):
            photograph(root / name / f"{number}.png")
            mask(root / name / masks / f"{number}.png", 3)
    return root


def as_classes(root: Path) -> Path:
    for number in range(8):
        photograph(root / "images" / f"{number}.png")
        photograph(root / "more" / f"m{number}.png")
        mask(root / "masks" / f"{number}.png")
    return root


LAID_OUT = {
    "same name": (
        tiles,
        "16 of 32 images look like masks .*: 16 beside an image of the same name .such as a/0.png",
    ),
    "behind": (lambda p: beside(p, "{}_mask"), "12 called ..._mask"),
    "numbered": (lambda p: beside(p, "{}_mask_1"), "12 called ..._mask .such as a/x .0._mask_1.png"),
    "before": (lambda p: beside(p, "gt-{}"), "12 called gt-..."),
    "folder": (lambda p: folders(p, "Masks"), "12 in a folder for annotations .such as a/Masks/0.png"),
    "ground truth": (lambda p: folders(p, "ground_truth"), "12 in a folder for annotations"),
    "class": (as_classes, "8 in a folder for annotations .such as masks/0.png"),
}


@pytest.mark.parametrize("how", LAID_OUT)
def test_they_are_asked_about(how: str, tmp_path: Path):
    lay, sentence = LAID_OUT[how]
    with pytest.raises(SeedsweepError, match=sentence) as caught:
        prepare(lay(tmp_path / "d"))
    assert "data.annotations=skip" in str(caught.value)
    assert "data.annotations=keep" in str(caught.value)


@pytest.mark.parametrize("how", LAID_OUT)
def test_left_out_or_kept_on_one_side(how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    root = LAID_OUT[how][0](tmp_path / "d")
    every = sorted(path for path in root.rglob("*.*"))
    skipped = prepare(root, annotations="skip")
    masks = {each.path for each in skipped.left_out}
    assert set(skipped.table.paths) | masks == set(every)
    assert not masks & set(skipped.table.paths)
    assert "annotation(s) of class" in caplog.text
    assert "annotation(s)" in sentences(skipped.left_out)[0]
    kept = prepare(root, annotations="keep").table
    split = {path: split for path, split in zip(kept.paths, kept.splits, strict=True)}
    assert len(split) == len(every)
    side = {}
    for path in every:
        stem = path.stem.replace("_mask", "").replace("gt-", "").removesuffix("_1")
        key = (
            stem if "masks" in str(path) or "images" in str(path) else (path.relative_to(root).parts[0], stem)
        )
        side.setdefault(key, set()).add(split[path])
    assert all(len(sides) == 1 for sides in side.values())


def test_two_formats_of_a_photograph_stay_together(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    for name in ("a", "b"):
        for number in range(10):
            photograph(tmp_path / name / f"{number}.jpg")
            Image.open(tmp_path / name / f"{number}.jpg").save(tmp_path / name / f"{number}.png")
    table = prepare(tmp_path).table
    assert len(set(table.groups)) == 20
    side: dict[tuple[str, str], set[str]] = {}
    for path, split in zip(table.paths, table.splits, strict=True):
        side.setdefault((path.parent.name, path.stem), set()).add(split)
    assert all(len(sides) == 1 for sides in side.values())
    assert "20 images show one object with another file" in caplog.text


def test_black_and_white_scans_are_data(tmp_path: Path):
    for name in ("a", "b"):
        for number in range(8):
            mask(tmp_path / name / f"{number}.png")
    assert len(prepare(tmp_path).table.paths) == 16


def test_a_few_two_valued_images_among_photographs_are_asked_about(tmp_path: Path):
    for name in ("a", "b"):
        for number in range(8):
            photograph(tmp_path / name / f"{number}.png")
        mask(tmp_path / name / "other.png")
    with pytest.raises(SeedsweepError, match=r"2 of 18 images .* 2 of two values only"):
        prepare(tmp_path)


@pytest.mark.parametrize("name", ["mask", "labels", "no_mask"])
def test_a_class_of_photographs_may_be_called_so(name: str, tmp_path: Path):
    for label in (name, "other"):
        for number in range(6):
            photograph(tmp_path / label / f"{label}{number}.png")
    assert prepare(tmp_path).table.classes == sorted((name, "other"))


def test_groups_join():
    assert joined(["a", "b", "c", "d"], [(0, 1), (2, 3), (3, 1)]) == ["c", "c", "c", "c"]
    assert joined(["a", "a", "b"], []) == ["a", "a", "b"]


def test_one_name_in_both_forms_of_unicode_is_one_object(tmp_path: Path):
    for name in ("a", "b"):
        for number in range(6):
            for form in ("NFC", "NFD"):
                photograph(tmp_path / name / f"{unicodedata.normalize(form, 'é')}{number}.png")
    table = prepare(tmp_path).table
    assert len(table.paths) == 24
    assert len(set(table.groups)) == 12


def test_a_mask_is_never_its_own_partner(tmp_path: Path):
    """Two photographs in form, one of them in a folder for annotations, in whatever order they are found."""
    root = tmp_path / "d"
    for name in ("a", "b"):
        for number in range(8):
            photograph(root / name / "gt" / f"{number}.jpg")
            photograph(root / name / "images" / f"{number}.jpg", 1)
            photograph(root / name / "zz" / f"z{number}.jpg", 1)
    table = prepare(root, annotations="keep").table
    sides: dict[str, set[str]] = {}
    for path, split in zip(table.paths, table.splits, strict=True):
        sides.setdefault(f"{path.parents[1].name}/{path.name}", set()).add(str(split))
    assert all(len(each) == 1 for each in sides.values())
    found = find_annotations(
        [Found(path, path.parents[1].name, None) for path in table.paths], [Facts()] * 48
    )
    assert len(found) == 16
    assert all(table.paths[each.of].parent.name == "images" for each in found if each.of is not None)
    assert all(each.of is not None for each in found)
