"""The report: what it says, that it says it safely, and how a browser takes it."""

import json
import logging
import re
import shutil
import subprocess
from dataclasses import asdict
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from chromium import CHROMIUM, browser
from PIL import Image
from report_folders import write_run, write_study, write_sweep
from torch import nn

from seedsweep.cli.config.compose import command_line_of
from seedsweep.cli.main import main
from seedsweep.data.images import read_image
from seedsweep.diagnosis.finding import Finding, Verdict
from seedsweep.errors import SeedsweepError
from seedsweep.models import timm_model
from seedsweep.models.backbone import IMAGENET, Backbone
from seedsweep.report import embedded_images
from seedsweep.report.blocks import Section
from seedsweep.report.contents import read_material
from seedsweep.report.pages import write_diagnosis_page
from seedsweep.report.sections.in_words import sentences
from seedsweep.report.write_report import build, found_sections, write_at_end, write_report
from seedsweep.runs.unseen import Unseen
from seedsweep.stats.interval import Interval

EVIL = "<script>alert(1)</script>"


class Reader(HTMLParser):
    """Collects elements, attributes and texts."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    write_sweep(folder)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real") / "run"
    line = [
        "+experiment=frozen_bn", "backbone=efficientnet_lite0", "data.demo.n_images=70", "data.image_size=[64,64]",
        "trainer.max_epochs=2", "trainer.probe_images=32", f"hydra.run.dir={folder}",
    ]  # fmt: skip
    assert main(line) == 0
    return folder


def test_a_run_ends_with_its_report(real: Path):
    page = real / "report.html"
    assert page.stat().st_size < 1_000_000
    read = Reader(page)
    metrics = json.loads((real / "metrics.json").read_text())
    assert f"{100 * metrics['val']['acc']:.1f} % of the validation images" in read.text
    assert "+experiment=frozen_bn backbone=efficientnet_lite0" in read.text
    assert metrics["versions"]["torch"] in read.text
    photographs = [image for image in read.all("img") if "What in" not in (image["alt"] or "")]
    explained = [image for image in read.all("img") if "What in" in (image["alt"] or "")]
    wrong = sum(
        row["predicted"] != row["label"] for row in _rows(real / "predictions.csv") if row["split"] == "test"
    )
    assert len(photographs) == len(explained) == min(wrong, 8)
    assert wrong > 0, "nothing would be shown"
    assert "Grad-CAM" in (real / "report.md").read_text()


def test_a_run_can_go_without(real: Path, tmp_path: Path):
    copy = tmp_path / "run"
    shutil.copytree(real, copy)
    write_report(copy, gradcam=0)
    assert not [
        image for image in Reader(copy / "report.html").all("img") if "What in" in (image["alt"] or "")
    ]


def test_the_verdict_of_a_sweep_names_best_equals_and_trap(sweep: Path):
    first, second = sentences(read_material(sweep))
    assert first.startswith("`good` classifies 90.0 % of the validation images correctly (95 % interval ")
    assert "`as_good` is as good within noise" in first
    assert second.startswith("`trapped` is 50.0 points behind (p")
    assert (
        "92.0 % of its training images correctly in train mode and 31.0 % of the same images in eval mode"
        in second
    )


def test_the_verdict_of_a_sweep_without_a_trap_does_not_invent_one(tmp_path: Path):
    write_run(tmp_path / "1_a_s1", "a", 1, 0.9)
    write_run(tmp_path / "2_b_s1", "b", 1, 0.3)
    _, second = sentences(read_material(tmp_path))
    assert second.startswith("Furthest behind is `b`, which is 60.0 points behind (p < 0.001)")
    assert "BatchNorm" not in second
    shutil.rmtree(tmp_path / "2_b_s1")
    _, second = sentences(read_material(tmp_path))
    assert second == (
        "Always predicting the largest class reaches 75.0 %; in no arm do train mode and eval mode differ by more than "
        "0.0 points."
    )


@pytest.mark.parametrize(
    ("modes", "policy", "train", "says"),
    [
        (
            (0.9, 0.3),
            "batch_stats",
            0.3,
            "It classifies 90.0 % of its training images correctly in train mode and 30.0 % of the same images",
        ),
        ((0.9, 0.3), "train", 0.3, "running statistics may lag behind the trained weights"),
        ((0.99, 0.99), "inference", 0.99, "BatchNorm has no part in it"),
        ((0.7, 0.7), "inference", 0.7, "neither overfitting nor BatchNorm"),
        ((0.78, 0.78), "inference", 0.78, "8.0 points above validation: BatchNorm does not hold it back"),
        ((0.78, 0.78), "update_stats", 0.78, "8.0 points above validation; "),
        ((0.7, 0.7), "update_stats", 0.7, "does not rule BatchNorm under `update_stats` out: compare with"),
        ((0.92, 0.92), "recalibrate", 0.92, "does not rule BatchNorm under `recalibrate` out: compare with"),
    ],
)
def test_the_verdict_of_a_run(modes, policy: str, train: float, says: str, tmp_path: Path):
    write_run(tmp_path / "r", "arm", 1, 0.7, modes, policy)
    path = tmp_path / "r/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["images"]["val"] = {"a": 30, "b": 30}
    path.write_text(json.dumps(metrics | {"train": metrics["train"] | {"acc": train}}))
    first, second = sentences(read_material(tmp_path / "r", command_line_of))
    assert first.startswith("`arm` classifies 70.0 % of the validation images correctly")
    assert "largest class alone makes 50.0 %" in first
    assert says in second


def test_a_diagnosis_speaks_in_the_verdict(tmp_path: Path):
    write_run(tmp_path / "r", "arm")
    folder = tmp_path / "r/diagnosis"
    folder.mkdir()
    Image.new("RGB", (30, 20), "red").save(folder / "shift.png")
    fault = Finding(
        "scaling", "Inputs", Verdict.FAULT, "what reaches the net", f"Scaled twice {EVIL}.", remedy=["preprocess=auto"],
        cost=Interval(0.31, 0.25, 0.37, "images and seeds"), picture=Path("shift.png"),
    )  # fmt: skip
    fine = Finding("baselines", "Baselines", Verdict.FINE, "the largest class", "Well above chance.")
    content = {"findings": [fine.as_dict(), fault.as_dict(), {"verdict": "nonsense"}]}
    (folder / "diagnosis.json").write_text(json.dumps(content))
    told = sentences(read_material(tmp_path / "r", command_line_of))
    assert told[1] == "The diagnosis finds 1 fault: Inputs."
    read = Reader(write_report(tmp_path / "r"))
    assert [image["alt"] for image in read.all("img")] == ["Evidence: Inputs"]
    assert "if fixed: +31 points (between +25 and +37)" in read.text
    assert read.text.index("Scaled twice", read.text.index("Diagnosis")) < read.text.index(
        "Well above chance"
    )
    assert not read.all("script")
    (folder / "diagnosis.json").write_text(
        json.dumps({"findings": [fault.as_dict() | {"picture": "../../../etc/passwd.png"}]})
    )
    assert not Reader(write_report(tmp_path / "r")).all("img"), "no picture from elsewhere"


def test_each_finding_stands_once_below_two_sentences_and_one_command(tmp_path: Path):
    run = tmp_path / "r"
    write_run(run, "arm")
    unseen = Unseen(
        "photograph", "test", 0.9, 1.0, 30, 0.75, 0.85, 0.7, 0.1, 0.2, 0.76, 0.7, 0.82, "", "data.group_regex='^(a)'",
    )  # fmt: skip
    metrics = json.loads((run / "metrics.json").read_text()) | {"unseen": asdict(unseen)}
    (run / "metrics.json").write_text(json.dumps(metrics))
    found = [
        (
            "photographs",
            "7 of 9 photographs are torn by the split.",
            "All images have a part in training.",
            1.0,
        ),
        ("copies", "Two copies lie here.", "", None),
    ]
    lines = [
        {"kind": kind, "text": text, "short": short, "bound": bound, "loud": bool(bound)}
        | {"picture": None, "table": None}
        for kind, text, short, bound in found
    ]
    (run / "audit").mkdir()
    (run / "audit/audit.json").write_text(json.dumps({"images": 60, "lines": lines}))
    faults = [
        Finding(
            name, title, Verdict.FAULT, f"how {name} is measured", f"{title} is at fault.", remedy=[remedy]
        )
        for name, title, remedy in (("a", "Scaling", "preprocess=auto"), ("b", "Rate", "optim.lr=3e-4"))
    ]
    headline = (
        f"Scaling: {faults[0].sentence} Do this: `preprocess=auto`. Also: Rate. The net classifies 90 %."
    )

    read = Reader(write_report(run, command_line_of))
    _two_and_one(run)
    assert (
        read.text.count("About 76.0 % is likely on unseen photographs (95 % interval 70.0 to 82.0, over 30")
        == 1
    )
    for text in (
        "7 of 9 photographs are torn",
        "Two copies lie here",
        "a linear probe",
        "of its training images",
    ):
        assert read.text.count(text) == 1, text
    assert read.text.count("data.group_regex") == 1, "in the command alone"
    assert "90.0 % of the test images (" in read.text

    metrics["unseen"] = None
    (run / "metrics.json").write_text(json.dumps(metrics))
    (run / "diagnosis").mkdir()
    found = [fault.as_dict() for fault in faults]
    content = {"findings": found, "headline": headline, "standing": "The net classifies 90 %."}
    (run / "diagnosis/diagnosis.json").write_text(json.dumps(content))
    (run / "audit/audit.json").write_text(json.dumps({"images": 60, "lines": lines[1:]}))
    read = Reader(write_report(run, command_line_of))
    _two_and_one(run)
    assert "The diagnosis finds 2 faults: Scaling and Rate." in read.text
    for fault in faults:
        assert read.text.count(fault.sentence) == 1
    assert "Two copies" not in read.text, "the diagnosis tells of the images"

    write_diagnosis_page(run / "diagnosis", "settings", "diagnosis of settings")
    _two_and_one(run / "diagnosis")
    assert "The net classifies 90 %." in _verdict(run / "diagnosis")
    assert Reader(run / "diagnosis/report.html").text.count(faults[0].sentence) == 1


def _verdict(folder: Path) -> str:
    return (folder / "report.md").read_text().partition("## Verdict")[2].partition("\n## ")[0]


def _two_and_one(folder: Path) -> None:
    told, _, code = _verdict(folder).partition("What to run next:")
    assert 1 <= len([line for line in told.splitlines() if line]) <= 2
    assert sum(len(re.findall(r"[.!?]( |$)", line.strip())) for line in told.splitlines()) <= 2
    assert len([line for line in code.splitlines() if line.startswith("python -m seedsweep")]) == bool(code)


def test_the_report_of_a_study(tmp_path: Path):
    write_study(tmp_path)
    first, second = sentences(read_material(tmp_path))
    assert first == (
        "Of 9 trials, `optim.lr=0.007` won: validation macro-F1 90.0 %, the mean of 2 fresh seeds, and 89.0 % of the "
        "test images, scored once."
    )
    assert "reaches 70.0 % with as many fresh seeds, 20.0 points less" in second
    assert "more than noise (p" in second
    read = Reader(write_report(tmp_path))
    assert "Best 9 of 9 trials" in read.text
    for said in ("The best lies on the edge of the space.", "It was chosen among 9 trials."):
        assert read.text.count(said) == 1
    _two_and_one(tmp_path)
    assert "3 min 1 s" in read.text


def test_a_ladder_is_shown(sweep: Path, tmp_path: Path):
    shutil.copytree(sweep, tmp_path / "s")
    Image.new("RGB", (300, 100), "blue").save(tmp_path / "s/ladder.png")
    level = {
        "low": None,
        "high": None,
        "seeds": {"1": 0.4},
        "on_path": True,
        "delta_low": 0.2,
        "delta_high": 0.4,
    }
    rungs = [
        {"label": "as asked", "mean": 0.4, "delta": None, "sentence": "as asked: 40 %.", **level},
        {
            "label": "scaled once",
            "mean": 0.71,
            "delta": 0.31,
            "sentence": "scaled once: +31 points.",
            **level,
        },
        {"label": "smaller", "mean": 0.70, "delta": -0.01, "sentence": "smaller: nothing.", **level},
    ]
    cell = {"mean": 0.4, "low": 0.3, "high": 0.5}
    table = {
        "scaling": ["twice", "once"],
        "batchnorm": ["batch", "stored"],
        "cells": [[cell, cell], [cell, cell]],
    }
    content = {"rungs": rungs, "put_back": [], "two_by_two": {**table, "sentence": "One hides the other."}}
    (tmp_path / "s/ladder.json").write_text(json.dumps(content))
    assert sentences(read_material(tmp_path / "s")) == [
        "From 40.0 % (as asked) to 70.0 % of the validation images (smaller): +30.0 points in 2 steps.",
        "The greatest: scaled once: +31 points.",
    ]
    read = Reader(write_report(tmp_path / "s"))
    for part in ("One hides the other.", "+20.0 to +40.0", "30.0–50.0", "smaller: nothing."):
        assert part in read.text
    assert any((image["alt"] or "").startswith("The ladder") for image in read.all("img"))


def test_names_do_no_harm(tmp_path: Path):
    photo = '{}"><img src=x onerror=alert(1)><script>alert(1)<'
    write_run(
        tmp_path / "r",
        EVIL,
        classes=[EVIL, "a|b", "](javascript:alert(1))"],
        photo=photo + ".jpg",
        photographs=True,
    )
    page = write_report(tmp_path / "r")
    read = Reader(page)
    assert not read.all("script")
    assert EVIL in read.text, "it is shown as what it is"
    for tag, attributes in read.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/")), (tag, name)
    assert len([image for image in read.all("img") if "onerror" in (image["alt"] or "")]) == 4
    plain = (tmp_path / "r/report.md").read_text()
    shown = re.sub(r"```.*?```", "", plain, flags=re.DOTALL).replace(
        f"`{EVIL}`", ""
    )  # code is shown as it is
    assert "<script" not in shown.replace("\\<", "")
    assert "](javascript" not in plain.replace("\\]", "")


def test_the_page_needs_no_network_and_runs_no_script(sweep: Path):
    text = (sweep / "report.html").read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)
    assert "@import" not in text
    assert "url(http" not in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    for used in re.findall(r'(?:href="#|url\(#)([^")]+)', text):
        assert used in ids


def test_the_table_of_arms(sweep: Path):
    read = Reader(sweep / "report.html")
    for part in ("≈ same within noise", "always the largest class", "gone", "no weights.", "+61.0"):
        assert part in read.text
    plain = (sweep / "report.md").read_text()
    assert re.search(r"\| good \| 90\.0 \(\d\d\.\d to \d\d\.\d\)", plain)
    assert "python -m seedsweep -m +experiment=good,as_good,trapped seed=1,2" in plain


CARD = {"backbone": {"name": "a net"}}


class Tokens(nn.Module):
    """Gives tokens [B, n, 3], or one vector [B, 3], in the manner of timm."""

    num_features = 3

    def __init__(self, n: int, layout: str = "NLC") -> None:
        super().__init__()
        self.n, self.layout = n, layout

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        tokens = images.mean((2, 3))[:, None].expand(-1, self.n, -1)
        return tokens if self.layout == "NLC" else tokens[:, 0]


def test_heat_is_where_the_answer_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pixels = np.zeros((32, 32, 3), dtype=np.uint8)
    pixels[24:, :8, 0] = 255  # red below on the left speaks for b, green above for a
    pixels[:8, :, 1] = 255
    Image.fromarray(pixels).save(tmp_path / "p.png")
    net = SimpleNamespace(
        preprocess=nn.Identity(),
        backbone=Backbone(nn.AvgPool2d(8), 3, IMAGENET, 8),
        head=nn.Linear(3, 2, bias=False),
    )
    net.preprocess.forward = lambda images: images.float()
    net.head.weight.data = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    trained = SimpleNamespace(net=net, classes=["a", "b"], image_size=(32, 32), card=CARD, ranges={})
    monkeypatch.setattr(embedded_images, "find_checkpoint", lambda _: tmp_path)
    monkeypatch.setattr(embedded_images, "load_trained", lambda _: trained)
    a, b = embedded_images.attention(tmp_path, [tmp_path / "p.png"] * 2, ["a", "b"])
    assert np.unravel_index(b.argmax(), b.shape) == (3, 0)
    assert np.count_nonzero(b) == 1
    assert a[0].all()
    assert not a[1:].any()


@pytest.mark.parametrize(("name", "side", "grid"), [("test_vit", 160, (10, 10)), ("test_resnet", 64, (2, 2))])
def test_tokens_are_put_in_their_places(
    name: str, side: int, grid: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """A part of the image whose tokens alone speak for a class is where the heat is."""
    for place in range(2):
        pixels = np.random.default_rng(place).integers(0, 255, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{place}.png")
    torch.manual_seed(0)
    backbone = timm_model.build(name).eval()
    head = nn.Linear(backbone.num_features, 2)
    nn.init.uniform_(head.weight)
    net = SimpleNamespace(preprocess=nn.Identity(), backbone=backbone, head=head)
    net.preprocess.forward = lambda images: images.float() / 255
    trained = SimpleNamespace(net=net, classes=["a", "b"], image_size=(side, side), card=CARD, ranges={})
    monkeypatch.setattr(embedded_images, "find_checkpoint", lambda _: tmp_path)
    monkeypatch.setattr(embedded_images, "load_trained", lambda _: trained)
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    heat = embedded_images.attention(tmp_path, paths, ["a", "b"])
    assert [each.shape for each in heat] == [grid, grid]
    images = torch.stack([read_image(path) for path in paths]).float() / 255
    with torch.no_grad():
        raw = backbone.net.model.forward_features(images)
    if raw.ndim == 3:
        raw = raw[:, 1:].mT.reshape(2, -1, *grid)  # the class token is no place
    weights = head.weight[[0, 1]].detach()  # the logit's gradient, but for the mean's divisor
    expected = (weights[:, :, None, None] * raw).sum(1).relu().numpy()
    for found, wanted in zip(heat, expected, strict=True):
        assert wanted.max() > 0
        np.testing.assert_allclose(found / found.max(), wanted / wanted.max(), atol=1e-5)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Tokens(5), "the last features of a net are 5 tokens, and it is not known which part"),
        (Tokens(4, "NC"), "the last features of a net are one cell"),
        (nn.AdaptiveAvgPool2d(1), "the last features of a net are one cell"),
    ],
)
def test_no_map_where_features_have_no_places(
    model: nn.Module, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    Image.new("RGB", (32, 32)).save(tmp_path / "p.png")
    net = timm_model.TimmNet(model, "a net", None) if isinstance(model, Tokens) else model
    backbone = Backbone(net, 3, IMAGENET, 8)
    parts = SimpleNamespace(preprocess=nn.Identity(), backbone=backbone, head=nn.Linear(3, 2))
    parts.preprocess.forward = lambda images: images.float()
    trained = SimpleNamespace(net=parts, classes=["a", "b"], image_size=(32, 32), card=CARD, ranges={})
    monkeypatch.setattr(embedded_images, "find_checkpoint", lambda _: tmp_path)
    monkeypatch.setattr(embedded_images, "load_trained", lambda _: trained)
    with pytest.raises(SeedsweepError, match=said):
        embedded_images.attention(tmp_path, [tmp_path / "p.png"], ["a"])


def test_sections_are_found_and_one_that_fails_is_left_out(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    modules = found_sections()
    assert [module.ORDER for module in modules] == sorted(module.ORDER for module in modules)
    material = read_material(sweep)
    names = [section.name for section in build(material)]
    assert names[:2] == ["verdict", "arms"]
    assert names[-1] == "what-was-run"

    def broken(_: object) -> Section:
        raise ValueError("no ink")

    arms = next(module for module in modules if module.__name__.endswith(".arms"))
    monkeypatch.setattr(arms, "section", broken)
    with caplog.at_level(logging.WARNING):
        assert [section.name for section in build(material)] == [name for name in names if name != "arms"]
    assert "goes without its section arms" in caplog.text


def test_damaged_results_cost_a_sentence(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    write_run(tmp_path / "r", "arm")
    (tmp_path / "r/predictions.csv").write_text('path,split\n"x')
    (tmp_path / "r/history.csv").write_text("epoch,train/loss\n0,abc\n")
    assert write_report(tmp_path / "r").is_file(), "what is left is shown"
    (tmp_path / "r/metrics.json").write_text("{")
    assert write_at_end(tmp_path / "r") is None
    assert len([record for record in caplog.records if "no report was written" in record.message]) == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ([], "needs report.dir=DIR"),
        (["report.dir=nowhere"], "is no folder"),
        (["report.dir=empty"], "holds no finished run, sweep or study"),
    ],
)
def test_task_report_says_what_is_missing(
    line: list[str], says: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]
):
    Path("empty").mkdir()
    assert main(["task=report", *line, "hydra.run.dir=job"]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1


def test_task_report_writes_it_anew(sweep: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    shutil.copytree(sweep, "s")
    Path("s/report.html").unlink()
    assert main(["task=report", "report.dir=s", "hydra.run.dir=job"]) == 0
    assert Path("s/report.html").is_file()
    assert "report.html" in capsys.readouterr().out


def dump(page: Path, *options: str) -> tuple[str, str]:
    """Returns the page's DOM after its scripts, and what its console said."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
            "--virtual-time-budget=10000", f"--user-data-dir={page.parent / 'chromium'}", *options, page.as_uri(),
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@browser
def test_a_browser_opens_it_without_a_word(real: Path, tmp_path: Path):
    shutil.copy(real / "report.html", tmp_path)
    page = tmp_path / "report.html"
    dom, console = dump(page)
    assert "What was run" in dom
    assert console == ""
    loud = tmp_path / "loud.html"
    loud.write_text(page.read_text().replace("</body>", "<script>alert(1)</script></body>"))
    assert "Content Security Policy" in dump(loud)[1], "the console is heard, and no script runs"


@browser
@pytest.mark.parametrize("dark", [pytest.param(False, marks=pytest.mark.slow), True])
def test_it_is_accessible(dark: bool, sweep: Path, real: Path, tmp_path: Path):
    options = ["--blink-settings=preferredColorScheme=0"] if dark else []
    assert axe(sweep / "report.html", tmp_path, *options) == []
    if not dark:
        assert axe(real / "report.html", tmp_path) == []
        bad = tmp_path / "bad.html"
        bad.write_text((sweep / "report.html").read_text().replace("</main>", '<img src="data:,"></main>'))
        assert [name for name, _ in axe(bad, tmp_path)] == ["image-alt"]


NARROW = """<!doctype html><iframe width=390 height=2000 srcdoc="{}"></iframe><script>
onload = () => {{
  const found = document.querySelector('iframe').contentDocument.querySelectorAll('.scroll');
  document.title = [...found].map(each => each.ariaLabel + ': ' + (each.scrollWidth - each.clientWidth)).join('; ');
}}</script>"""


@browser
def test_tables_fit_a_phone(sweep: Path, tmp_path: Path):
    folder = tmp_path / "s"
    shutil.copytree(sweep, folder)
    for path in folder.glob("*/metrics.json"):  # as long as the names of the package's own arms
        path.write_text(path.read_text().replace('"as_good"', '"finetune_bn_frozen"'))
    wide = tmp_path / "wide.html"
    text = write_report(folder).read_text().replace("Content-Security-Policy", "")
    wide.write_text(NARROW.format(escape(text)))
    title = re.search("<title>(.*?)</title>", dump(wide)[0])
    assert title is not None
    beyond = dict(each.rsplit(": ", 1) for each in unescape(title[1]).split("; "))
    assert {name: int(pixels) for name, pixels in beyond.items() if pixels != "0"} == {}
    assert "Arms, best first" in beyond


def axe(page: Path, folder: Path, *options: str) -> list[tuple[str, str]]:
    """Returns the serious and critical findings of axe on a copy of the page: rule and place."""
    axe_core = pytest.importorskip("axe_core_python")
    script = (Path(axe_core.__file__).parent / "axe.min.js").read_text()
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    text = text.replace("<details>", "<details open>")
    run = "axe.run().then(r => { document.title = 'done'; document.body.innerHTML = ''; "
    run += "const pre = document.createElement('pre'); pre.textContent = JSON.stringify("
    run += "r.violations.map(v => [v.id, v.impact, v.nodes[0].html])); document.body.append(pre); })"
    copy = folder / f"axe_{page.name}"
    copy.write_text(text.replace("</body>", f"<script>{script}</script><script>{run}</script></body>"))
    dom, _ = dump(copy, *options)
    assert "<title>done</title>" in dom, "axe did not come to its end"
    reader = re.search(r"<pre>(.*)</pre>", dom, re.DOTALL)
    assert reader is not None
    found = json.loads(unescape(reader.group(1)))
    return [(rule, place) for rule, impact, place in found if impact in ("serious", "critical")]


def _rows(path: Path) -> list[dict[str, str]]:
    import csv

    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("frozen", "train_from", "said"),
    [
        (True, None, "the weights of the frozen backbone are random and are never trained"),
        (False, "layer4", "the weights of the backbone before layer4 are random and are never trained"),
        (False, None, ""),
    ],
)
def test_a_random_frozen_net_is_said_in_the_verdict(
    frozen: bool, train_from: str | None, said: str, tmp_path: Path
):
    write_sweep(tmp_path)
    for path in sorted(tmp_path.glob("*/metrics.json"))[:2]:
        metrics = json.loads(path.read_text())
        metrics |= {"weights": {"source": "none"}, "frozen": frozen, "train_from": train_from}
        path.write_text(json.dumps(metrics))
    told = [line for line in sentences(read_material(tmp_path)) if line.startswith("Warning")]
    assert len(told) == bool(said)
    assert all(said in line and line.count("`") == 2 for line in told)
