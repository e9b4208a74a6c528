"""``data=table``: images that a CSV or Parquet file lists, wherever a folder works."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from composed import config_of
from PIL import Image
from tiny_net import tiny_net

from seedsweep.cli.main import main
from seedsweep.data.manifest import ImageTable
from seedsweep.data.prepare import prepare_images
from seedsweep.errors import SeedsweepError

CLASSES = ("good", "sour, black")


def photographs(folder: Path, n: int = 24) -> list[dict[str, str]]:
    """Draws images; returns a row for each, with label, split and group."""
    folder.mkdir(parents=True)
    rng, rows = np.random.default_rng(0), []
    for number in range(n):
        shown = rng.integers(0, 120, (20, 20, 3)) + 100 * (number % 2)
        Image.fromarray(shown.astype(np.uint8)).save(folder / f"{number}.png")
        split = "val" if number % 6 < 2 else "test" if number % 6 < 4 else "train"
        rows.append(
            {
                "path": f"{number}.png",
                "label": CLASSES[number % 2],
                "split": split,
                "group": f"g{number // 2}",
            }
        )
    return rows


def write(
    path: Path, rows: Sequence[dict[str, str]], columns: Sequence[str], names: Sequence[str] = ()
) -> Path:
    if path.suffix == ".parquet":
        pa, pq = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
        table = {
            name: [row[column] for row in rows]
            for name, column in zip(names or columns, columns, strict=True)
        }
        pq.write_table(pa.table(table), path)
        return path
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names or columns)
        writer.writerows([row[column] for column in columns] for row in rows)
    return path


def table_of(file: Path, *overrides: str) -> ImageTable:
    config = config_of("data=table", f"data.file='{file}'", "data.image_size=[16,16]", *overrides)
    return prepare_images(config.data, file.parent / "cache").table


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_with_split_and_group(kind: str, tmp_path: Path) -> None:
    rows = photographs(tmp_path / "images")
    file = write(tmp_path / "images" / f"labels.{kind}", rows, ["path", "label", "split", "group"])
    table = table_of(file)
    assert table.classes == sorted(CLASSES)
    assert [path.name for path in table.paths] == [row["path"] for row in rows]
    assert [table.classes[label] for label in table.labels] == [row["label"] for row in rows]
    assert (table.splits.tolist(), table.groups) == (
        [row["split"] for row in rows],
        [row["group"] for row in rows],
    )


def test_a_table_without_split_is_split_as_a_folder_by_its_groups(tmp_path: Path) -> None:
    rows = photographs(tmp_path / "images", 60)
    for row in rows:
        row["group"] = f"g{int(row['path'].partition('.')[0]) // 6}"
    file = write(tmp_path / "labels.csv", rows, ["path", "label", "group"], ["Image", "Class", "group"])
    table = table_of(file, f"data.root='{tmp_path / 'images'}'")
    assert set(table.splits) == {"train", "val", "test"}
    for group in set(table.groups):
        assert (
            len({split for split, own in zip(table.splits, table.groups, strict=True) if own == group}) == 1
        )


def wrong(rows: list[dict[str, str]], change: str) -> tuple[list[dict[str, str]], list[str], str]:
    columns = ["path", "label", "split"]
    if change == "no label":
        return rows, ["path", "split"], "its first line lacks label"
    if change == "an empty cell":
        rows[3]["label"] = " "
        return rows, columns, "line 5: the cell label is empty"
    if change == "an unknown split":
        rows[2]["split"] = "holdout"
        return rows, columns, "line 4: holdout is no split"
    if change == "a split here and there":
        rows[2]["split"] = ""
        return rows, columns, "line 4: the cell split is empty, where other rows have one"
    if change == "a missing file":
        rows[1]["path"] = "nowhere.png"
        return rows, columns, "line 3: there is no file nowhere.png"
    rows[5]["path"] = rows[4]["path"]
    return rows, columns, "stands twice: in line 7, and in line 6"


@pytest.mark.parametrize(
    "change",
    [
        "no label",
        "an empty cell",
        "an unknown split",
        "a split here and there",
        "a missing file",
        "an image twice",
    ],
)
def test_a_mistake_is_named_with_its_row(change: str, tmp_path: Path) -> None:
    rows, columns, said = wrong(photographs(tmp_path / "images"), change)
    file = write(tmp_path / "images" / "labels.csv", rows, columns)
    with pytest.raises(SeedsweepError, match=said):
        table_of(file)


def test_what_is_no_table(tmp_path: Path) -> None:
    photographs(tmp_path / "images")
    (tmp_path / "images" / "broken.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(SeedsweepError, match="is no file; give a CSV or Parquet file"):
        table_of(tmp_path / "images" / "none.csv")
    with pytest.raises(SeedsweepError, match="is damaged, or no Parquet file"):
        table_of(tmp_path / "images" / "broken.parquet")


def test_a_table_of_one_class_is_called_by_its_name(tmp_path: Path) -> None:
    rows = [row | {"label": "good"} for row in photographs(tmp_path / "images")]
    file = write(tmp_path / "images" / "labels.csv", rows, ["path", "label"])
    with pytest.raises(SeedsweepError, match=r"^data\.file=.*labels\.csv has one class only \(good\)"):
        table_of(file)


def test_a_run_by_a_table_alone_and_its_diagnosis_again(
    in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(in_tmp / "labels.csv", photographs(in_tmp / "images", 60), ["path", "label"])
    small = [
        *tiny_net(), "data.image_size=[32,32]", "trainer.max_epochs=1", "head.width=4", "features.engine=torch",
        "data.root=images", "trainer.accelerator=cpu", "hydra.run.dir=run", "report.write=false",
    ]  # fmt: skip
    assert main(["+experiment=frozen_bn", "data.file=labels.csv", *small]) == 0
    metrics = json.loads((in_tmp / "run" / "metrics.json").read_text())
    assert sum(sum(split.values()) for split in metrics["images"].values()) == 60
    assert main(["resume=run"]) == 0
    assert main(["+experiment=frozen_bn", "data=folder", "data.file=labels.csv", "data.root=images"]) == 2
    assert "is read by data=table alone" in capsys.readouterr().err
    assert main(["+experiment=frozen_bn", "data.file=nowhere.csv"]) == 2
    assert "data.file=nowhere.csv is no file; give a CSV or Parquet file" in capsys.readouterr().err
    assert main(["+experiment=frozen_bn", "data=table"]) == 2
    assert "data.file is not set" in capsys.readouterr().err
