"""Scores against sklearn, tables, pictures, and what TensorBoard reads back."""

import csv
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from report_folders import N, write_run
from rich.console import Console
from sklearn.metrics import f1_score, log_loss, recall_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from seedsweep.drawing import save
from seedsweep.report.grid_results import draw_comparison, explained, print_table, write_results_csv
from seedsweep.report.run_pictures import confusion_figure, curves_figure, draw_run
from seedsweep.runs.csv_files import write_history
from seedsweep.runs.grid import ArmRow, arms, collect
from seedsweep.stats.scores import majority_share, score
from seedsweep.training.recorder import MODES, RunTensorBoard
from seedsweep.training.to_draw import ToDraw

CLASSES = ["a", "b", "c"]
HISTORY = [
    {
        "epoch": float(n), "train/loss": 1 / (n + 1), "val/loss": 2.0, "train/acc": 0.9, "val/acc": 0.5, "bn_gap": 0.3,
        "train_images/acc_train_mode": 0.9, "train_images/acc_eval_mode": 0.6, "val/recall/a": 0.25, "seconds": 1.0,
    }
    for n in range(3)
]  # fmt: skip


def test_scores_agree_with_sklearn():
    logits, labels = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
    ours, predicted = score(logits, labels, CLASSES), logits.argmax(1)
    assert ours.loss == pytest.approx(log_loss(labels, logits.softmax(1)), rel=1e-5)
    assert ours.acc == pytest.approx(float((predicted == labels).float().mean()))
    assert ours.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert list(ours.per_class_recall.values()) == pytest.approx(
        list(recall_score(labels, predicted, average=None))
    )


def test_a_class_without_images_has_no_recall():
    assert score(torch.eye(3)[:2], torch.tensor([0, 1]), CLASSES).per_class_recall["c"] is None
    assert majority_share({"a": 3, "b": 1}) == 0.75


def job(root: Path, number: int, name: str, seed: int, acc: float | None, label: str | None = None) -> None:
    folder = root / f"{number}_{name}_s{seed}"
    folder.mkdir(parents=True)
    head = {"experiment": name, "label": label or name, "seed": seed}
    if acc is None:
        (folder / "failure.json").write_text(json.dumps({**head, "reason": "no weights."}))
        return
    scores = {"loss": 1.0, "acc": acc, "macro_f1": acc / 2, "per_class_recall": {}}
    metrics = {
        **head, "status": "finished", "backbone": "x", "batchnorm": "y", "preprocess": "auto", "batch_size": 4,
        "epochs": 2, "best_epoch": 1, "train": scores, "val": scores, "test": None, "wall_seconds": 3.0,
        "images": {"val": {"a": 3, "b": 1}}, "train_images": {"bn_gap": 0.2, "bn_gap_last": 0.2},
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    for number, (name, seed, acc) in enumerate(
        [("low", 1, 0.4), ("low", 2, 0.6), ("high", 1, 0.9), ("gone", 1, None), ("gone", 2, None)]
    ):
        job(tmp_path, number, name, seed, acc)
    return tmp_path


def test_arms_are_averaged_and_sorted(grid: Path):
    rows = arms(collect(grid))
    assert [row.label for row in rows] == ["high", "low", "gone"]
    assert rows[1].mean == pytest.approx(0.5)
    assert rows[1].spread == pytest.approx(np.std([0.4, 0.6], ddof=1))
    assert rows[0].spread is None
    assert rows[2].mean is None


def test_table_and_csv(grid: Path):
    results = collect(grid)
    console = Console(record=True, width=100)
    print_table(arms(results), console)
    text = console.export_text()
    assert text.index("high") < text.index("low") < text.index("gone")
    for part in ("0.900", "0.500", "0.141", "+0.200", "0.750", "no weights.", "1, 2"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 100
    write_results_csv(results, grid / "results.csv")
    rows = list(csv.DictReader((grid / "results.csv").open()))
    assert [row["status"] for row in rows].count("failed") == 2
    assert rows[2]["val_acc"] == "0.9"


def to_draw(folder: Path, classes: list[str] = CLASSES) -> ToDraw:
    """Returns 30 predictions, all of them wrong, of which nine are shown."""
    labels = np.arange(30) % len(classes)
    predicted, sure = np.roll(labels, 1), np.ones(30, np.float32)
    pixels = [np.zeros((3, 8, 8), np.uint8)] * 9
    return ToDraw(folder, "arm", 1, HISTORY, 1, classes, labels, predicted, sure, list(range(9)), pixels)


def test_pictures_are_drawn(grid: Path, tmp_path: Path):
    assert set(draw_run(to_draw(tmp_path))) == {"confusion matrix", "worst mistakes"}
    draw_comparison(arms(collect(grid)), tmp_path / "comparison.png")
    for name in ("curves", "confusion_matrix", "comparison"):
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"))
        assert pixels.shape[1] > 400
        assert 5 < pixels.std() < 110, name


def test_a_legend_says_which_arm_was_compared_how(tmp_path: Path):
    for label, seed in (("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 1)):
        write_run(tmp_path / f"{label}{seed}", label, seed, 0.8)
    said = " ".join(explained(arms(collect(tmp_path))))
    assert "Intervals: 95 %, over images and seeds (a, b), images (c)." in said
    assert "McNemar's exact test (c)" in said
    assert (
        "Probability to be within 1 point of the best, and to be further behind: b 100%, 0%; c 100%, 0%."
        in said
    )


def test_what_would_decide_is_said_of_an_arm_that_can_not_be_told_from_the_best(tmp_path: Path):
    for label, right in (("best", 0.8), ("behind", 0.73)):
        write_run(tmp_path / label, label, 1, right)
    rows = arms(collect(tmp_path))
    assert rows[1].standing.undecided
    points = 100 * rows[1].standing.spread.difference
    needed = rows[1].standing.needed.units
    assert needed > N
    way = f"about {float(f'{needed:.2g}'):,.0f} validation images in place of {N}, would show it"
    said = f"behind: if it really is {points:.0f} points behind, {way}"
    assert said in " ".join(explained(rows))


def test_arms_without_a_mark_that_were_not_compared_are_named(tmp_path: Path):
    for label, seed in (("a", 1), ("a", 2), ("b", 1), ("b", 2)):
        write_run(tmp_path / f"{label}{seed}", label, seed, 0.8)
    path = tmp_path / "b2" / "metrics.json"
    diverged = {"status": "diverged", "diverged_at": 1, "diverged": "the training loss became NaN"}
    path.write_text(json.dumps(json.loads(path.read_text()) | diverged))
    *_, said = explained(arms(collect(tmp_path)))
    assert said.startswith("Not compared with the best (a run diverged, ")
    assert said.endswith(": b.")


def test_a_picture_grows_with_the_names_of_the_arms(tmp_path: Path):
    for number, label in enumerate(("a", "a optim.lr=0.001 batchnorm=inference")):
        draw_comparison([ArmRow(label, [0.5], bn_gaps=[0.1])], tmp_path / f"{number}.png")
    short, long = (Image.open(tmp_path / f"{number}.png").width for number in (0, 1))
    assert long > short + 200


def test_a_confusion_matrix_names_recall_and_the_empty_class():
    labels = np.asarray([0, 0, 0, 0, 1])
    made = confusion_figure(labels, np.asarray([0, 0, 0, 1, 1]), CLASSES, "title")
    texts = {text.get_text() for text in made.axes[0].texts}
    assert {"75% of 4", "100% of 1", "no image", "3"} <= texts


def test_history_file(tmp_path: Path):
    write_history([{"epoch": 0.0, "a": 1.0}, {"epoch": 1.0, "b": 2.0}], tmp_path / "h.csv")
    rows = list(csv.DictReader((tmp_path / "h.csv").open()))
    assert rows == [{"epoch": "0", "a": "1.0", "b": ""}, {"epoch": "1", "a": "", "b": "2.0"}]


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    return events


def test_tensorboard_reads_it_back(tmp_path: Path):
    board = RunTensorBoard(tmp_path)
    for epoch, row in enumerate(HISTORY):
        board.epoch(row, epoch)
    for name, figure in draw_run(to_draw(tmp_path)).items():
        board.picture(name, figure, 2)
    board.hparams({"lr": 0.1, "frozen": True}, {"final/val_acc": 0.5})
    board.close()
    runs = sorted(folder.parent for folder in tmp_path.rglob("events.*"))
    assert runs == [tmp_path / "tb/train", tmp_path / "tb/val"], (
        "every run more is a line more in a long list"
    )
    train, val = (read(folder) for folder in runs)
    shared = set(train.Tags()["scalars"]) & set(val.Tags()["scalars"])
    assert shared == {"1 learning/loss", "1 learning/accuracy", MODES}
    loss = train.Scalars("1 learning/loss")
    assert [event.value for event in loss] == pytest.approx([1, 0.5, 1 / 3])
    assert [event.step for event in loss] == [1, 2, 3]
    assert [event.value for event in train.Scalars(MODES)] == pytest.approx([0.9] * 3)
    assert [event.value for event in val.Scalars(MODES)] == pytest.approx([0.6] * 3)
    assert len(val.Tags()["images"]) == 2
    assert {tag.split("/")[-1] for tag in val.Tags()["scalars"]} >= {"bn_gap", "a", "val_acc"}
    start = val.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    told = HParamsPluginData.FromString(start).session_start_info.hparams
    assert told["lr"].number_value == 0.1
    assert told["frozen"].string_value == "true", "a number would be shown as 1.0000"


def test_a_resumed_run_purges_what_it_repeats(tmp_path: Path):
    board = RunTensorBoard(tmp_path)
    for epoch in range(3):
        board.epoch(HISTORY[epoch], epoch)
    board.close()
    time.sleep(1.1)  # TensorBoard reads event files in the order of the seconds in their names
    board = RunTensorBoard(tmp_path)
    board.resume(2)
    board.epoch({**HISTORY[2], "train/loss": 7.0}, 2)
    board.close()
    loss = read(tmp_path / "tb/train").Scalars("1 learning/loss")
    assert [event.step for event in loss] == [1, 2, 3]
    assert loss[2].value == 7
    board.start_anew()
    assert not (tmp_path / "tb").exists()


def test_a_class_name_is_no_formula(tmp_path: Path):
    draw_run(to_draw(tmp_path, ["a$x_{$", "b"]))
    assert (tmp_path / "confusion_matrix.png").stat().st_size > 1000


def test_an_arm_may_be_called_anything(tmp_path: Path):
    labels = ["a$_$b", "/data/[/old]", "x[a-z]"]
    for number, label in enumerate(labels):
        job(tmp_path, number, f"n{number}", 1, 0.5 if number < 2 else None, label)
    rows = arms(collect(tmp_path))
    draw_comparison(rows, tmp_path / "comparison.png")
    save(curves_figure(HISTORY, labels[0], 1), tmp_path / "curves.png")
    console = Console(record=True, width=200)
    print_table(rows, console)
    text = console.export_text()
    assert all(label in text for label in labels)


def test_runs_of_one_name_and_other_settings_are_no_seeds_of_one_arm(tmp_path: Path):
    for number, (seed, width) in enumerate([(1, 8), (2, 8), (1, 16), (1, 16)]):
        write_run(tmp_path / str(number), "arm", seed)
        path = tmp_path / str(number) / "metrics.json"
        content = json.loads(path.read_text())
        content["switches"]["head"]["width"] = width
        path.write_text(json.dumps(content))
    found = {row.label: len(row.val_accs) for row in arms(collect(tmp_path))}
    assert found == {"arm head.width=8": 2, "arm head.width=16 (2)": 1, "arm head.width=16 (3)": 1}
    (tmp_path / "multirun.yaml").touch()  # the jobs of a grid have names of their own
    shutil.rmtree(tmp_path / "2")
    shutil.rmtree(tmp_path / "3")
    assert [row.label for row in arms(collect(tmp_path))] == ["arm"]


def test_a_table_shows_all_columns_on_a_narrow_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    label = "frozen_bn optim.lr=0.0001 data.batch_size=32 head.width=1024 head.dropout=0.5"
    print_table([ArmRow(label, [0.8], [0.7], [0.6], bn_gaps=[0.123], seconds=[4.0])], Console(width=100))
    (row,) = (line for line in capsys.readouterr().out.splitlines() if label in line)
    assert row.split()[-6:] == ["0.800", "0.700", "0.600", "+0.123", "4", "1"]
