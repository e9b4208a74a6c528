"""``data.group``: which images belong together, from a list; what is refused, with its line; what a run keeps."""

import csv
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedsweep.cli.main import main
from seedsweep.data.group_file import write_groups
from seedsweep.data.options import DataConfig
from seedsweep.data.pin import Pin
from seedsweep.data.prepare import PreparedImages, pinned_images, prepare_images
from seedsweep.errors import SeedsweepError

Lines = list[list[str]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (root / label).mkdir()
        for number in range(12):
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(root / label / f"{number}.png")
    return root


def lines() -> Lines:
    """Three images of each class are of one photograph."""
    names = [f"{label}/{number}.png" for label in "ab" for number in range(12)]
    return [["path", "group"], *([name, f"p{row // 3}"] for row, name in enumerate(names))]


def written(rows: Lines, path: Path, delimiter: str = ",") -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def config(root: Path, group: Path) -> DataConfig:
    return DataConfig(name="folder", root=str(root), image_size=[16, 16], group=str(group))


def read(root: Path, group: Path) -> PreparedImages:
    return prepare_images(config(root, group), group.parent)


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_images_of_one_group_are_on_one_side(delimiter: str, root: Path, tmp_path: Path):
    table = read(root, written(lines(), tmp_path / "groups.csv", delimiter)).table
    assert len(set(table.groups)) == 8
    pairs = set(zip(table.groups, table.splits.tolist(), strict=True))
    assert len(pairs) == 8, "a group would be in two splits"


def test_an_image_that_is_not_named_is_a_group_by_itself(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    table = read(root, written(lines()[:-3], tmp_path / "groups.csv")).table
    assert len(set(table.groups)) == 10
    assert "names 21 of 24 images; each other image is its own group" in caplog.text


def test_what_is_written_is_read_again(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    table = read(root, written(lines(), tmp_path / "groups.csv")).table
    groups = ["=1+1" if group.endswith("p0") else group for group in table.groups]
    write_groups(table.names(), groups, tmp_path / "again.csv")
    with caplog.at_level(logging.WARNING):
        again = read(root, tmp_path / "again.csv").table
    assert again.groups == [f"group {group}" for group in groups]
    assert not caplog.text


def test_a_run_goes_on_with_the_groups_that_it_began_with(root: Path, tmp_path: Path):
    path, pin = written(lines(), tmp_path / "groups.csv"), Pin.of_grid(tmp_path / "g" / "manifest_1.csv")
    first = pinned_images(config(root, path), tmp_path, pin).table
    path.unlink()
    again = pinned_images(config(root, path), tmp_path, pin).table
    assert again.split_digest() == first.split_digest()
    assert dict(zip(again.names(), again.groups, strict=True)) == dict(
        zip(first.names(), first.groups, strict=True)
    )


def put(line: int, column: int, text: str) -> Callable[[Lines], None]:
    def change(rows: Lines) -> None:
        rows[line - 1][column] = text

    return change


MISTAKES: dict[str, Callable[[Lines], object]] = {
    "its first line lacks group": put(1, 1, "photo"),
    "line 3: the cell group is empty": put(3, 1, " "),
    "line 4: the cell path is empty": put(4, 0, ""),
    "line 26: a/0.png is of another group in line 2: write one group": lambda rows: rows.append(
        ["a/0.png", "px"]
    ),
    "names none of the 24 images": lambda rows: [row.__setitem__(0, f"x{row[0]}") for row in rows[1:]],
}


@pytest.mark.parametrize(("said", "mistake"), MISTAKES.items())
def test_mistakes_are_told_with_their_line(
    said: str, mistake: Callable[[Lines], object], root: Path, tmp_path: Path
):
    rows = lines()
    mistake(rows)
    with pytest.raises(SeedsweepError) as refused:
        read(root, written(rows, tmp_path / "groups.csv"))
    assert said in str(refused.value)
    assert "data.group=" in str(refused.value)


def test_two_ways_of_grouping_and_a_missing_file_are_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    line = ["+experiment=frozen_bn", f"data.root={root}", "hydra.run.dir=run"]
    assert main([*line, "data.group=none.csv"]) == 2
    assert (
        "data.group=none.csv is no file; give a CSV file with a line for each image"
        in capsys.readouterr().err
    )
    written(lines(), tmp_path / "groups.csv")
    assert main([*line, "data.group=groups.csv", "data.group_regex='(.)'"]) == 2
    assert "data.group and data.group_regex both say which images belong together" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
