"""The ladder: its rungs compose one change apart; from jobs to sentences, picture and table."""

import csv
import json
import logging
from pathlib import Path

import pytest
from composed import compose_config
from omegaconf import OmegaConf
from rich.console import Console

from seedsweep.cli.config.hydra_setup import to_config
from seedsweep.cli.main import main
from seedsweep.names import conf_dir
from seedsweep.report.ladder_files import as_dict, close_ladder, read_ladder
from seedsweep.runs.grid import collect

FILES = sorted(path.stem for path in (conf_dir() / "rung").glob("*.yaml"))
NAMES = ("experiment", "rung")


@pytest.fixture(scope="module")
def composed() -> dict:
    """Every file of conf/rung as the sweep composes it, by experiment.name."""
    found = {name: compose_config(f"+rung={name}", "seed=1", "+sweep=ladder") for name in FILES}
    return {cfg.experiment.name: cfg for cfg in found.values()}


def differences(a, b) -> list[str]:
    """Returns the settings, group by group, in which two configs differ."""
    left, right = OmegaConf.to_container(a), OmegaConf.to_container(b)
    return [key for key in left if key not in NAMES and left[key] != right[key]]


def test_rungs_differ_in_one_thing(composed: dict):
    assert len(composed) == len(FILES) >= 19
    for name, cfg in composed.items():
        assert to_config(cfg).rung.label
        assert cfg.rung.change
        if name == "as_asked":
            assert not cfg.rung.after
            continue
        changed = differences(cfg, composed[cfg.rung.after])
        wanted = 2 if name in ("finetuned",) else 1  # freezing and BatchNorm are one thing there
        assert len(changed) == wanted, (name, changed)


def test_the_story_in_its_order(composed: dict):
    rungs = [name for name, cfg in composed.items() if cfg.rung.kind == "rung"]
    assert rungs == [
        "as_asked", "scaled_once", "bn_inference", "lr_1e-4", "lr_3e-5", "lr_1e-5", "dropout", "narrower", "batch_32",
        "finetuned",
    ]  # fmt: skip
    first = composed["as_asked"]
    assert (first.preprocess.name, first.batchnorm.name, first.data.batch_size) == (
        "rescale_twice",
        "batch_stats",
        4,
    )
    assert (first.augment.name, first.optim.lr, first.head.width) == ("question", 1e-3, 1024)
    assert composed["finetuned"].batchnorm.name == "train"
    assert {cfg.augment.name for cfg in composed.values()} == {"question"}


def write_jobs(root: Path, composed: dict, accs: dict[str, list[float | None]]) -> None:
    """Writes what jobs leave: their config, and a result, or none where the accuracy is None."""
    number = 0
    for name, values in accs.items():
        for seed, acc in enumerate(values, 1):
            job = root / f"{number}_{name}_s{seed}"
            (job / ".hydra").mkdir(parents=True)
            number += 1
            OmegaConf.save(composed[name], job / ".hydra" / "config.yaml")
            if acc is None:
                failure = {"reason": "no memory", "label": name, "experiment": name, "seed": seed}
                (job / "failure.json").write_text(json.dumps(failure))
                continue
            scores = {"acc": acc, "macro_f1": acc}
            metrics = {
                "status": "finished", "label": name, "experiment": name, "seed": seed, "val": scores, "test": scores,
                "train": scores, "train_images": {"bn_gap": 0.0, "bn_gap_last": 0.0}, "wall_seconds": 1.0,
                "images": {"val": {"a": 30, "b": 70}},
            }  # fmt: skip
            (job / "metrics.json").write_text(json.dumps(metrics))


def test_a_cell_is_named_by_what_its_runs_did(composed: dict, tmp_path: Path):
    """A net without BatchNorm layers is under no policy; a failed seed changes nothing."""
    write_jobs(tmp_path, composed, {"as_asked": [0.3, None]})
    path = next(tmp_path.glob("0_*/metrics.json"))
    record = {"version": 2, "preprocess": "rescale_twice", "batchnorm": "none"}
    path.write_text(json.dumps(json.loads(path.read_text()) | record))
    ladder = read_ladder(tmp_path, collect(tmp_path))
    assert ladder
    assert [(arm.scaling, arm.policy) for arm in ladder.arms] == [("rescale_twice", "none")]


ACCS = {
    "as_asked": [0.30, 0.31, 0.32],
    "scaled_once": [0.50, 0.51, 0.55],
    "bn_inference": [0.80, 0.82, 0.84],
    "lr_1e-4": [0.81, 0.82, 0.83],
    "lr_1e-5": [0.60, 0.62, 0.64],
    "dropout": [0.82, 0.83, 0.84],
    "batch_32": [0.80, 0.82, 0.82],
    "back_batch_stats": [0.40, 0.44, 0.42],
    "back_wide": [0.80, 0.82, 0.83],
    "inference_scaled_twice": [0.31, 0.32, 0.33],
}


def test_what_each_change_was_worth(composed: dict, tmp_path: Path):
    write_jobs(tmp_path, composed, ACCS)
    console = Console(width=200, record=True, quiet=False, file=(tmp_path / "out.txt").open("w"))
    assert set(close_ladder(tmp_path, collect(tmp_path), console)) == {
        "ladder.png",
        "ladder.json",
        "ladder.csv",
    }
    content = json.loads((tmp_path / "ladder.json").read_text())
    rungs = {entry["name"]: entry for entry in content["rungs"]}
    assert list(rungs) == [name for name in ACCS if composed[name].rung.kind == "rung"]
    second = rungs["scaled_once"]
    # by hand: differences .20, .20, .23; mean .21, sd .01732, t(2) = 4.3027
    assert second["delta"] == pytest.approx(0.21)
    assert second["delta_high"] == pytest.approx(0.21 + 4.3027 * 0.017321 / 3**0.5, abs=1e-5)
    assert second["mean"] == pytest.approx(0.52)
    assert second["n"] == 3
    assert "+21.0 points (+16.7 to +25.3 over 3 seeds), .520 against .310 (as asked)." in second["sentence"]
    assert "within noise" in rungs["lr_1e-4"]["sentence"]
    assert "always the largest class gives .700" in rungs["as_asked"]["sentence"]
    assert [name for name, entry in rungs.items() if not entry["on_path"]] == ["lr_1e-5"]
    assert rungs["lr_1e-5"]["after"] == "bn_inference"
    assert rungs["batch_32"]["after"] == "dropout"  # `narrower` is not in this grid: the rung before it
    assert [entry["name"] for entry in content["put_back"]] == [
        "back_batch_stats",
        "back_wide",
    ]  # costliest first
    assert content["put_back"][0]["delta"] == pytest.approx(0.42 - 0.8133, abs=1e-4)
    table = content["two_by_two"]
    means = [[cell["mean"] for cell in row] for row in table["cells"]]
    assert means == [pytest.approx([0.31, 0.32]), pytest.approx([0.52, 0.82])]
    assert table["interaction"]["mean"] == pytest.approx(0.30 - 0.01)
    assert "hide what BatchNorm costs" in table["sentence"]
    rows = list(csv.DictReader((tmp_path / "ladder.csv").open()))
    assert [row["kind"] for row in rows].count("put_back") == 2
    assert float(rows[1]["delta"]) == pytest.approx(0.21)
    assert (tmp_path / "ladder.png").stat().st_size > 20_000
    printed = console.export_text()
    assert second["sentence"] in printed
    assert "put back into: batches of 32" in printed
    assert table["sentence"] in printed


def test_jobs_that_failed_and_single_seeds(composed: dict, tmp_path: Path):
    accs = {"as_asked": [0.3], "scaled_once": [None], "bn_inference": [0.8], "inference_scaled_twice": [0.2]}
    write_jobs(tmp_path, composed, accs)
    assert close_ladder(tmp_path, collect(tmp_path), Console(quiet=True))
    ladder = read_ladder(tmp_path, collect(tmp_path))
    first, failed, last = ladder.steps()
    assert failed.sentence == "Inputs scaled once: no run finished."
    assert (first.mean, first.delta) == (0.3, None)
    assert last.delta is None  # what it differs from in one thing has no result
    entry = as_dict(ladder)["rungs"][0]
    assert (entry["low"], entry["n"]) == (None, 1)
    assert "NaN" not in (tmp_path / "ladder.json").read_text()
    table = as_dict(ladder)["two_by_two"]
    assert table["cells"][1][0]["mean"] is None, "inputs scaled once, batch statistics in training"
    assert "A cell is missing" in table["sentence"]


def test_two_nets_make_no_ladder(composed: dict, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    write_jobs(tmp_path, composed, {"as_asked": [0.2, 0.3], "scaled_once": [0.5, 0.6]})
    config = next(tmp_path.glob("*as_asked_s2")) / ".hydra/config.yaml"
    config.write_text(config.read_text().replace("name: auto", "name: vgg16"))
    assert read_ladder(tmp_path, collect(tmp_path)) is None
    assert "as_asked was run with more than one setting of something else (backbone)" in caplog.text


def test_a_grid_without_rungs_has_no_ladder(composed: dict, tmp_path: Path):
    cfg = OmegaConf.merge(composed["as_asked"], {"rung": {"kind": ""}})
    write_jobs(tmp_path, {"as_asked": cfg}, {"as_asked": [0.3]})
    assert close_ladder(tmp_path, collect(tmp_path), Console(quiet=True)) == ()
    assert not (tmp_path / "ladder.json").exists()


def test_two_rungs_on_the_demo(in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    rungs = "rung=00_as_asked,02_bn_inference"
    small = [
        "data.demo.n_images=70",
        "data.image_size=[32,32]",
        "trainer.max_epochs=1",
        "trainer.probe_images=8",
    ]
    quick = ["backbone=timm", "backbone.name=test_resnet", "backbone.weights=none", "report.write=false"]
    line = [
        "-m",
        "+sweep=ladder",
        rungs,
        "seed=1",
        "features.engine=torch",
        "hydra.sweep.dir=g",
        *small,
        *quick,
    ]
    assert main(line) == 0
    out = capsys.readouterr().out
    assert "one change at a time" in out
    assert "ladder.png, ladder.json" in out
    content = json.loads(Path("g/ladder.json").read_text())
    assert [entry["name"] for entry in content["rungs"]] == ["as_asked", "bn_inference"]
    assert content["rungs"][0]["label"] == "as asked"
    assert content["rungs"][1]["after"] == "as_asked"  # the rung between them was left out
    assert content["rungs"][1]["delta"] is not None
    assert content["two_by_two"] is None
    table = [line for line in Path("g/results.csv").read_text().splitlines() if "bn_inference" in line]
    assert len(table) == 1


def test_no_ladder_over_data_sets(tmp_path: Path, composed: dict, caplog: pytest.LogCaptureFixture):
    write_jobs(tmp_path, composed, {"as_asked": [0.3], "scaled_once": [0.5]})
    assert read_ladder(tmp_path, collect(tmp_path)) is not None
    close_ladder(tmp_path, collect(tmp_path), Console(quiet=True))
    assert (tmp_path / "ladder.json").is_file()
    metrics = tmp_path / "1_scaled_once_s1/metrics.json"
    content = json.loads(metrics.read_text())
    content["images"]["val"] = {"a": 90, "b": 10}
    metrics.write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING):
        assert close_ladder(tmp_path, collect(tmp_path), Console(quiet=True)) == ()
    assert "its rungs were judged by different images" in caplog.text
    assert not (tmp_path / "ladder.json").exists(), "nobody reads the one of an earlier call for this"
