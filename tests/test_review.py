"""review.html in a real browser: what keys, clicks and touches decide is what corrections.csv says."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from chromium import Chromium, browser
from PIL import Image
from test_report import axe
from tiny_net import tiny_net

from seedsweep.cli.main import main
from seedsweep.data.corrections import Correction, read_corrections
from seedsweep.data.options import DataConfig
from seedsweep.data.prepare import PreparedImages, prepare_images
from seedsweep.diagnosis.audited import Audited
from seedsweep.diagnosis.in_doubt import InDoubt, in_doubt
from seedsweep.diagnosis.subject import Subject
from seedsweep.digest import digest_of
from seedsweep.errors import SeedsweepError
from seedsweep.report.review import MOST, write_review

CLASSES = ['\'=1+1|"x"', "<b>gut & \"schön\", 'sehr'", "müde"]  # in their order
HOSTILE = [
    "<img src=x onerror=alert(1)>.png",
    'é, "1".png',
    "</script><script>alert(1)</script>.png".replace("/", "∕"),
]
NAMES = [*HOSTILE, *(f"{n}.png" for n in range(8))]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedImages:
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for label in CLASSES:
        (root / label).mkdir()
        for name in NAMES:
            Image.fromarray(rng.integers(0, 255, (20, 20, 3), np.uint8)).save(root / label / name)
    copy = root / CLASSES[1] / "copy.png"
    copy.write_bytes((root / CLASSES[0] / "7.png").read_bytes())
    data = DataConfig(name="folder", root=str(root), image_size=[16, 16], contradictions="keep")
    return prepare_images(data, root)


def doubt(
    prepared: PreparedImages,
    name: str,
    reason: str,
    score: float,
    likely: int | None = None,
    twin: str | None = None,
) -> InDoubt:
    table = prepared.table
    label = None if likely is None else table.classes[likely]
    other = None if twin is None else table.root / twin
    return replace(InDoubt.of_row(table, table.names().index(name), reason, score, label), twin=other)


@pytest.fixture(scope="module")
def doubts(prepared: PreparedImages) -> list[InDoubt]:
    first, copy = f"{CLASSES[0]}/7.png", f"{CLASSES[1]}/copy.png"
    of_names = [
        doubt(prepared, f"{CLASSES[1]}/{name}", "It looks tired.", 0.9 - n / 10, 2)
        for n, name in enumerate(HOSTILE)
    ]
    return [
        *reversed(of_names),
        doubt(prepared, first, "The same.", 1.0, twin=copy),
        doubt(prepared, copy, "The same.", 1.0, twin=first),
        doubt(prepared, first, "And more.", 0.5, 2),
    ]


def saved(prepared: PreparedImages, path: Path) -> dict[str, tuple[str, str]]:
    found = read_corrections(path, "corrections", prepared.table.root)
    assert all(each.digest in prepared.table.digests for each in found)
    return {each.path: (each.action, each.label) for each in found}


@browser
def test_keys_decide_and_a_closed_page_loses_nothing(
    prepared: PreparedImages, doubts: list[InDoubt], tmp_path: Path
):
    page = write_review(prepared, doubts, tmp_path)
    assert page is not None
    hostile = [f"{CLASSES[1]}/{name}" for name in HOSTILE]
    split = prepared.table.splits[prepared.table.names().index(f"{CLASSES[0]}/7.png")]
    with Chromium(tmp_path / "chromium") as opened:
        opened.open(page)
        assert opened.text("#title") == f"1. {CLASSES[0]}/7.png"
        assert opened.text("#why") == f"Filed under {CLASSES[0]} ({split}). The same. And more."
        assert opened.text("#twin-is") == f"{CLASSES[1]}/copy.png, filed under {CLASSES[1]}"
        opened.press("2")  # equal files get the same answer
        assert opened.text("#count") == "2 of 5 decided"
        assert "Equal files get the same answer: 2 in all." in opened.text("#said")
        assert opened.text("#title") == f"3. {hostile[0]}"
        opened.press("3", autoRepeat=True)
        opened.press("3", modifiers=2)
        assert opened.text("#count") == "2 of 5 decided", "a key held down, and Ctrl-3, answer nothing"
        opened.press("k")
        opened.press("x")
        opened.press("ArrowLeft")
        opened.press("ArrowLeft")
        assert opened.text("#title") == f"3. {hostile[0]}"
        assert opened.text("#decided") == "Decided: correct."
        opened.press("u")
        assert opened.text("#title") == f"4. {hostile[1]}"
        assert opened.text("#decided") == "Not decided yet."
        opened.press("3")
        opened.press("3")
        assert "All images are decided" in opened.text("#said")
    with Chromium(tmp_path / "chromium") as opened:
        opened.open(page)
        assert opened.text("#count") == "5 of 5 decided"
        opened.press("s")
        file = opened.downloaded("corrections.csv")
        assert opened.said == [], "no error, and no script of a name ran"
    assert saved(prepared, file) == {
        f"{CLASSES[0]}/7.png": ("change", CLASSES[1]),
        f"{CLASSES[1]}/copy.png": ("keep", CLASSES[1]),
        hostile[0]: ("keep", CLASSES[1]),
        hostile[1]: ("change", CLASSES[2]),
        hostile[2]: ("change", CLASSES[2]),
    }
    root = str(prepared.table.root)
    table = prepare_images(
        DataConfig(name="folder", root=root, image_size=[16, 16], corrections=str(file)), tmp_path
    ).table
    assert table.classes[table.labels[table.names().index(hostile[1])]] == CLASSES[2]


@browser
def test_a_phone_takes_touches(prepared: PreparedImages, doubts: list[InDoubt], tmp_path: Path):
    earlier = [
        Correction(f"{CLASSES[0]}/7.png", CLASSES[2], "change"),
        Correction('gone, "too".png', "", "leave out"),
    ]
    page = write_review(prepared, doubts, tmp_path, earlier=earlier)
    assert page is not None
    assert "2 that were decided before are not asked again" in page.read_text()
    with Chromium(tmp_path / "chromium", width=390, height=844) as opened:
        opened.open(page)
        assert opened.run("document.documentElement.scrollWidth") == 390
        heights = "[...document.querySelectorAll('button')].map(each => each.getBoundingClientRect().height)"
        assert min(opened.run(heights)) >= 44
        assert opened.text("#title") == f"1. {CLASSES[1]}/copy.png"
        opened.click("#classes button:nth-child(3)", touch=True)
        opened.click("#out", touch=True)
        opened.click("#list li:last-child button", touch=True)
        opened.click("#keep", touch=True)
        opened.click("#undo", touch=True)
        assert opened.text("#count") == "2 of 4 decided"
        opened.click("#save", touch=True)
        file = opened.downloaded("corrections.csv")
        assert opened.said == []
    assert read_corrections(file, "corrections", tmp_path)[0].label == CLASSES[2]
    found = {each.path: (each.action, each.label) for each in read_corrections(file, "c", tmp_path)}
    assert found == {
        f"{CLASSES[0]}/7.png": ("change", CLASSES[2]),
        'gone, "too".png': ("leave out", ""),
        f"{CLASSES[1]}/copy.png": ("change", CLASSES[2]),
        f"{CLASSES[1]}/{HOSTILE[0]}": ("leave out", ""),
    }


@browser
def test_it_is_accessible(prepared: PreparedImages, doubts: list[InDoubt], tmp_path: Path):
    page = write_review(prepared, doubts, tmp_path)
    assert page is not None
    assert axe(page, tmp_path) == []


def test_no_more_than_a_page_holds(prepared: PreparedImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("seedsweep.report.review.MOST", 3)
    names = prepared.table.names()[:5]
    rows = [doubt(prepared, name, "Look.", place / 100) for place, name in enumerate(names)]
    page = write_review(prepared, rows, tmp_path, lists="doubtful_labels.csv")
    assert page is not None
    text = page.read_text()
    assert "3 images whose labels are in doubt" in text
    assert "2 more are not shown: they are listed in doubtful_labels.csv" in text
    shown = [each["path"] for each in content(page)["images"]]
    assert shown == [names[4], names[3], names[2]]
    assert MOST == 500
    assert write_review(prepared, [], tmp_path) is None
    assert not page.exists()


class WithoutFeatures:
    """What is diagnosed where no features can be had."""

    folder = None

    def __init__(self, prepared: PreparedImages) -> None:
        self.prepared, self.audited = prepared, Audited(prepared, None)

    @property
    def out_of_fold(self) -> None:
        raise SeedsweepError("no weights")


def test_one_photograph_in_two_classes_is_shown_wherever_it_is(tmp_path: Path):
    rng = np.random.default_rng(0)
    for n in range(40):
        path = tmp_path / "images" / "ab"[n % 2] / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), np.uint8)).save(path)
    table = prepare(tmp_path / "images").table
    copied = [table.paths[table.indices(split)[0]] for split in ("train", "val", "test")]
    for path in copied:
        other = path.parents[1] / "ab"["ba".index(path.parent.name)]
        (other / f"copy_{path.name}").write_bytes(path.read_bytes())
    prepared = prepare(tmp_path / "images")
    found = {each.path.name: each for each in in_doubt(cast(Subject, WithoutFeatures(prepared)))}
    assert found.keys() == {name for path in copied for name in (path.name, f"copy_{path.name}")}
    for path in copied:
        assert found[path.name].twin == found[f"copy_{path.name}"].path
        assert found[path.name].digest == found[f"copy_{path.name}"].digest == digest_of(path)
        assert found[path.name].label == path.parent.name
    page = write_review(prepared, list(found.values()), tmp_path)
    assert page is not None
    assert {each["split"] for each in content(page)["images"]} >= {"out of validation and test"}
    images = f"data.root={tmp_path / 'images'}"
    assert main(["task=audit", "data=folder", images, f"hydra.run.dir={tmp_path / 'audit'}"]) == 0
    assert len(content(tmp_path / "audit" / "review.html")["images"]) == 6


def prepare(root: Path) -> PreparedImages:
    return prepare_images(DataConfig(name="folder", root=str(root), image_size=[16, 16]), root.parent)


@pytest.mark.slow
def test_the_loop(in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    """Filed under the wrong class, in doubt, corrected, trained anew; and what was decided is not asked again."""
    rng = np.random.default_rng(0)
    wrong = {}
    for n in range(120):
        right = "ab"[n % 2]
        filed = "ab"[1 - n % 2] if n % 11 == 3 else right
        path = Path("images", filed, f"{n}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 60, (32, 32, 3), np.uint8) + np.uint8(180 * (right == "b"))).save(
            path
        )
        if filed != right:
            wrong[f"{filed}/{n}.png"] = right
    arm = [
        "data=folder", "batchnorm=inference", "backbone.freeze=true", *tiny_net(), "data.root=images", "head.width=8",
        "data.image_size=[32,32]", "trainer.max_epochs=2", "trainer.progress_bar=false", "report.write=false",
        "trainer.accelerator=cpu",
    ]  # fmt: skip
    assert main([*arm, "task=diagnose", "hydra.run.dir=d"]) == 0
    assert "labels in doubt, to look through in a browser -> " in capsys.readouterr().out
    shown = content(Path("d/review.html"))["images"]
    likely = {each["path"]: each["likely"] for each in shown}
    assert likely.items() <= wrong.items()
    assert likely
    lines = ["path,class,action,digest", *(f"{e['path']},{e['likely']},change,{e['digest']}" for e in shown)]
    Path("corrections.csv").write_text("\n".join(lines))
    assert main([*arm, "data.corrections=corrections.csv", "hydra.run.dir=r"]) == 0
    assert f"corrections: {len(likely)} label" in capsys.readouterr().out
    assert main(["task=diagnose", "diagnose.run=r", "hydra.run.dir=d"]) == 0
    page = Path("r/diagnosis/review.html")
    assert not page.is_file() or not {each["path"] for each in content(page)["images"]} & likely.keys()


def content(page: Path) -> dict[str, Any]:
    """Returns what the page's script reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text())
    assert found is not None
    return dict(json.loads(found[1]))
