"""Texts that a spreadsheet would run are safe in tables for people, and read back as they were."""

import csv
from pathlib import Path

import pytest

from seedsweep.data.walk import LeftOut, read_left_out, write_left_out
from seedsweep.export.classify import write_unreadable
from seedsweep.export.tables import open_table
from seedsweep.names import cell, of_cell
from seedsweep.runs.csv_files import read_predictions, write_predictions

EVIL = ["=1+1", "+cmd|x", "-a", "@SUM(A1)", "\tx", "\rx", "'quoted", "''twice"]
TAME = ["a=b", "x", "", "-1", "+2.5e3", "1e-5", "-.5"]


@pytest.mark.parametrize("text", EVIL + TAME)
def test_a_cell_is_read_back_as_it_was(text: str):
    written = cell(text)
    assert of_cell(written) == text
    assert (written == text) == (text in TAME)
    assert cell(-1.5) == -1.5


def cells(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return [each for row in csv.reader(file) for each in row]


def harmless(path: Path) -> bool:
    return not any(each[:1] in "=+-@\t\r" for each in cells(path) if each)


def test_a_runs_predictions(tmp_path: Path):
    rows = [
        {"path": f"{label}/1.png", "split": "val", "label": label, "predicted": EVIL[0]}
        | {f"p_{c}": 0.125 for c in EVIL}
        for label in EVIL
    ]
    write_predictions(tmp_path / "predictions.csv", rows)
    assert harmless(tmp_path / "predictions.csv")
    answers = read_predictions(tmp_path)["val"]
    assert answers.classes == EVIL
    assert answers.paths == [f"{label}/1.png" for label in EVIL]
    assert list(answers.labels) == list(range(len(EVIL)))


def test_answers_and_lists_of_files(tmp_path: Path):
    import numpy as np

    with open_table(tmp_path / "a.csv", ["=a", "b"]) as add:
        add(["=x.png", "y.png"], np.array([[0.5, 0.5], [0.1, 0.9]]))
    assert harmless(tmp_path / "a.csv")
    assert "'=x.png" in cells(tmp_path / "a.csv")
    write_unreadable(tmp_path / "u.csv", [("=x.png", "-broken")])
    assert cells(tmp_path / "u.csv")[2:] == ["'=x.png", "'-broken"]
    left = [LeftOut(tmp_path / "=c" / "@x.heic", "=c", ".heic", "why")]
    write_left_out(left, tmp_path, tmp_path / "l.csv")
    assert harmless(tmp_path / "l.csv")
    assert read_left_out(tmp_path / "l.csv", tmp_path) == left
