"""The report at its edges: what it must not clear, odd names, numbers that are none, and its command line."""

import csv
import json
import logging
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fewer import mostly_slow
from markdown_it import MarkdownIt
from PIL import Image
from report_folders import switches, write_run, write_study, write_sweep
from rich.console import Console
from test_cli import Stub

from seedsweep.cli.config.compose import command_line_of
from seedsweep.cli.main import main
from seedsweep.report.blocks import Bar, Table, Text
from seedsweep.report.contents import Material, read_material
from seedsweep.report.grid_results import print_table
from seedsweep.report.next_command import same_command
from seedsweep.report.sections import calibration, confusion, curves, provenance
from seedsweep.report.sections.in_words import sentences
from seedsweep.report.write_report import build, found_sections, write_report
from seedsweep.runs.csv_files import Predictions
from seedsweep.runs.run_result import RunResult
from seedsweep.stats.calibration_error import calibrate
from seedsweep.stats.interval import wilson
from seedsweep.training import run as training


def amend(run: Path, **changes: Any) -> None:
    """Changes keys of a run's metrics.json; None: the key goes."""
    path = run / "metrics.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


@pytest.mark.parametrize(
    ("policy", "changes", "cleared"),
    [
        ("inference", {}, True),
        ("update_stats", {"switches": switches("update_stats", 0)}, True),
        ("update_stats", {}, False),
        ("recalibrate", {}, False),
        ("train", {}, False),
        ("batch_stats", {"train_images": None}, False),
    ],
)
@pytest.mark.parametrize("train", [0.92, 0.79])
def test_two_modes_that_agree_clear_batchnorm_only_where_it_normalises_alike(
    policy: str, changes: dict[str, Any], cleared: bool, train: float, tmp_path: Path
):
    write_run(tmp_path / "r", "arm", 1, 0.8, batchnorm=policy)
    scores = {"loss": 0.5, "acc": train, "macro_f1": train}
    amend(tmp_path / "r", train=scores, images={"val": {"a": 30, "b": 30}}, **changes)
    second = sentences(read_material(tmp_path / "r", command_line_of))[1]
    said = "BatchNorm has no part in it" if train > 0.9 else "neither overfitting nor BatchNorm holds it back"
    assert (said in second) == cleared
    assert ("compare with `batchnorm=inference`" in second) != cleared
    if "train_images" in changes:
        assert "bn_gap was not measured" in second
        assert "0.0" not in second.replace("80.0", "")
        assert "in both modes" not in second
    else:
        assert "in both modes within 5 points (bn_gap 0.0, after the last epoch)" in second


def test_a_random_net_whose_statistics_were_never_measured_is_not_cleared(tmp_path: Path):
    write_run(tmp_path / "r", "arm", 1, 0.8, batchnorm="inference")
    images = {"val": {"a": 30, "b": 30}}
    amend(tmp_path / "r", train={"acc": 0.79}, weights={"source": "none", "note": ""}, images=images)
    second = sentences(read_material(tmp_path / "r", command_line_of))[1]
    assert "neither overfitting nor BatchNorm" not in second
    assert "mean 0 and variance 1 that a random net begins with" in second
    assert "compare with `batchnorm=train`" in second


def test_a_run_at_the_largest_class_is_held_back_by_something(tmp_path: Path):
    write_run(tmp_path / "r", "arm", 1, 0.75)  # of the validation images the largest class makes 75 %
    amend(tmp_path / "r", train={"acc": 0.74})
    second = sentences(read_material(tmp_path / "r", command_line_of))[1]
    assert "holds it back" not in second
    assert "not clearly above that of always predicting the largest class" in second
    assert "task=diagnose" in second


def test_the_comparison_for_a_random_start_is_one_that_exists(tmp_path: Path):
    write_run(tmp_path / "r", "arm", 1, 0.9, batchnorm="train")
    amend(tmp_path / "r", weights={"source": "none"}, images={"val": {"a": 30, "b": 30}})
    assert (
        "compare with another `data.batch_size`"
        in sentences(read_material(tmp_path / "r", command_line_of))[1]
    )


def test_what_is_put_back_says_into_what(tmp_path: Path):
    write_sweep(tmp_path)
    rungs = [
        {"name": name, "label": label, "mean": mean, "delta": None, "on_path": True, "seeds": {}}
        for name, label, mean in (("batch_32", "batches of 32", 0.79), ("tuned", "fine-tuned", 0.8))
    ]
    back = [
        {"label": "inputs scaled twice", "mean": 0.79 + delta, "delta": delta, "after": after, "seeds": {}}
        for after, delta in (("batch_32", -0.514), ("tuned", -0.001), ("gone", -0.2))
    ]
    (tmp_path / "ladder.json").write_text(json.dumps({"rungs": rungs, "put_back": back}))
    sections = {section.name: section for section in build(read_material(tmp_path))}
    tables = {block.caption: block.rows for block in sections["ladder"].blocks if isinstance(block, Table)}
    rows = {
        caption.partition(": ")[2]: rows for caption, rows in tables.items() if "put back into" in caption
    }
    assert {base: [row[3].text for row in each] for base, each in rows.items()} == {
        "batches of 32": ["−51.4"],
        "fine-tuned": ["−0.1"],
        "gone": ["−20.0"],
    }


def again(folder: Path) -> list[str]:
    """Returns the arguments of the command line that a report prints."""
    words = shlex.split(same_command(read_material(folder)))
    assert words[:3] == ["python", "-m", "seedsweep"]
    return words[3:]


def test_the_command_of_a_resumed_run_runs_it_again(monkeypatch: pytest.MonkeyPatch, in_tmp: Path):
    stub = Stub()
    monkeypatch.setattr(training, "train", stub)
    stub.fail["frozen_bn"] = KeyboardInterrupt()
    line = ["+experiment=frozen_bn", "data.group_regex='^(a b)_'", "optim.lr=2e-4", "hydra.run.dir=my run"]
    assert main(line) == 130
    del stub.fail["frozen_bn"]
    assert main(["resume=my run"]) == 0
    assert main(again(Path("my run"))) == 0
    _, second, third = stub.calls
    assert second[0].optim.lr == third[0].optim.lr == 2e-4
    assert second[0].data == third[0].data
    assert second[1] != third[1], "the folder that is there is left alone"
    assert not third[3]


def test_the_command_says_how_to_keep_to_the_same_images(tmp_path: Path):
    folder = tmp_path / "my run"
    write_run(folder, "arm")
    said = said_of(folder, "+experiment=frozen_bn")
    assert "Images that were added since" not in said, "no manifest is there"
    (folder / "manifest.csv").write_text("path,class,split\na.jpg,a,train\n")
    assert f"`'data.manifest={folder}/manifest.csv'`" in said_of(folder, "+experiment=frozen_bn")
    assert "Images that were added since" not in said_of(folder, "data.manifest=m.csv")


def said_of(folder: Path, line: str) -> str:
    """Returns the texts of the section on what was run, of a run that ``line`` began."""
    (folder / ".hydra").mkdir(exist_ok=True)
    hydra = {"overrides": {"task": [line], "hydra": []}, "runtime": {"config_sources": []}}
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump({"hydra": hydra}))
    section = provenance.section(read_material(folder))
    return " ".join(block.text for block in section.blocks if isinstance(block, Text))


def test_a_run_that_was_stopped_says_so(tmp_path: Path):
    write_run(tmp_path / "r", "arm")
    amend(tmp_path / "r", status="interrupted")
    assert "it was stopped after 3 epochs, before its end." in sentences(read_material(tmp_path / "r"))[0]


def test_the_command_of_a_grid_knows_where_its_sweep_is(monkeypatch: pytest.MonkeyPatch, in_tmp: Path):
    stub = Stub()
    monkeypatch.setattr(training, "train", stub)
    file = in_tmp / "my conf" / "sweep" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(
        "# @package _global_\noptim: {lr: 3e-4}\n"
        "hydra: {sweeper: {params: {+experiment: frozen_bn, seed: '1,2'}}}\n"
    )
    assert main(["--config-dir", "my conf", "-m", "+sweep=mine", "seed=2", "hydra.sweep.dir=first"]) == 0
    assert main([*again(Path("first")), "hydra.sweep.dir=second"]) == 0
    job = next(path.parent for path in Path("first").glob("*/metrics.json"))
    assert main([*again(job), "hydra.sweep.dir=third"]) == 0
    assert len(stub.calls) == 3
    assert {(c.seed, c.experiment.name, c.optim.lr) for c, *_ in stub.calls} == {(2, "frozen_bn", 3e-4)}
    assert sorted(path.parent.parent.name for path in Path().glob("*/*/metrics.json")) == [
        "first", "second", "third",
    ]  # fmt: skip


ODD = [
    "```<img src=x onerror=alert(1)>`", "`<b>`<i>", "``<u>``", "a\\`<s>`", "[red]$x_{$", "[b](http://a.example)",
    "![c](d)", "&lt;b&gt;", "~~x~~", "a|b*c*_d_", "<http://a.example>",
]  # fmt: skip


@pytest.mark.parametrize("name", mostly_slow(ODD, ODD[:5]))
def test_markdown_shows_names_and_nothing_else(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if "<img" not in name:  # plots go to the page, which is read for this one only
        monkeypatch.setattr("seedsweep.report.run_pictures.svg", lambda *_: "")
    write_run(
        tmp_path / "r",
        name,
        classes=[name, "plain", "`code` " + name],
        photo=name.translate({ord(sign): None for sign in "/{}"}) + "{}.jpg",
    )
    page = write_report(tmp_path / "r")
    assert "<img src=x" not in page.read_text()
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")
    blocks = tokens.parse((tmp_path / "r/report.md").read_text())
    inline = [child for token in blocks for child in token.children or []]
    kinds = {token.type for token in [*blocks, *inline]}
    assert not kinds & {"html_inline", "html_block", "image", "link_open", "em_open", "strong_open", "s_open"}
    text = "".join(token.content for token in inline)
    assert (name in text) or "`" in name, "it is shown as what it is"
    assert "alert(1)" in text or "alert" not in name


def test_probabilities_that_are_none_cost_no_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    write_run(tmp_path / "r", "arm", classes=["a", "b", "c"])
    path = tmp_path / "r/predictions.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {f"p_{name}": "nan" for name in "abc"} for row in rows)
    (tmp_path / "r/history.csv").write_text("epoch,train/loss,val/loss\n0,nan,nan\n1,nan,inf\n")
    with caplog.at_level(logging.WARNING):
        write_report(tmp_path / "r")
    assert caplog.records == []
    assert "no numbers (training diverged)" in (tmp_path / "r/report.md").read_text()


def test_a_section_that_fails_says_why_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    write_run(tmp_path / "r", "arm")

    def broken(_: Material) -> None:
        raise IndexError("no ink.\nat all")

    monkeypatch.setattr(found_sections()[1], "section", broken)
    with caplog.at_level(logging.DEBUG):
        build(read_material(tmp_path / "r", command_line_of))
    (loud,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert loud.getMessage().endswith(": no ink.")
    assert loud.exc_info is None
    assert [record for record in caplog.records if record.exc_info], "the details are there for who looks"


def recalls(groups: list[str] | None) -> dict[str, Bar]:
    """Returns the bars of three classes: 6 of 8 groups of five right, one group of ten alone, 4 groups all right."""
    labels = np.repeat([0, 1, 2], [40, 10, 20])
    right = np.concatenate([np.repeat([1, 1, 1, 0, 1, 1, 1, 0], 5), [1, 0] * 5, np.ones(20)])
    answers = Predictions(
        classes=["eight", "one", "four"],
        paths=[str(n) for n in range(70)],
        labels=labels,
        predicted=np.where(right, labels, (labels + 1) % 3),
        probabilities=np.full((70, 3), 1 / 3),
        groups=None if groups is None else np.array(groups),
    )
    run = RunResult(Path())
    run.__dict__["predictions"] = {"test": answers}
    section = confusion.section(Material("run", Path(), [run], best=run))
    assert section is not None
    table = next(block for block in section.blocks if isinstance(block, Table) and not block.matrix)
    told = " ".join(block.text for block in section.blocks if isinstance(block, Text))
    assert ("counts as one draw" in told) == (groups is not None)
    return {str(row[0]): row[1] for row in table.rows if isinstance(row[1], Bar)}


def test_recall_draws_groups_where_there_are_any():
    groups = [f"e{n // 5}" for n in range(40)] + ["one"] * 10 + [f"f{n // 5}" for n in range(20)]
    images, grouped = recalls(None), recalls(groups)
    alone = wilson(30, 40)
    assert (images["eight"].low, images["eight"].high) == (alone.low, alone.high)
    eight = grouped["eight"]
    assert eight.value == 0.75
    assert eight.high - eight.low > 1.5 * (alone.high - alone.low), "eight witnesses, not forty"
    assert grouped["one"].value == 0.5
    assert grouped["one"].low is grouped["one"].high is None, "one group does not tell how groups differ"
    assert grouped["four"].low == pytest.approx(wilson(4, 4).low)
    assert images["four"].low == pytest.approx(wilson(20, 20).low)


def test_a_study_says_why_it_has_no_grad_cam(tmp_path: Path):
    write_study(tmp_path)
    best = read_material(tmp_path).best
    assert best is not None
    for path in best.predictions["test"].paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    for gradcam in (8, 0):
        write_report(tmp_path, gradcam=gradcam)
        assert ("No Grad-CAM here" in (tmp_path / "report.md").read_text()) == bool(gradcam)


def test_a_temperature_comes_with_the_setting_that_uses_it():
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (600, 3))
    honest = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (honest.cumsum(1) < random.random((600, 1))).sum(1)
    boastful = honest**3 / (honest**3).sum(1, keepdims=True)
    found = calibrate(boastful[300:], labels[300:], boastful[:300], labels[:300])
    told = calibration.in_words(found)
    assert "the net is overconfident in the mean" in told
    assert f"give `predict.temperature={found.temperature:.3g}`" in told
    assert "`task=predict` and `task=export` do so unless told" in calibration.in_words(found, kept=True)
    worse = calibrate(honest[300:], labels[300:], boastful[:300], labels[:300], temperature=9.0)
    worse = replace(worse, ece_by_chance=0.0)
    assert "`predict.temperature=1`" in calibration.in_words(worse, kept=True)
    assert "does not help" in calibration.in_words(worse)


def test_only_a_run_whose_checkpoint_can_promise_says_what_max_error_leaves(tmp_path: Path):
    """``task=predict max_error=...`` refuses the checkpoint of an earlier version, which keeps no temperature."""
    run = tmp_path / "run"
    write_run(run, "arm")
    for temperature in (None, 1.5):
        metrics = json.loads((run / "metrics.json").read_text()) | {"temperature": temperature}
        (run / "metrics.json").write_text(json.dumps(metrics))
        said = str(calibration.section(read_material(run)))
        assert "ECE after scaling by it" in said
        assert ("max_error=0.05" in said) == (temperature is not None)


def test_drawn_numbers_stand_on_a_scale(tmp_path: Path):
    write_run(tmp_path / "r", "arm")
    write_report(tmp_path / "r")
    page = (tmp_path / "r/report.html").read_text()
    drawn = re.findall(r'<th scope="col"[^>]*>recall(.*?)</th>', page)
    assert drawn
    assert all(re.findall(r"<span>([^<]+)</span>", scale) == ["0", "50", "100 %"] for scale in drawn)
    for label in (">epoch<", ">accuracy<", ">loss<", ">share of correct answers<", ">confidence<"):
        assert label in page


FROZEN_BN = {"label": "frozen_bn", "departures": ["batchnorm.training_statistics=batch"]}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        # called frozen_bn, and its switches are those of batch_stats: nothing is trained that could lag behind
        (FROZEN_BN | {"switches": switches("batch_stats")}, "normalise with other statistics at inference"),
        ({"switches": switches("train", update_statistics=False)}, "normalise with other statistics"),
        ({"switches": switches("train")}, "BatchNorm's running statistics may lag behind the trained weights"),
        ({"switches": switches("inference")}, "normalise alike in both, so there is another reason"),
        ({"switches": None}, "how its BatchNorm layers were set is not known"),
    ],
)  # fmt: skip
def test_a_gap_is_explained_by_the_switches_alone(changes: dict[str, Any], says: str, tmp_path: Path):
    write_run(tmp_path / "r", "arm", 1, 0.7, (0.9, 0.3))
    amend(tmp_path / "r", **changes)
    first, second = sentences(read_material(tmp_path / "r", command_line_of))
    assert says in second
    assert ("may lag" in second) == ("may lag" in says)
    if "departures" in changes:
        assert first.startswith("`frozen_bn` (with `batchnorm.training_statistics=batch`) classifies 70.0 %")


def test_the_comparison_changes_what_the_run_did(tmp_path: Path):
    """A choice of a group would be overridden by the run's own single value: the advice is a single value, too."""
    write_run(tmp_path / "r", "frozen_bn", 1, 0.8, batchnorm="batch_stats")
    amend(tmp_path / "r", images={"val": {"a": 30, "b": 30}})
    path = tmp_path / "r" / ".hydra" / "hydra.yaml"
    said = json.loads(path.read_text())
    said["hydra"]["overrides"]["task"] = ["+experiment=frozen_bn", "batchnorm.training_statistics=batch"]
    path.write_text(json.dumps(said) + "\n")
    assert (
        "compare with `batchnorm.training_statistics=stored`."
        in sentences(read_material(tmp_path / "r", command_line_of))[1]
    )
    path.unlink()  # no command line is known that it could be proved on
    assert "compare with" not in sentences(read_material(tmp_path / "r", command_line_of))[1]


def test_an_arm_that_departs_from_its_experiment_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_sweep(tmp_path)
    for run in tmp_path.glob("*_good_*"):
        amend(run, departures=["batchnorm.training_statistics=batch"])
    write_report(tmp_path)
    plain = (tmp_path / "report.md").read_text()
    said = "good (with batchnorm.training_statistics=batch): the experiment of this name says otherwise."
    assert said in plain.replace("\\", "")
    material = read_material(tmp_path)
    assert sentences(material)[0].startswith(
        "`good` (with `batchnorm.training_statistics=batch`) classifies 90.0 %"
    )
    print_table(material.rows, Console())
    assert said in " ".join(capsys.readouterr().out.split())


def test_no_reason_is_given_for_no_difference(tmp_path: Path):
    for label, modes in (("good", (0.95, 0.95)), ("apart", (0.95, 0.6))):
        write_run(tmp_path / label, label, 1, 2 / 3, modes, "batch_stats")
    said = " ".join(sentences(read_material(tmp_path)))
    assert "is equal" in said
    assert "within noise" not in said
    assert "behind" not in said


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "while the weights change."),
        ({"head": {"dropout": 0.5}}, "while the weights change, with dropout."),
        ({"backbone": {"dropout": True}, "augment": {"name": "flips"}}, "with augmented images and dropout."),
    ],
)
def test_curves_say_what_acted_in_training(changes: dict[str, Any], says: str, tmp_path: Path):
    write_run(tmp_path / "r", "arm", 1, 0.8)
    made = switches("inference")
    for key, values in changes.items():
        made[key] |= values  # type: ignore[operator]
    amend(tmp_path / "r", switches=made)
    section = curves.section(read_material(tmp_path / "r", command_line_of))
    assert section is not None
    assert says in next(block.text for block in section.blocks if isinstance(block, Text))


def test_a_class_that_is_never_predicted_has_no_precision():
    labels = np.repeat([0, 1], [6, 4])
    run = RunResult(Path())
    answers = Predictions(["a", "b"], [str(n) for n in range(10)], labels, 0 * labels, np.full((10, 2), 0.5))
    run.__dict__["predictions"] = {"test": answers}
    section = confusion.section(Material("run", Path(), [run], best=run))
    assert section is not None
    table = next(block for block in section.blocks if isinstance(block, Table) and not block.matrix)
    assert {row[0]: row[3] for row in table.rows} == {"a": "60.0", "b": "–"}
