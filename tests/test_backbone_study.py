"""``+study=backbones``: what frozen nets are worth, and which one is taken."""

import csv
import shlex
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from seedsweep.cli.main import main
from seedsweep.diagnosis.transfer import Measured, front, log_evidence
from seedsweep.models.options import BackboneConfig
from seedsweep.report.backbones import Candidate, Comparison


def slow_evidence(features: np.ndarray, labels: np.ndarray) -> float:
    """The largest log density of each class's indicator, with w integrated out; no eigenvalues."""
    found = []
    for label in np.unique(labels):
        y, n = (labels == label).astype(float), len(labels)

        def loss(logs: np.ndarray, y: np.ndarray = y, n: int = n) -> float:
            alpha, beta = np.exp(logs)
            spread = np.eye(n) / beta + features @ features.T / alpha
            return -float(multivariate_normal.logpdf(y, np.zeros(n), spread))

        found.append(-minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-7}).fun / n)
    return float(np.mean(found))


@pytest.mark.parametrize(("n", "width"), [(40, 5), (25, 60)])
def test_logme_is_the_largest_evidence(n: int, width: int):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    features = rng.normal(size=(n, width)) + 0.7 * labels[:, None]
    assert log_evidence(features, labels) == pytest.approx(slow_evidence(features, labels), abs=1e-4)


def test_logme_prefers_features_that_tell_classes_apart():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    noise = rng.normal(size=(90, 6))
    better = noise + 2 * np.eye(6)[labels]
    assert log_evidence(better, labels) > log_evidence(noise, labels)
    assert log_evidence(10 * better, labels) == pytest.approx(log_evidence(better, labels), abs=1e-4)


def test_the_front_holds_what_nothing_beats():
    times, accs = [3, 1, 2, 2, 4, 5], [0.8, 0.5, 0.7, 0.6, 0.8, 0.9]
    kept = front(times, accs)
    assert kept == [1, 2, 0, 5]
    for place in set(range(6)) - set(kept):
        assert any(times[k] <= times[place] and accs[k] >= accs[place] for k in kept)


def test_the_table_ranks_by_the_probe_and_names_what_it_cannot_tell_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def candidate(name: str, right: int, ms: float, size: int) -> Candidate:
        asked = np.arange(210) < 200  # the probe had no chance with the last ten
        measured = Measured(np.arange(210) < right, asked, 0.5, -0.1, ms, "torch", 10**6, "none", "random")
        return Candidate(f"{name} {size}", BackboneConfig(name, "own", "none"), [size, size], measured)

    found = [candidate("a", 60, 1, 32), candidate("b", 150, 2, 32), candidate("b", 152, 3, 64)]
    made = Comparison(found, {"[c]": "It is not there."}, [str(row) for row in range(210)], "finetune_bn")
    assert [each.name for each in made.ranked] == ["b 64", "b 32", "a 32"]
    assert [each.name for each in made.best_nets] == ["b 64", "a 32"]
    assert made.winner.name == "b 64"
    assert made.sentences == [
        "`b 64` has the best probe: 76.0 % of 200 images correct (95 % interval "
        f"{100 * made.ranking['b 64'].interval.low:.1f}–{100 * made.ranking['b 64'].interval.high:.1f}).",
        "These images don't tell `b 32` from it.",
    ]
    made.tell(tmp_path, "the command", write_page=False)
    said = capsys.readouterr().out
    assert "left out: [c]: It is not there." in said
    assert said.rstrip().endswith("the command")
    with (tmp_path / "backbones.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["b 64", "b 32", "a 32", "[c]"]
    assert [row["on_front"] for row in rows] == ["1", "1", "1", ""]
    assert float(rows[1]["behind_the_best"]) == pytest.approx(0.01)
    assert rows[3]["left_out"] == "It is not there."


def test_the_whole_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    nets = "backbones.nets=[{name:test_resnet,weights:none},{name:test_efficientnet,weights:none},{name:test_vit}]"
    settings = ["data.demo.n_images=70", "data.image_size=[32,32]", "trainer.max_epochs=1", "forecast=off"]
    out = ["features.engine=torch", "trainer.accelerator=cpu", f"hydra.run.dir={tmp_path / 'out'}"]
    assert main(["+study=backbones", nets, "backbones.finetune=1", *settings, *out]) == 0
    said = capsys.readouterr().out
    with (tmp_path / "out" / "backbones.csv").open() as file:
        first, second, third = csv.DictReader(file)
    assert {first["net"], second["net"]} == {"test_resnet", "test_efficientnet"}
    assert 0 < float(first["probe_low"]) <= float(first["probe_acc"]) <= float(first["probe_high"]) < 1
    assert float(second["probe_acc"]) <= float(first["probe_acc"])
    assert min(float(row["ms_per_image"]) for row in (first, second)) > 0
    assert 0 <= float(first["finetuned_test_acc"]) <= 1
    assert not second["finetuned_test_acc"]
    assert third["name"] == "test_vit"
    assert "can't be reached" in third["left_out"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert first["name"] in page
    assert "test_vit" in page
    assert "<svg" in page
    following = shlex.split(said.rpartition("\nnext ")[2])
    assert following[1:3] == ["-m", "seedsweep"]
    assert f"backbone={first['net']}" in following
    assert main([*following[3:], "--cfg", "job"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["backbone=vgg16"], "backbone= is not read by +study=backbones: name the nets in backbones.nets"),
        (["backbones.nets=[{name:vgg61}]"], "names vgg61, which is no net"),
        (["backbones.nets=[{name:vgg16,weights:gone.pt}]"], "names weights=gone.pt, which is no file"),
        (["backbones.nets=[{name:vgg16},{name:vgg16}]"], "names vgg16 twice"),
        (["backbones.arm=finetun"], "finetun"),
        (["backbones.nets=[]"], "backbones.nets is empty"),
        (["backbones.sizes=[[32]]"], "give [height, width] in pixels"),
        (["-m"], "task=backbones runs its grids by itself: leave out -m"),
    ],
)
def test_bad_input_ends_in_one_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    assert main([*words[:1], "+study=backbones", *words[1:]]) == 2
    assert said in capsys.readouterr().err
