"""Manifests that people give: what is understood, what is said, and what is refused with its line."""

import csv
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_data_folder import make, prepare

from seedsweep.data.manifest import write_manifest
from seedsweep.data.options import DataConfig
from seedsweep.data.pin import Pin
from seedsweep.data.prepare import PreparedImages, pinned_images, prepare_images
from seedsweep.errors import SeedsweepError

SPLITS = ("train", "train", "val", "test")
NAMES = ("é_1.png", "x_2.png", "x_3.png", "x_4.png")
FULL = ("path", "class", "split", "group", "digest")
Rows = list[list[str]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for label in ("gut", "schön"):
        (root / label).mkdir()
        for name in NAMES:
            Image.fromarray(rng.integers(0, 255, (20, 20, 3), np.uint8)).save(root / label / name)
    return root


def table(columns: tuple[str, ...] = FULL[:3]) -> Rows:
    rows = [
        [f"{label}/{name}", label, split, "", ""]
        for label in ("gut", "schön")
        for name, split in zip(NAMES, SPLITS, strict=True)
    ]
    return [list(columns), *[row[: len(columns)] for row in rows]]


def written(rows: Rows, path: Path, encoding: str = "utf-8", delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def read(root: Path, manifest: Path, **others: object) -> PreparedImages:
    config = DataConfig(name="folder", root=str(root), image_size=[16, 16], manifest=str(manifest), **others)
    return prepare_images(config, manifest.parent)


@pytest.mark.parametrize(
    ("encoding", "delimiter", "told"),
    [
        ("utf-8", ",", ""),
        ("utf-8-sig", ";", "its columns are separated by semicolons"),
        ("latin-1", ";", "is read as Latin-1"),
        ("utf-16", "\t", "is read as UTF-16"),
    ],
)
def test_files_of_spreadsheets_are_read(
    encoding: str, delimiter: str, told: str, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.INFO):
        prepared = read(root, written(table(), tmp_path / "m.csv", encoding, delimiter))
    assert prepared.table.counts()["train"] == {"gut": 2, "schön": 2}
    assert prepared.table.names()[0] == "gut/é_1.png"
    assert told in caplog.text
    assert len(set(prepared.table.groups)) == 8, "no column group: each image by itself"


def test_groups_without_a_column_come_from_the_pattern(root: Path, tmp_path: Path):
    prepared = read(root, written(table(), tmp_path / "m.csv"), group_regex=r"^(.)_")
    assert set(prepared.table.groups) == {"é", "x"}


def test_a_name_that_is_no_utf_8_is_no_latin_1(root: Path, tmp_path: Path):
    """Its bytes are kept by our own manifest, which as a whole is no UTF-8 then."""
    folder = tmp_path / "photographs"
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for number in range(6):
            name = f"x{number}\udce9.png"  # the byte E9 alone
            content = (root / "gut" / NAMES[number % 4]).read_bytes() + f"{label}{number}".encode()
            (folder / label / name).write_bytes(content)
    config = DataConfig(name="folder", root=str(folder), image_size=[16, 16])
    first = prepare_images(config, tmp_path)
    write_manifest(first.table, tmp_path / "m.csv")
    assert read(folder, tmp_path / "m.csv").table.split_digest() == first.table.split_digest()


def put(line: int, column: int, text: str) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        rows[line - 1][column] = text

    return change


MISTAKES: dict[str, Callable[[Rows], object]] = {
    "line 3, has too few cells: 2, where its first line names 3 columns": lambda rows: rows[2].pop(),
    "line 4, has too many cells: 5": lambda rows: rows[3].extend(["x", "y"]),
    "line 5: tset is no split; it must be one of train, val, test": put(5, 2, "tset"),
    "line 6: the cell class is empty": put(6, 1, " "),
    "line 2: the cell path is empty": put(2, 0, ""),
    "gut/x_2.png stands in train and in test: in line 10, and in line 3": lambda rows: rows.append(
        ["gut/x_2.png", "gut", "test"]
    ),
    "gut/x_2.png stands twice: in line 10, and in line 3": lambda rows: rows.append(list(rows[2])),
    "gut/../gut/x_2.png stands in train and in val: in line 10, and in line 3, as gut/x_2.png": (
        lambda rows: rows.append(["gut/../gut/x_2.png", "gut", "val"])
    ),
    "line 10: ../other.png leads out of data.root=": lambda rows: rows.append(
        ["../other.png", "gut", "train"]
    ),
    "line 4: no row gives the class gtu a training image": put(4, 1, "gtu"),
    "its first line lacks class; a manifest has the columns path, class, split, and may have group": put(
        1, 1, "label"
    ),
    'the classes "gut" (line 2) and "gut " (line 3) differ by spaces around the name': put(3, 1, "gut "),
    "has no rows": lambda rows: rows.__delitem__(slice(1, None)),
    "of 8, 1 is missing (gut/x_9.png); restore them, or make a new split (data.manifest=null)": put(
        3, 0, "gut/x_9.png"
    ),
}


@pytest.mark.parametrize("sentence", sorted(MISTAKES))
def test_a_mistake_is_named_with_its_line(sentence: str, root: Path, tmp_path: Path):
    rows = table()
    MISTAKES[sentence](rows)
    with pytest.raises(SeedsweepError) as caught:
        read(root, written(rows, tmp_path / "m.csv"))
    said = str(caught.value)
    assert sentence in said
    assert str(tmp_path / "m.csv") in said
    assert "\n" not in said


def test_two_names_of_one_file_are_one_image(root: Path, tmp_path: Path):
    link = tmp_path / "link.png"
    link.symlink_to(root / "gut/x_2.png")
    rows = [*table(), [str(link), "gut", "val"]]
    with pytest.raises(
        SeedsweepError, match=r"link.png stands in val and|link.png stands in train and in val"
    ):
        read(root, written(rows, tmp_path / "m.csv"))


def test_a_device_is_no_image(root: Path, tmp_path: Path):
    rows = [*table(), ["/dev/zero", "gut", "test"]]
    with pytest.raises(SeedsweepError, match=r"1 is missing \(/dev/zero\)"):
        read(root, written(rows, tmp_path / "m.csv"))


def test_images_elsewhere_and_copies_are_said(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    elsewhere = tmp_path / "copy.png"
    elsewhere.write_bytes((root / "gut/x_2.png").read_bytes())
    rows = [*table(), [str(elsewhere), "gut", "test"]]
    with caplog.at_level(logging.INFO):
        prepared = read(root, written(rows, tmp_path / "m.csv"))
    assert len(prepared.table.paths) == 9
    assert f"names 1 image outside data.root={root} ({elsewhere})" in caplog.text
    assert "has the same image, byte for byte, in two splits 1 time (gut/x_2.png in train and" in caplog.text


def test_digests_are_compared_where_there_are_some(root: Path, tmp_path: Path):
    rows = table(FULL)
    rows[3][4] = "0" * 64
    with pytest.raises(SeedsweepError, match=r"of 8, 1 is changed in content \(gut/x_3.png\)"):
        read(root, written(rows, tmp_path / "m.csv"))
    rows[3][4] = ""
    assert len(read(root, written(rows, tmp_path / "m.csv")).table.paths) == 8


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_damaged_manifest_is_a_sentence(data: st.DataObject, root: Path, tmp_path: Path):
    path = written(table(FULL), tmp_path / "m.csv")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(("change", "cut", "insert")))
        if kind == "change":
            content[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del content[at : at + data.draw(st.integers(1, 40))]
        else:
            content[at:at] = data.draw(st.binary(min_size=1, max_size=5))
        if not content:
            break
    path.write_bytes(content)
    with suppress(SeedsweepError):  # whatever else comes of it is a defect
        read(root, path)


def test_images_that_a_manifest_does_not_name_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    root = make(tmp_path / "d", {"a": 8, "b": 8})
    prepare(root, tmp_path / "m.csv")
    taken = DataConfig(name="folder", root=str(root), image_size=[16, 16], manifest=str(tmp_path / "m.csv"))
    prepare_images(taken, tmp_path)
    assert "does not name" not in caplog.text
    make(root, {"c": 2})
    prepare_images(taken, tmp_path)
    assert f"m.csv does not name 2 of the images below {root} (c/img0_0.png, c/img0_1.png)" in caplog.text


def test_a_grid_with_a_manifest_says_whose_copies_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    root = make(tmp_path / "d", {"a": 8, "b": 8})
    prepare(root, tmp_path / "m.csv")
    lines = (tmp_path / "m.csv").read_text().splitlines()
    of = {
        split: next(line for line in lines if f",{split}," in line).split(",") for split in ("train", "val")
    }
    (root / of["val"][0]).write_bytes((root / of["train"][0]).read_bytes())
    text = (tmp_path / "m.csv").read_text().replace(of["val"][4], of["train"][4])
    (tmp_path / "m.csv").write_text(text)
    config = DataConfig(name="folder", root=str(root), image_size=[16, 16], manifest=str(tmp_path / "m.csv"))
    for _ in range(2):
        caplog.clear()
        pinned_images(config, tmp_path, Pin.of_grid(tmp_path / "grid" / "manifest.csv"))
        assert f"data.manifest={tmp_path / 'm.csv'} has the same image, byte for byte, in two" in caplog.text
