"""The audit of a folder: what it prints, what it writes, and that it changes no run."""

import csv
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from composed import config_of
from PIL import Image

from seedsweep.cli.main import main
from seedsweep.cli.words import as_overrides
from seedsweep.data.options import DataConfig
from seedsweep.data.prepare import PreparedImages, prepare_images
from seedsweep.diagnosis import copies
from seedsweep.diagnosis.audit_run import audit_at_beginning, audit_images, facts_of
from seedsweep.diagnosis.auditor import Audit
from seedsweep.errors import SeedsweepError
from seedsweep.report.pages import write_audit_page
from seedsweep.training.options import run_digest


def shapes(root: Path, photographs: int, each: int = 5) -> Path:
    """Writes two classes; the images of one photograph have one name but for their number."""
    rng = np.random.default_rng(0)
    for label in "ab":
        (root / label).mkdir(parents=True)
        for photograph in range(photographs):
            for number in range(each):
                small = Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8))
                name = (
                    f"IMG_{label}{photograph:04d}_{number}.png"
                    if each > 1
                    else f"{'xy'[label == 'b']}{rng.bytes(5).hex()}.png"
                )
                small.resize((48, 48), Image.Resampling.BICUBIC).save(root / label / name)
    return root


def audited(root: Path, out: Path, **settings: object) -> tuple[Audit, PreparedImages]:
    data = DataConfig(name="folder", root=str(root), image_size=[16, 16], **settings)
    prepared = prepare_images(data, out / "cache")
    return audit_images(facts_of(prepared, data, out / "cache"), data, out / "audit"), prepared


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_contradictions_leaks_and_torn_photographs(tmp_path: Path):
    root = shapes(tmp_path / "data", 12)
    files = sorted((root / "a").iterdir())
    for number in range(30):
        shutil.copy(files[number], root / "b" / f"IMG_b9999_{number}.png")
    Image.open(files[40]).transpose(Image.Transpose.ROTATE_90).save(root / "a" / "turned.png")
    found, prepared = audited(root, tmp_path)
    lines = {line.kind: line for line in found.lines}
    assert (
        "30 images are filed under two classes, byte by byte (30 in a and b)" in lines["contradictions"].text
    )
    unscored = len(prepared.left_out)
    assert f"{unscored} of these files are left out of validation and test" in lines["contradictions"].text
    assert "torn by the split" in lines["photographs"].text
    assert "data.group_regex=" in lines["photographs"].text
    assert lines["photographs"].is_loud
    assert "1 pair of near copies, turned by 90 degrees" in lines["copies"].text
    two = rows(tmp_path / "audit" / "contradictions.csv")
    assert len(two) == 60, "the whole list"
    assert {row["image"] for row in two} == {str(number) for number in range(1, 31)}
    assert sum(row["split"] == "left out" for row in two) == unscored
    assert {row["how"] for row in rows(tmp_path / "audit" / "copies.csv")} == {
        "equal files",
        "near copies, turned by 90 degrees",
    }
    assert len(rows(tmp_path / "audit" / "photographs.csv")) == len(prepared.table.paths)
    content = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert content["counts"]["images_in_two_classes"] == 30
    page = write_audit_page(tmp_path / "audit", str(root)).read_text()
    assert "30 images are filed under two classes." in page
    assert "data:image/png" in page


def test_one_copy_among_many_is_a_line_and_no_headline(tmp_path: Path):
    root = shapes(tmp_path / "data", 300, each=1)
    data = DataConfig(name="folder", root=str(root), image_size=[16, 16])
    table = prepare_images(data, tmp_path).table
    train, val = (table.paths[table.indices(split)[0]] for split in ("train", "val"))
    lines = ["path,class,split"]
    for path, split in zip(table.paths, table.splits, strict=True):
        lines.append(f"{path.relative_to(root)},{path.parent.name},{split}")
    shutil.copy(train, val)
    (tmp_path / "m.csv").write_text("\n".join(lines))
    found, _ = audited(root, tmp_path, manifest=str(tmp_path / "m.csv"))
    line = next(line for line in found.lines if line.kind == "leaks")
    assert line.bound == pytest.approx(1 / 120)
    assert "can move the accuracy by up to 0.8 points" in line.text
    assert not line.is_loud


def test_nothing_found_is_said_and_copies_are_looked_for_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    root = shapes(tmp_path / "data", 30, each=1)
    config = config_of(
        "data=folder", f"data.root={root}", "data.image_size=[16,16]", f"paths.cache={tmp_path}/cache"
    )
    prepared = prepare_images(config.data, config.cache_dir)
    with caplog.at_level(logging.INFO):
        audit_at_beginning(config, prepared, tmp_path / "one")
    assert "audit: nothing found in 60 images" in caplog.text
    monkeypatch.setattr(copies, "read_grey", None)  # another folder, the same files
    audit_at_beginning(config, prepared, tmp_path / "two")
    assert (tmp_path / "two" / "audit.json").is_file()
    caplog.clear()
    audit_at_beginning(config, prepared, tmp_path / "two")
    config.audit = "off"
    audit_at_beginning(config, prepared, tmp_path / "three")
    assert not caplog.records
    assert not (tmp_path / "three").exists()


def test_a_failing_audit_ends_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    config = config_of(f"paths.cache={tmp_path}/cache")
    monkeypatch.setattr(copies, "read_grey", None)
    prepared = prepare_images(
        DataConfig(name="folder", root=str(shapes(tmp_path / "d", 10, each=1)), image_size=[16, 16]), tmp_path
    )
    audit_at_beginning(config, prepared, tmp_path / "audit")
    assert "the run goes on" in caplog.text


def test_the_setting_changes_no_run(tmp_path: Path):
    assert run_digest(config_of()) == run_digest(config_of("audit=off"))
    with pytest.raises(SeedsweepError, match=r"audit is .sometimes., but must be one of: auto, off"):
        config_of("audit=sometimes")


def test_the_short_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    root = shapes(tmp_path / "data", 10)
    assert as_overrides(["audit", str(root)])[0] == "task=audit"
    monkeypatch.chdir(tmp_path)
    assert main(["audit", str(root), "data.image_size=[16,16]", f"paths.cache={tmp_path}/cache"]) == 0
    pages = list((tmp_path / "outputs" / "audit").glob("*/report.html"))
    assert len(pages) == 1
    assert str(pages[0]) in capsys.readouterr().out.replace("\n", "")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.json").write_text("{}")
    with pytest.raises(SeedsweepError, match="audit takes a folder of images"):
        as_overrides(["audit", str(tmp_path / "run")])


def test_small_classes_are_a_line(tmp_path: Path):
    found, _ = audited(shapes(tmp_path / "data", 10, each=1), tmp_path)
    assert [line.text for line in found.lines] == ["Class sizes: a, b have fewer than 10 training images."]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/work/shared/data/wheat").is_dir(), reason="needs the photographs of wheat")
def test_the_contradictions_and_photographs_of_wheat(tmp_path: Path):
    found, _ = audited(Path("/work/shared/data/wheat"), tmp_path)
    lines = {line.kind: line.text for line in found.lines}
    assert "143 images are filed under two classes" in lines["contradictions"]
    assert "of 62 photographs" in lines["photographs"]
    assert "turned by 90 degrees" in lines["copies"], "one photograph is another one turned"
