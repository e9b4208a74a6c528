"""A folder as people have it, from training to the report and to predictions for new images."""

import csv
import json
import os
import random
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from deep_images import write_png16
from mutated import whole
from PIL import Image

from seedsweep.cli.main import main
from seedsweep.export.load import load_trained

ODD = ["caf\udce9", " spaces ", "a,b~c=d", "new\nline", "x" * 180, "$(rm)", "'\"", "über"]
TINY = [
    "backbone=timm", "backbone.name=test_resnet", "backbone.weights=none", "data=folder", "data.image_size=[32,32]",
    "trainer.max_epochs=1", "trainer.accelerator=cpu", "trainer.progress_bar=false", "report.gradcam=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 12-bit images, one much darker than the other, in files of odd names, and what lies beside."""
    root = tmp_path_factory.mktemp("messy") / "my seeds"
    rng = np.random.default_rng(0)
    for name, top in ((unicodedata.normalize("NFD", "café"), 4095), ("dark\udce9", 400)):
        (root / name / "@eaDir" / "x").mkdir(parents=True)
        for odd in ODD:
            write_png16(root / name / f"{odd}.png", rng.integers(0, top, (40, 40)).astype(np.uint16))
        Image.new("RGB", (9, 9)).save(root / name / "@eaDir" / "x" / "THUMB.jpg")
        (root / name / "IMG_1.CR2").write_bytes(b"II*\0")
    return root


@pytest.fixture(scope="module")
def run(seeds: Path) -> Path:
    folder = seeds.parent
    words = [f"data.root='{seeds}'", f"hydra.run.dir={folder}/r", f"paths.cache={folder}/cache"]
    assert main([*TINY, *words]) == 0
    return folder / "r"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_every_file_is_in_the_tables_by_its_own_name(run: Path, seeds: Path):
    for table in ("manifest.csv", "predictions.csv"):
        names = {os.path.basename(row["path"]) for row in rows(run / table)}
        assert names == {f"{odd}.png" for odd in ODD}
    assert all(Path(row["path"]).is_file() for row in rows(run / "predictions.csv"))
    assert json.loads((run / "metrics.json").read_text())["images"]["train"] == {"café": 4, "dark\\xe9": 4}


def test_what_was_not_used_is_in_the_log_the_list_and_the_report(run: Path):
    log = (run / "run.log").read_text()
    raw = "1 .cr2 of class café, 1 of class dark\\xe9 (raw files of cameras"
    assert "left out: 1 image(s) in @eaDir of class café, 1 of class dark\\xe9" in log
    assert raw in log
    assert "16 of 16 images have values of 16 bits: in all of them 0 to 4095 become 0 to 255" in log
    assert len(rows(run / "left_out.csv")) == 4
    page = (run / "report.html").read_text()
    assert "Files that were not used" in page
    assert raw in page


def test_the_checkpoint_keeps_the_range_and_predict_reads_one_image_by_it(
    run: Path, seeds: Path, capsys: pytest.CaptureFixture[str]
):
    """A dark image alone would be stretched to its own maximum."""
    assert load_trained(run / "checkpoints/best.ckpt").ranges.as_dict() == {"16 bits": [0.0, 4095.0]}
    alone = run.parent / "alone"
    dark = seeds / "dark\udce9" / "über.png"
    (alone / "deep").mkdir(parents=True)
    (alone / "deep" / "caf\udce9.png").write_bytes(dark.read_bytes())
    words = ["task=predict", f"checkpoint={run}", f"data.root={alone}", "trainer.accelerator=cpu"]
    line = [*words, f"hydra.run.dir={alone}/out", "features.engine=torch", "predict.temperature=1"]
    assert main(line) == 0
    (answer,) = rows(alone / "out" / "predictions.csv")
    assert answer["path"] == "deep/caf\\xe9.png"
    (of_run,) = [row for row in rows(run / "predictions.csv") if row["path"] == str(dark)]
    for name in ("p_café", "p_dark\\xe9"):
        assert float(answer[name]) == pytest.approx(float(of_run[name]), abs=1e-4)
    assert "1 of 1 images have values of 16 bits: in all of them 0 to 4095" in capsys.readouterr().out


def test_what_training_never_met_is_said(run: Path, capsys: pytest.CaptureFixture[str]):
    other = run.parent / "other"
    other.mkdir()
    for number in range(2):
        values = np.linspace(0, 1 - number / 2, 1600, dtype=np.float32).reshape(40, 40)
        Image.fromarray(values).save(other / f"{number}.tif")
    words = ["task=predict", f"checkpoint={run}", f"data.root={other}", "trainer.accelerator=cpu"]
    assert main([*words, f"hydra.run.dir={other}/out", "features.engine=torch"]) == 0
    assert "2 images have values of float, and the net tells of none" in capsys.readouterr().out


def damaged(root: Path, n: int) -> Path:
    """Writes sound files and, from each, some with other bytes here and there."""
    chance = random.Random(0)
    for label in ("café", "dark"):
        (root / label).mkdir(parents=True)
        for number in range(n):
            name = sorted(whole())[number % len(whole())]
            content = bytearray(whole()[name])
            for _ in range(number // len(whole())):  # the first of each kind is sound
                content[chance.randrange(min(len(content), 400))] = chance.randrange(256)
            (root / label / f"{number}.{name}").write_bytes(content)
    return root


def test_damaged_files_end_in_one_sentence_or_in_a_list(run: Path, capfd: pytest.CaptureFixture[str]):
    root = damaged(run.parent / "damaged", 60)
    words = [
        f"data.root='{root}'",
        f"paths.cache={run.parent}/cache",
        "report.write=false",
        "data.annotations=keep",
        "data.contradictions=keep",
        "audit=off",
    ]
    assert main([*TINY, *words, f"hydra.run.dir={root}/r"]) == 2
    told = capfd.readouterr()
    assert "of 120 images can't be read; remove them or set data.on_bad_image=skip" in told.err
    assert main([*TINY, *words, f"hydra.run.dir={root}/s", "data.on_bad_image=skip"]) == 0
    used = {row["path"] for row in rows(root / "s" / "manifest.csv")}
    unread = {row["path"] for row in rows(root / "s" / "left_out.csv")}
    assert len(used | unread) == 120
    assert len(used) >= 2 * len(whole())
    words = ["task=predict", f"checkpoint={run}", f"data.root='{root}'", "trainer.accelerator=cpu"]
    assert main([*words, f"hydra.run.dir={root}/p", "features.engine=torch"]) == 0
    answered = {row["path"] for row in rows(root / "p" / "predictions.csv")}
    assert answered == used
    assert {row["path"] for row in rows(root / "p" / "predictions_unreadable.csv")} == unread
    told = capfd.readouterr()
    assert "Traceback" not in told.out + told.err


def test_the_same_settings_find_the_same_features(run: Path, seeds: Path, capsys: pytest.CaptureFixture[str]):
    words = [f"data.root='{seeds}'", f"hydra.run.dir={run.parent}/again", f"paths.cache={run.parent}/cache"]
    assert main([*TINY, *words, "report.write=false"]) == 0
    assert "all 16 images are in" in capsys.readouterr().out
    assert torch.load(run.parent / "again/checkpoints/best.ckpt", weights_only=True)["seedsweep"]["values"]
