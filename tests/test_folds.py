"""Images in folds: how they are dealt, what a grid of them says, and whether its intervals hold the truth."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from report_folders import write_run
from scipy import stats
from test_data_folder import make, prepare
from tiny_net import tiny_net

from seedsweep.cli.main import main
from seedsweep.data.options import DataConfig
from seedsweep.data.prepare import prepare_images
from seedsweep.data.split import fold_images
from seedsweep.errors import SeedsweepError
from seedsweep.report.grid_results import explained
from seedsweep.report.write_report import write_report
from seedsweep.runs.grid import arms, collect
from seedsweep.stats.resampled import Deal, compare_over_folds, over_folds, rectangle

CLASSES = ["good", "bad"]


def _dealt(groups: list[str], labels: np.ndarray, folds: int, fold: int, seed: int = 0) -> np.ndarray:
    return fold_images(labels, groups, CLASSES, folds, fold, 0.2, seed)


def test_each_image_is_tested_once_a_repeat_and_no_group_is_torn():
    labels = (np.arange(120) % 3 == 0).astype(np.int64)
    groups = [f"{label}-{row // 6}" for row, label in enumerate(labels)]
    splits = np.stack([_dealt(groups, labels, 4, fold) for fold in range(8)])
    for repeat in (splits[:4], splits[4:]):
        assert ((repeat == "test").sum(0) == 1).all()
    assert (splits[:4] != splits[4:]).any(), "a repeat is dealt anew"
    for each in splits:
        of_group = {(group, split) for group, split in zip(groups, each.tolist(), strict=True)}
        assert len(of_group) == len(set(groups))
        assert Counter(labels[each == "test"].tolist()) == {0: 20, 1: 10}
        assert 20 <= (each == "val").sum() <= 28


def test_too_few_groups_of_a_class_are_one_sentence():
    labels = np.repeat([0, 1], [40, 12])
    groups = [f"{label}-{row % 40 // 4}" for row, label in enumerate(labels)]
    with pytest.raises(
        SeedsweepError, match=r"as many groups of images of each class.*fewer: bad \(3\); take"
    ):
        _dealt(groups, labels, 5, 0)


def test_a_folder_with_its_own_test_part_is_refused(tmp_path: Path):
    for split in ("train", "test", "val"):
        make(tmp_path / split, {"good": 8, "bad": 8}, prefix=split)
    with pytest.raises(SeedsweepError, match="says itself what is validation or test: give one folder"):
        prepare(tmp_path, folds=3, fold=0)


def test_images_with_two_labels_are_in_no_fold(tmp_path: Path):
    root = make(tmp_path / "seeds", {"good": 20, "bad": 20})
    (root / "bad" / "same.png").write_bytes((root / "good" / "img0_0.png").read_bytes())
    for fold in range(3):
        config = DataConfig(name="folder", root=str(root), image_size=[16, 16], folds=3, fold=fold)
        prepared = prepare_images(config, tmp_path)
        assert not {"bad/same.png", "good/img0_0.png"} & set(prepared.table.names())
        assert len(prepared.table.paths) == 39
        assert all("of all folds" in each.why for each in prepared.left_out)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            ["data.folds=5"],
            "data.folds=5 is a grid: add -m to run all folds, or data.fold=0 (to 4) to run one.",
        ),
        (["data.fold=1"], "data.fold needs data.folds=K"),
        (["data.folds=3", "data.fold=3"], "data.fold is 3, but must lie between 0 and 2."),
        (["-m", "data.folds=3,5"], "data.folds=3,5 is a list: a grid has one number of folds."),
        (["-m", "data.folds=0"], "data.folds is 0, but must lie between 2 and 100."),
        (["-m", "data.folds=1"], "data.folds is 1, but must lie between 2 and 100."),
        (["-m", "+sweep=ladder", "data.folds=3"], "the ladder goes by one split: leave data.folds out"),
        (["+sweep=answer", "data.folds=3"], "+sweep=answer goes by one split: leave data.folds out"),
        (["+study=head", "data.folds=3", "data.fold=0"], "a study goes by one split: leave data.folds out"),
        (["-m", "+study=head,head_wide", "data.folds=3"], "a study goes by one split: leave data.folds out"),
        (
            ["-m", "data.folds=3", "data.test_fraction=0.1"],
            "data.folds=3 tests one of 3 parts: leave it out.",
        ),
        (
            ["data.folds=3", "data.fold=0", "data.manifest=x.csv"],
            "both say what is tested: give one of them.",
        ),
        (
            ["data.folds=2", "data.fold=0", "data.val_fraction=0.5"],
            "data.val_fraction + 1 / data.folds is 1.0",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(line: list[str], words: str, in_tmp: Path, capsys):
    assert main(line) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_the_interval_is_that_of_the_corrected_resampled_t_test():
    rng = np.random.default_rng(1)
    cells = {(1, fold): (rng.random(40) < 0.5 + fold / 20).astype(float) for fold in range(10)}
    units = {fold: [f"{fold % 5}-{row}" for row in range(40)] for fold in range(10)}
    found, values = over_folds(cells, Deal(5, units)), [each.mean() for each in cells.values()]
    half = (
        stats.t.ppf(0.975, 9) * np.std(values, ddof=1) * np.sqrt(1 / 10 + 1 / 4)
    )  # Bouckaert and Frank 2004
    assert found.over == "images and splits"
    assert [found.low, found.value, found.high] == pytest.approx(
        [np.mean(values) - half, np.mean(values), np.mean(values) + half]
    )
    alike = {cell: np.repeat([1.0, 0.0], [36, 4]) for cell in cells}
    assert over_folds(alike, Deal(5, units)).low < 0.88, "equal folds are no certainty: images are few"


def test_seeds_that_lack_folds_make_no_table():
    assert rectangle([(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (3, 0)]) == ([1, 2], [0, 1, 2])
    assert rectangle([(1, 0), (2, 0), (3, 0), (3, 1)]) == ([1, 2, 3], [0])
    assert rectangle([]) == ([], [])


def _centroids(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    low, high = x[y == 0].mean(0), x[y == 1].mean(0)
    return high - low, float((high + low) @ (high - low) / 2)


def _classifies(net: tuple[np.ndarray, float], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return ((x @ net[0] > net[1]) == y).astype(float)


def _drawn(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    y = np.arange(n) % 2
    x = rng.normal(size=(n, 10))
    x[:, 0] += 1.2 * y
    return x, y


def test_intervals_over_folds_hold_the_expected_accuracy_where_those_over_images_do_not():
    """Images are drawn and dealt 200 times; a seed trains on a part of its own, the other arm on less of it."""
    rng, n, folds, draws = np.random.default_rng(0), 60, 5, 200
    held, many = Counter[str](), _drawn(4000, rng)
    truths = []
    for _ in range(300):
        x, y = _drawn(48, rng)
        part = rng.permutation(48)[:36]
        truths.append([_classifies(_centroids(x[p], y[p]), *many).mean() for p in (part, part[:12])])
    truth, fewer = np.mean(truths, 0)
    for _ in range(draws):
        x, y = _drawn(n, rng)
        dealt, cells, others = np.array_split(rng.permutation(n), folds), {}, {}
        for fold, test in enumerate(dealt):
            rest = np.setdiff1d(np.arange(n), test)
            for seed in (1, 2):
                part = rng.permutation(rest)[:36]
                for made, p in ((cells, part), (others, part[:12])):
                    made[seed, fold] = _classifies(_centroids(x[p], y[p]), x[test], y[test])
        deal = Deal(folds, {fold: [str(row) for row in rows] for fold, rows in enumerate(dealt)})
        found, pair = over_folds(cells, deal), compare_over_folds(cells, others, deal)
        assert (found.over, pair.difference.over) == ("images, seeds and splits",) * 2
        held["folds"] += found.low <= truth <= found.high
        held["pairs"] += pair.difference.low <= truth - fewer <= pair.difference.high
        of_images = np.mean(
            [np.concatenate([cells[seed, fold] for fold in range(folds)]) for seed in (1, 2)], 0
        )
        held["images"] += abs(of_images.mean() - truth) <= 1.96 * of_images.std(ddof=1) / np.sqrt(n)
    assert held["folds"] >= 0.94 * draws
    assert held["pairs"] >= 0.94 * draws
    assert held["images"] <= 0.92 * draws


def _write_folds(folder: Path, missing: tuple[str, ...] = ()) -> None:
    """Writes two arms, two seeds, three folds: ``poor`` is behind in each fold."""
    (folder / "multirun.yaml").parent.mkdir(parents=True)
    for number, (label, right) in enumerate((("good", 0.9), ("poor", 0.6))):
        for seed in (1, 2):
            for fold in range(3):
                name = f"{10 * number + 3 * seed + fold}_{label}_s{seed}"
                if name in missing:
                    continue
                share = right - 0.04 * fold * number
                write_run(folder / name, label, seed, share)
                path = folder / name / "metrics.json"
                dealt = {"number": fold, "of": 3, "repeats": 1, "split_seed": 0, "val_fraction": 0.2}
                content = json.loads(path.read_text()) | {"fold": dealt}
                content["test"] |= {"acc": share}
                path.write_text(json.dumps(content))
                rows = [
                    [f"{place}-{row}.png", "a", "test" if place == fold else "train", f"{place}-{row}.png", f"{row:02}"]
                    for place in range(3) for row in range(60)
                ]  # fmt: skip
                with (folder / name / "manifest.csv").open("w", newline="") as file:
                    csv.writer(file).writerows([["path", "class", "split", "group", "digest"], *rows])


def test_arms_are_ranked_over_all_images_and_compared_by_fold(tmp_path: Path):
    _write_folds(tmp_path / "g")
    rows = arms(collect(tmp_path / "g"))
    assert [(row.label, len(row.accs), row.over.is_whole) for row in rows] == [
        ("good", 6, True),
        ("poor", 6, True),
    ]
    assert rows[0].standing.interval.over == "images, seeds and splits"
    assert rows[1].standing.behind.method == "corrected resampled t test"
    assert rows[1].is_behind
    said = " ".join(explained(rows))
    assert "Accuracy: over all images, each tested by runs that did not train on it (3 folds)." in said
    report = write_report(tmp_path / "g").with_suffix(".md").read_text()
    assert "of the images correctly (95 % interval" in report
    assert "test accuracy over folds" in report
    assert "validation images correctly" not in report.partition("## ")[0]


def test_folds_that_are_missing_are_named_and_the_rest_is_compared(tmp_path: Path):
    _write_folds(tmp_path / "g", ("15_poor_s1", "18_poor_s2", "8_good_s2"))  # fold 2 of poor; one of good
    rows = arms(collect(tmp_path / "g"))
    assert [row.over.lacks for row in rows] == ["(2 of 3 folds)", "(2 of 3 folds)"]
    assert [row.over.uncounted for row in rows] == [1, 0]
    assert rows[1].is_behind
    said = " ".join(explained(rows))
    assert "did not train on it (2 of 3 folds)" in said
    assert "not all seeds have their folds: good 1." in said


def test_a_grid_over_folds_from_one_extraction_to_its_table(in_tmp: Path, capsys):
    line = [
        "-m", "+experiment=frozen_bn", "optim.lr=1e-3,1e-5", *tiny_net(),
        "data.demo.n_images=70", "data.image_size=[32,32]", "trainer.max_epochs=2", "trainer.progress_bar=false",
        "data.folds=3", "seed=1", "hydra.sweep.dir=g", "audit=off", "trainer.probe_images=16",
        "paths.cache=cache",
    ]  # fmt: skip
    assert main(line) == 0
    out = capsys.readouterr().out
    assert "6 runs finished, 0 failed" in out
    assert "over images and splits" in out
    shards = list(Path("cache/features").rglob("*.npy"))
    assert sum(len(np.load(shard)) for shard in shards) == 70, "one extraction serves all folds"
    with Path("g/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["fold"] for row in rows] == ["0", "1", "2"] * 2
    assert len({row["data"] for row in rows}) == 1
    tested = [row["path"] for name in ("0", "1", "2") for row in _tested(Path("g"), name)]
    assert len(tested) == len(set(tested)) == 70
    (Path("g") / rows[4]["job"] / "metrics.json").unlink()
    assert main(["resume=g"]) == 0
    assert capsys.readouterr().out.count("finished already") == 5


def _tested(grid: Path, number: str) -> list[dict[str, str]]:
    with next(grid.glob(f"{number}_*/manifest.csv")).open() as file:
        return [row for row in csv.DictReader(file) if row["split"] == "test"]
