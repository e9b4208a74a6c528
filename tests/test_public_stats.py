"""`seedsweep.stats`: the numbers that the command line prints, from arrays."""

import csv

import numpy as np
import pytest
from report_folders import write_sweep

import seedsweep as ss
from seedsweep.errors import SeedsweepError
from seedsweep.report.grid_results import write_results_csv
from seedsweep.runs.csv_files import read_predictions
from seedsweep.runs.grid import arms as arms_of
from seedsweep.runs.grid import collect


def test_the_numbers_are_those_of_the_command_line(tmp_path):
    write_sweep(tmp_path / "sweep")
    results = collect(tmp_path / "sweep")
    rows = arms_of(results)
    write_results_csv(results, tmp_path / "results.csv", rows)
    arms: dict[str, dict[int, np.ndarray]] = {}
    for folder in sorted((tmp_path / "sweep").iterdir()):
        if answers := read_predictions(folder):
            _, name, seed = folder.name.replace("as_good", "as-good").split("_")
            arms.setdefault(name.replace("-", "_"), {})[int(seed[1:])] = answers["val"].correct
    found = ss.stats.table(arms)
    assert list(found) == [row.label for row in rows if row.mean is not None]
    with (tmp_path / "results.csv").open() as file:
        told = {row["label"]: row for row in csv.DictReader(file) if row["status"] == "finished"}
    assert set(told) == set(found)
    for label, standing in found.items():
        row = told[label]
        interval = standing.interval
        assert [row["arm_val_acc"], row["arm_low"], row["arm_high"]] == [
            str(round(value, 5)) for value in (interval.value, interval.low, interval.high)
        ]
        alone = ss.stats.accuracy(list(arms[label].values()))
        assert alone == interval
        if standing.behind:
            assert row["behind_best"] == str(round(standing.behind.difference.value, 5))
            assert row["p_holm"] == str(round(standing.p, 5))
            assert row["same_as_best"] == {True: "yes", False: "no", None: "unclear"}[standing.same]
            best = list(arms[next(iter(found))].values())
            assert ss.stats.compare(best, list(arms[label].values())) == standing.behind
    assert "as_good" in str(found)


def test_groups_and_seeds_are_taken_as_they_are_given():
    correct = np.random.default_rng(0).random((3, 60)) < 0.7
    groups = np.arange(60) // 3
    assert ss.stats.accuracy(correct[0], groups).over == "groups of images"
    assert ss.stats.accuracy(correct, groups).over == "groups of images and seeds"
    assert ss.stats.accuracy(correct[0].tolist()) == ss.stats.accuracy(correct[:1])
    found = ss.stats.table({"a": correct, "b": dict(enumerate(correct[:, ::-1]))}, groups)
    assert found["a"].interval == ss.stats.accuracy(correct, groups)
    assert {standing.behind is None for standing in found.values()} == {True, False}
    alone = ss.stats.table({"a": correct, "others": correct[0, :20]})
    assert {name for name, standing in alone.items() if standing.behind is None} == {"a", "others"}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ss.stats.accuracy([0.5, 1]), "must be 1"),
        (lambda: ss.stats.accuracy([]), "shape is \\[0\\]"),
        (lambda: ss.stats.accuracy([[[1]]]), "shape is \\[1, 1, 1\\]"),
        (lambda: ss.stats.accuracy([1, 0], ["a"]), "one group for each of the 2 images"),
        (lambda: ss.stats.compare([1, 0], [1, 0, 1]), "not \\[2\\] and \\[3\\]"),
        (lambda: ss.stats.table({}), "nothing to rank"),
        (lambda: ss.stats.table({"a": {1: [1, 0], 2: [1]}}), "Each seed of 'a' must have"),
        (lambda: ss.stats.table({"a": [1, 0]}, ["x"]), "one group for each of the 2 images"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(SeedsweepError, match=words):
        call()


@pytest.mark.parametrize("seeds", [1, 3])
def test_units_that_all_agree_are_no_proof_if_they_are_few(seeds: int):
    right = np.ones((seeds, 8))
    few = ss.stats.compare(right, 0 * right, groups=[0] * 4 + [1] * 4)
    assert (few.p, few.difference.high) == (0.5, 1)
    assert few.difference.low < 0, "as two groups that agree by chance"
    many = ss.stats.compare(np.ones((seeds, 400)), np.zeros((seeds, 400)), groups=np.arange(400) // 4)
    assert many.p < 1e-9
    assert 0.9 < many.difference.low < 1
    assert ss.stats.compare(right, right, groups=[0] * 4 + [1] * 4).p == 1
