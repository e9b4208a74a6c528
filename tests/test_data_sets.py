"""Runs judged by different images are not one ranking: a table, a baseline and a verdict for each data set."""

import csv
import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from report_folders import CLASSES, N, write_run
from rich.console import Console

from seedsweep.data.walk import LeftOut, write_left_out
from seedsweep.report import grid_results
from seedsweep.report.contents import read_material
from seedsweep.report.grid_results import print_table, write_results_csv
from seedsweep.report.sections import arms as arms_section
from seedsweep.report.sections import left_out as left_out_section
from seedsweep.report.sections.in_words import sentences
from seedsweep.report.studies_table import print_studies, read_results, write_studies_csv
from seedsweep.runs.grid import SEVERAL, ArmRow, arms, by_data, collect
from seedsweep.stats.scores import majority_macro_f1, score

COUNTS = {"even": {"a": 30, "b": 30}, "skew": {"a": 54, "b": 6}}


def manifest(run: Path, data: str, *, changed: str = "") -> None:
    """Writes a run's manifest, of images whose content depends on the data set."""
    rows = [
        ["path", "class", "split", "group", "digest"],
        ["train/0.jpg", "a", "train", "g", f"{data}{run.name}"],
    ]
    for split in ("val", "test"):
        for n in range(N):
            name = f"{split}/seed{n}.jpg"
            digest = f"{data}{n}" + ("changed" if name == changed else "")
            rows.append([name, CLASSES[n % 3], split, name, digest])
    with (run / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def job(grid: Path, number: int, label: str, data: str, right: float, seed: int = 1) -> Path:
    run = grid / f"{number}_{label}_s{seed}"
    write_run(run, label, seed, right)
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["images"] |= {"val": COUNTS[data], "test": COUNTS[data]}
    (run / "metrics.json").write_text(json.dumps(metrics))
    manifest(run, data)
    return run


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Two arms on two data sets, and one that failed on a third perhaps: the one is best here, the other there."""
    grid = tmp_path / "grid"
    job(grid, 0, "x data.root=even", "even", 0.9)
    job(grid, 1, "x data.root=skew", "skew", 0.6)
    job(grid, 2, "y data.root=even", "even", 0.4)
    job(grid, 3, "y data.root=skew", "skew", 0.95)
    (grid / "4_z_s1").mkdir()
    failure = {"reason": "no weights.", "label": "z", "experiment": "z", "seed": 1}
    (grid / "4_z_s1" / "failure.json").write_text(json.dumps(failure))
    return grid


def judged(grid: Path) -> list[ArmRow]:
    results = collect(grid)
    rows = arms(results)
    return rows


def test_each_data_set_is_ranked_by_itself(grid: Path):
    groups = by_data(judged(grid))
    labels = [[row.label for row in group] for group in groups]
    assert labels == [
        ["x data.root=even", "y data.root=even"], ["y data.root=skew", "x data.root=skew"], ["z"],
    ]  # fmt: skip
    assert [group[0].majority for group in groups] == [0.5, 0.9, None]
    for best, behind in groups[:2]:
        assert best.standing
        assert best.standing.behind is None
        assert behind.standing
        assert behind.standing.behind
        assert behind.standing.p < 0.05
        gap = best.mean - behind.mean
        assert behind.standing.behind.difference.value == pytest.approx(gap), "the best of its own data set"


def test_the_terminal_and_the_file_keep_them_apart(grid: Path):
    rows = judged(grid)
    console = Console(record=True, width=120)
    print_table(rows, console)
    text = console.export_text()
    one, two, rest = [*re.split(r"data set \d \(\w{8}\): ", text)[1:3], text[text.index("no run finished") :]]
    assert text.startswith(SEVERAL)
    assert "photographs, 60 validation images, 60 test images" in one
    assert "x data.root=even" in one and "0.500" in one and "skew" not in one  # noqa: PT018
    assert "y data.root=skew" in two and "0.900" in two and "even" not in two  # noqa: PT018
    assert "failed: z (seed 1): no weights." in rest
    write_results_csv(collect(grid), grid / "results.csv", rows)
    table = list(csv.DictReader((grid / "results.csv").open()))
    by_label = {row["label"]: row for row in table}
    assert len({row["data"] for row in table}) == 3
    assert by_label["x data.root=even"]["data"] == by_label["y data.root=even"]["data"] != ""
    assert by_label["z"]["data"] == ""
    assert float(by_label["x data.root=skew"]["behind_best"]) == pytest.approx(0.35, abs=0.01)
    assert by_label["x data.root=even"]["behind_best"] == ""


def test_one_data_set_needs_no_title(tmp_path: Path):
    job(tmp_path, 0, "x", "even", 0.9)
    run = job(tmp_path, 1, "y", "even", 0.8)
    console = Console(record=True, width=120)
    print_table(judged(tmp_path), console)
    assert "data set" not in console.export_text()
    manifest(run, "even", changed="val/seed3.jpg")
    assert len(by_data(judged(tmp_path))) == 2, "one image that was replaced makes another data set"


def test_fewer_training_images_are_the_same_question(tmp_path: Path):
    """Their manifests differ in the training images alone: a learning curve is one ranking."""
    job(tmp_path, 0, "x", "even", 0.9)
    job(tmp_path, 1, "y", "even", 0.8)
    assert len(by_data(judged(tmp_path))) == 1


def diverge(run: Path) -> None:
    """Makes a run one that diverged in its second epoch."""
    metrics = json.loads((run / "metrics.json").read_text())
    metrics |= {
        "status": "diverged",
        "diverged_at": 2,
        "diverged": "the training loss became NaN",
        "test": None,
    }
    (run / "metrics.json").write_text(json.dumps(metrics))


def test_a_run_that_diverged_counts_on_its_own_data_set_alone(tmp_path: Path):
    job(tmp_path, 0, "x", "even", 0.9)
    job(tmp_path, 1, "y", "even", 0.8)
    for number, (label, right, seed) in enumerate(
        (("x", 0.95, 1), ("y", 0.7, 1), ("x", 0, 2), ("z", 0, 1)), 2
    ):
        run = job(tmp_path, number, label, "skew", right, seed)
        if not right:
            diverge(run)
    rows = judged(tmp_path)
    groups = [[(row.label, len(row.diverged), row.why_none) for row in group] for group in by_data(rows)]
    why = "diverged at epoch 2"
    assert groups == [
        [("x", 0, "failed"), ("y", 0, "failed")], [("y", 0, "failed"), ("x", 1, why), ("z", 1, why)],
    ]  # fmt: skip
    write_results_csv(collect(tmp_path), tmp_path / "results.csv", rows)
    table = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert {row["data"] for row in table[2:]} == {table[2]["data"]} != {table[0]["data"]}
    told = " ".join(sentences(read_material(tmp_path)))
    assert "`y` classifies 70.0 % of the validation images correctly" in told
    said = " ".join(str(block) for block in arms_section.section(read_material(tmp_path)).blocks)
    assert "the only arm of which no run diverged" in said
    assert "`x`, seed 2 on data set 2, diverged at epoch 2" in said


def test_the_verdict_counts_the_seeds_that_diverged(tmp_path: Path):
    job(tmp_path, 0, "x", "even", 0.9)
    for seed in (2, 3):
        diverge(job(tmp_path, seed, "x", "even", 0.5, seed))
    diverge(job(tmp_path, 4, "z", "skew", 0.5))
    assert sentences(read_material(tmp_path))[-1].endswith("; on data set 2 every run diverged.")
    said = [getattr(block, "text", "") for block in arms_section.section(read_material(tmp_path)).blocks]
    assert any(text.endswith("; 2 of the 3 runs of `x` diverged.") for text in said)


def test_runs_without_a_manifest_are_told_apart_by_their_numbers(tmp_path: Path):
    for number, data in enumerate(COUNTS):
        (job(tmp_path, number, data, data, 0.9) / "manifest.csv").unlink()
    groups = by_data(judged(tmp_path))
    assert [group[0].majority for group in groups] == [0.5, 0.9]


def test_the_report_has_a_verdict_and_a_table_for_each(grid: Path):
    material = read_material(grid)
    told = sentences(material)
    assert told[0] == SEVERAL
    assert len(told) == 2
    one, two = told[1].split("; ")
    assert "on data set 1 `x data.root=even` classifies 90.0 % of the validation images correctly" in one
    assert "on data set 2 `y data.root=skew` classifies 95.0 %" in two
    assert material.best.label == "x data.root=even"
    blocks = arms_section.section(material).blocks
    assert "the better of two arms" in str(blocks[0])
    tables = [block for block in blocks if hasattr(block, "caption")]
    assert [table.caption[:18] for table in tables] == ["Arms on data set 1", "Arms on data set 2"]
    baselines = [row[2] for table in tables for row in table.rows if row[0] == "always the largest class"]
    assert baselines == ["50.0", "90.0"]


def test_files_left_out_are_said_of_each_data_set(grid: Path):
    for name, file in (("0_x data.root=even_s1", "a/x.heic"), ("2_y data.root=even_s1", "a/x.heic")):
        write_left_out([LeftOut(Path(file), "a", ".heic", "no reader")], Path(), grid / name / "left_out.csv")
    write_left_out(
        [LeftOut(Path("b/y.psd"), "b", ".psd", "no reader")] * 2,
        Path(),
        grid / "3_y data.root=skew_s1/left_out.csv",
    )
    texts = [block.text for block in left_out_section.section(read_material(grid)).blocks]
    assert [text.partition(" (")[0] for text in texts] == [
        "1 file below the folder of images of data set 1", "1 .heic of class a",
        "Each of them is listed in `left_out.csv` of the run",
        "2 files below the folder of images of data set 2", "2 .psd of class b",
        "Each of them is listed in `left_out.csv` of the run",
    ]  # fmt: skip
    assert "`3_y data.root=skew_s1`" in texts[-1]


@pytest.mark.usefixtures("full_pictures")
def test_the_picture_has_a_title_and_a_baseline_for_each(grid: Path, monkeypatch: pytest.MonkeyPatch):
    drawn = []
    save = grid_results.save
    monkeypatch.setattr(grid_results, "save", lambda made, path: (drawn.append(made), save(made, path)))
    diverge(job(grid, 5, "w data.root=even", "even", 0.5))
    grid_results.draw_comparison(judged(grid), grid / "comparison.png")
    texts = [text.get_text() for text in drawn[0].axes[0].texts]
    assert sum(text.startswith("data set ") for text in texts) == 2
    assert texts.count("always the largest class") == 2
    assert ("diverged at epoch 2" in texts, texts.count("failed")) == (True, 1)
    assert Image.open(grid / "comparison.png").height > 300


def study(folder: Path, mean: float, data: dict[str, object] | None, metric: str = "macro_f1") -> None:
    folder.mkdir(parents=True)
    winner = {"mean": mean, "sd": 0.0, "values": [mean], "trial": 0, "settings": [], "test": {}}
    result = {
        "study": folder.name, "metric": metric, "rule": "of the last epoch", "trials": {}, "winner": winner,
        "best_config": "", "data": data,
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))


def test_studies_on_several_data_sets(tmp_path: Path):
    even = {"digest": "1" * 64, "about": "even, 6 validation images", "largest_class": {"macro_f1": 1 / 3}}
    skew = {"digest": "2" * 64, "about": "skew, 9 validation images", "largest_class": {"macro_f1": 0.47}}
    for name, mean, data in (("a", 0.5, even), ("b", 0.9, skew), ("c", 0.8, even)):
        study(tmp_path / name, mean, data)
    results = read_results({tmp_path / name: True for name in "abc"})
    assert [result["study"] for result in results] == ["c", "a", "b"], "best first in each"
    console = Console(record=True, width=120)
    print_studies(results, console)
    text = console.export_text()
    one, two = text[text.index("data set 1 (11111111): even") :].split("data set 2 (22222222): skew")
    assert one.index("macro-F1 0.800") < one.index("macro-F1 0.500") < one.index("macro-F1 0.333")
    assert "always the largest class" in two
    assert "macro-F1 0.470" in two
    write_studies_csv(results, tmp_path / "results.csv")
    table = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert [row["data"] for row in table] == ["11111111", "11111111", "22222222"]


def test_studies_of_earlier_versions_are_one_table(tmp_path: Path):
    for name, mean in (("a", 0.5), ("b", 0.9)):
        study(tmp_path / name, mean, None)
    console = Console(record=True, width=120)
    print_studies(read_results({tmp_path / name: True for name in "ab"}), console)
    assert "data set" not in console.export_text()


def test_the_largest_class_by_macro_f1():
    labels = torch.tensor([0] * 7 + [1] * 2 + [2])
    always = torch.nn.functional.one_hot(torch.zeros(10, dtype=torch.long), 4).float()
    counts = {"a": 7, "b": 2, "c": 1, "d": 0}
    assert majority_macro_f1(counts) == pytest.approx(score(always, labels, list(counts)).macro_f1)
