"""Nothing is passed over silently: every file below the data's folder is used, or named with its reason."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_data_folder import make, prepare

from seedsweep.data import image_formats
from seedsweep.data.folder import scan_folder
from seedsweep.data.manifest import read_manifest, write_manifest
from seedsweep.data.walk import LeftOut, read_left_out, sentences, walk, write_left_out
from seedsweep.errors import DamagedError, SeedsweepError


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    return make(tmp_path / "seeds", {"a": 6, "b": 6})


def test_suffixes_of_readable_formats_are_read(seeds: Path):
    for suffix in (".jfif", ".jpe", ".gif", ".avif", ".jp2", ".ppm", ".pgm", ".heic"):
        kind = "JPEG" if suffix in (".jfif", ".jpe") else None
        image_formats.formats()  # makes HEIF known
        Image.fromarray(np.random.default_rng(1).integers(0, 255, (20, 20, 3), np.uint8)).convert(
            "L" if suffix == ".pgm" else "RGB"
        ).save(seeds / "a" / f"x{suffix[1:]}{suffix}", kind)
    scan = scan_folder(seeds)
    assert len(scan.found) == 20
    assert not scan.left_out
    assert len(prepare(seeds).table.paths) == 20


def test_what_can_not_be_read_is_counted_by_suffix_and_class(
    seeds: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(image_formats, "suffixes", lambda: frozenset({".png"}))
    monkeypatch.setattr("seedsweep.data.walk.suffixes", image_formats.suffixes)
    for name in ("a/1.HEIC", "a/2.heic", "b/3.heic", "a/4.cr2", "b/5.psd", "a/6.avif"):
        (seeds / name).write_bytes(b"...")
    Image.new("RGB", (9, 9)).save(seeds / "a" / "7", "JPEG")
    Image.new("RGB", (9, 9)).save(seeds / "b" / "8.dat", "PNG")
    (seeds / "a" / "notes.txt").write_text("no image")
    os.mkfifo(seeds / "b" / "pipe.png")
    (seeds / "b" / "gone").symlink_to("nowhere")
    (seeds / "b" / "circle").symlink_to("circle")
    (seeds / "circle").symlink_to("circle")
    prepared = prepare(seeds)
    assert len(prepared.table.paths) == 12
    told = caplog.text
    assert "left out: 2 .heic of class a, 1 of class b (install seedsweep[heif])" in told
    assert "1 .cr2 of class a (raw files of cameras are not read" in told
    assert "1 .psd of class b" in told
    assert "1 .avif of class a (the installed Pillow can't read it)" in told
    assert "1 without a suffix, JPEG of class a (rename it" in told
    assert "1 .dat that is PNG of class b (rename it" in told
    assert "1 special file(s) of class b (no regular file" in told
    assert "1 link(s), 2 of class b (it leads to nothing)" in told or "2 link(s) of class b, 1 (" in told
    assert "notes" not in told


def test_litter_is_left_out_and_said(seeds: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    for place in ("a/@eaDir/x", "a/.thumbnails", "__MACOSX/a", "@eaDir", "b/Previews.lrdata/1"):
        folder = seeds / place
        folder.mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(folder / "SYNOPHOTO_THUMB_M.png")
    for name in ("a/._x.png", "a/Thumbs.db", ".DS_Store", "b/.hidden.jpg"):
        (seeds / name).write_bytes(b"...")
    prepared = prepare(seeds)
    assert len(prepared.table.paths) == 12
    assert prepared.table.classes == ["a", "b"]
    (line,) = [r.message for r in caplog.records if "left out" in r.message]
    for said in (
        "1 image(s) in @eaDir, 1 of class a", "1 image(s) in .thumbnails of class a", "1 image(s) in __MACOSX",
        "1 image(s) in *.lrdata of class b", "1 ._* of class a", "1 Thumbs.db of class a", "1 .DS_Store",
        "1 hidden of class b",
    ):  # fmt: skip
        assert said in line
    assert all(record.levelname == "INFO" for record in caplog.records)


def test_a_line_names_few_classes():
    many = [LeftOut(Path(f"{n}.cr2"), f"c{n}", ".cr2", "raw") for n in range(9)]
    assert sentences([*many, many[0]])[0].startswith("2 .cr2 of class c0, 1 of class c1")
    assert sentences(many)[0].endswith("1 of class c4, 4 of 4 more classes (raw)")


def test_the_list_is_written_and_read(tmp_path: Path):
    odd = os.fsdecode(b"a/caf\xe9,\n.cr2")
    there = [LeftOut(tmp_path / odd, "a", ".cr2", "raw"), LeftOut(tmp_path / "b", "", ".DS_Store")]
    write_left_out(there, tmp_path, tmp_path / "left_out.csv")
    assert read_left_out(tmp_path / "left_out.csv", tmp_path) == there
    write_left_out([], tmp_path, tmp_path / "none.csv")
    write_left_out([], tmp_path, tmp_path / "left_out.csv")  # nothing is left out any more
    assert not (tmp_path / "left_out.csv").exists()
    assert read_left_out(tmp_path / "none.csv", tmp_path) == []


def test_a_folder_that_can_not_be_opened_is_named(seeds: Path, monkeypatch: pytest.MonkeyPatch):
    (seeds / "a" / "deep").mkdir()
    real = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr("seedsweep.data.walk.os.scandir", refusing)
    assert [each.why for each in walk(seeds, "a").left_out] == ["can't be opened: Permission denied"]


def test_images_outside_of_classes_and_splits_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    make(tmp_path / "train", {"a": 4, "b": 4})
    make(tmp_path / "val", {"a": 4, "b": 4})
    make(tmp_path, {"extra": 3, "val": 2})
    make(tmp_path / "extra", {"more": 1})
    assert len(prepare(tmp_path).table.paths) == 16
    assert "2 image(s) (it lies in no class folder)" in caplog.text
    assert "4 image(s) (folder extra is none of train, val, test)" in caplog.text


def test_a_class_called_train_is_a_class(tmp_path: Path):
    make(tmp_path, {"train": 6, "bus": 6, "test": 6})
    assert prepare(tmp_path).table.classes == ["bus", "test", "train"]


def nested(root: Path, *names: str) -> Path:
    for name in names:
        make(root / name, {"x": 4, "y": 4})
    return root


AMBIGUOUS = {
    "train holds images but no class folders": lambda p: make(p, {"train": 5, "val": 5}),
    "bus stands beside it: if train is the training split, add": lambda p: make(
        nested(p, "train"), {"bus": 5}
    ),
    "a training folder but none for validation": lambda p: nested(p, "train", "test"),
}


@pytest.mark.parametrize("sentence", AMBIGUOUS)
def test_folders_that_could_be_either_are_asked_about(sentence: str, tmp_path: Path):
    with pytest.raises(SeedsweepError, match=sentence):
        scan_folder(AMBIGUOUS[sentence](tmp_path))


def test_splits_stay_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    make(
        nested(tmp_path, "train", "val"), {"test": 3, "train": 1}
    )  # images for a competition, without classes
    assert prepare(tmp_path).table.counts()["test"] == {"x": 0, "y": 0}
    assert "4 image(s) (it lies in no class folder)" in caplog.text


def test_both_forms_of_unicode_are_one_class(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    make(tmp_path / "a" / "train", {composed: 4, "b": 4})
    make(tmp_path / "a" / "val", {apart: 4, "b": 4})
    assert prepare(tmp_path / "a").table.counts()["val"] == {"b": 4, composed: 4}
    make(tmp_path / "one", {composed: 4, apart: 5, "b": 9}, prefix="other")
    assert sum(prepare(tmp_path / "one").table.labels == 1) == 9
    assert "are one class: café" in caplog.text


def test_names_of_any_bytes(tmp_path: Path):
    names = ["caf\udce9", " spaces ", "a,b~c=d", "new\nline", "x" * 200, "$(rm)", "'\""]
    make(tmp_path / "seeds", {"a": 8, "b\udce9": 8})
    for number, name in enumerate(names):
        (tmp_path / "seeds" / "a" / f"img0_{number % 4}.png").rename(
            tmp_path / "seeds" / "a" / f"{name}.png"
        ) if (number < 4) else (tmp_path / "seeds" / "a" / f"img1_{number}.png").rename(
            tmp_path / "seeds" / "a" / f"{name}.png"
        )
    table = prepare(tmp_path / "seeds").table
    assert table.classes == ["a", "b\\xe9"]
    write_manifest(table, tmp_path / "m.csv")
    rows = read_manifest(tmp_path / "m.csv")
    assert {row.path for row in rows} >= {f"a/{name}.png" for name in names}
    again = prepare(tmp_path / "seeds", manifest=None).table
    assert again.split_digest() == table.split_digest()


def test_all_small_classes_are_named_at_once(tmp_path: Path):
    make(tmp_path, {"a": 9, "c": 1, "d": 2, "e": 1})
    with pytest.raises(
        SeedsweepError, match="Class c has 1 image, d has 2, e has 1, fewer than the 3 splits"
    ):
        prepare(tmp_path)


def test_what_lies_in_splits_has_its_class(tmp_path: Path):
    make(tmp_path / "train", {"a": 4, "b": 4})
    make(tmp_path / "val", {"a": 4, "b": 4})
    for place in ("train/a/deep/x.cr2", "val/x.cr2", "train/@eaDir/x.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"...")
    found = {
        each.path.relative_to(tmp_path).as_posix(): each.label for each in scan_folder(tmp_path).left_out
    }
    assert found == {"train/a/deep/x.cr2": "a", "val/x.cr2": "", "train/@eaDir/x.png": ""}


def test_a_damaged_list_is_one_sentence(tmp_path: Path):
    (tmp_path / "left_out.csv").write_text("path,class,what,why\n" + "x" * 140_000 + ",a,b,c\n")
    with pytest.raises(
        DamagedError, match=r"left_out.csv is damaged, or no CSV file \(field larger .*\): put back"
    ):
        read_left_out(tmp_path / "left_out.csv", tmp_path)
