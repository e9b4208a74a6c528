"""From a checkpoint alone: folders answered, nets handed over."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from seedsweep.cli.main import main
from seedsweep.data.demo import ensure_demo
from seedsweep.data.images import read_image
from seedsweep.deploy import export as exporting
from seedsweep.deploy.formats import onnx as onnx_format
from seedsweep.deploy.load import find_checkpoint, load_trained
from seedsweep.errors import SeedsweepError

N = 200
SMALL = [
    f"data.demo.n_images={N}", "data.image_size=[48,64]", "trainer.max_epochs=1", "trainer.probe_images=8",
    "head.dropout=0.5", "backbone=efficientnet_lite0",
]  # fmt: skip


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("deploy"))
        yield Path.cwd()


@pytest.fixture(scope="module")
def stored(cwd: Path) -> Path:
    """A run on stored features with recalibrated statistics: they are nowhere but in its checkpoint."""
    assert main([*SMALL, "+experiment=bn_recalibrated", "hydra.run.dir=stored"]) == 0
    return cwd / "stored"


@pytest.fixture(scope="module")
def online(cwd: Path) -> Path:
    """A run through the Trainer in the BatchNorm fault, inputs scaled twice: used as it was trained."""
    faults = ["+experiment=frozen_inception", "preprocess=rescale_twice", "data.batch_size=32", "head=linear"]
    assert main([*SMALL, *faults, "hydra.run.dir=online"]) == 0
    return cwd / "online"


@pytest.fixture(scope="module")
def photographs() -> Path:
    import os

    return ensure_demo(Path(os.environ["SEEDSWEEP_CACHE"]), N, 0)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", ["stored", "online"])
def test_predictions_are_those_of_the_run(kind: str, photographs: Path, request: pytest.FixtureRequest):
    run: Path = request.getfixturevalue(kind)
    moved = run.parent / f"{kind}.ckpt"  # the file alone, elsewhere
    shutil.copy(run / "checkpoints" / "best.ckpt", moved)
    assert (
        main(["task=predict", f"checkpoint={moved}", f"data.root={photographs}", f"predict.out={kind}.csv"])
        == 0
    )
    ours = {str(photographs / row["path"]): row for row in read(Path(f"{kind}.csv"))}
    theirs = read(run / "predictions.csv")
    assert len(ours) == len(theirs) == N
    names = [name for name in theirs[0] if name.startswith("p_")]
    assert list(next(iter(ours.values()))) == ["path", "predicted", "confidence", *names]
    for row in theirs:
        again = ours[row["path"]]
        values = np.asarray([float(again[name]) for name in names])
        assert values == pytest.approx(np.asarray([float(row[name]) for name in names]), abs=1e-4)
        assert float(again["confidence"]) == pytest.approx(values.max(), abs=1e-6)
        assert names[values.argmax()] == f"p_{again['predicted']}"


def test_any_nesting_and_files_that_are_no_images(
    stored: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
):
    root = Path("my photographs")
    images = sorted(photographs.rglob("*.jpg"))[:3] or sorted(photographs.rglob("*.png"))[:3]
    for place, image in zip(("", "a/b/c", "ümlaut, comma"), images, strict=True):
        (root / place).mkdir(parents=True, exist_ok=True)
        shutil.copy(image, root / place / image.name)
    Image.new("L", (300, 20)).save(root / "grey.png")
    (root / "cut off.jpg").write_bytes(images[0].read_bytes()[:900])
    (root / "text.png").write_text("no image")
    (root / "notes.txt").write_text("not looked at")
    assert (
        main(["task=predict", f"checkpoint={stored}", f"data.root={root}", "predict.out=deep/er/p.parquet"])
        == 0
    )
    table = pq.read_table("deep/er/p.parquet").to_pydict()
    expected = {images[0].name, f"a/b/c/{images[1].name}", f"ümlaut, comma/{images[2].name}", "grey.png"}
    assert set(table["path"]) == expected
    rows = np.stack([table[name] for name in table if name.startswith("p_")], 1)
    assert rows.sum(1) == pytest.approx(1, abs=1e-5)
    bad = read(Path("deep/er/p_unreadable.csv"))
    assert {row["path"]: bool(row["reason"]) for row in bad} == {"cut off.jpg": True, "text.png": True}
    out = capsys.readouterr().out
    assert "2 files can't be read" in out
    assert "4 of 6 images" in out


def test_the_job_folder_is_the_place_without_a_name(stored: Path, photographs: Path):
    (Path("few") / "x").mkdir(parents=True)
    shutil.copy(next(photographs.rglob("*.*g")), Path("few/x"))
    assert main(["task=predict", f"checkpoint={stored}", "data.root=few"]) == 0
    assert len(read(next(Path("outputs/predict").glob("*/predictions.csv")))) == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["data.root=few"], "checkpoint is not set"),
        (["checkpoint=nowhere.ckpt", "data.root=few"], "checkpoint=nowhere.ckpt is no file"),
        (["checkpoint=empty", "data.root=few"], "holds no checkpoints/best.ckpt"),
        (["checkpoint=stored"], "data.root is not set"),
        (["checkpoint=stored", "data.root=nowhere"], "data.root=nowhere is no folder"),
        (["checkpoint=stored", "data.root=empty"], "holds no images at any depth"),
        (["checkpoint=stored", "data.root=few", "predict.out=p.xlsx"], "must end in .csv or .parquet"),
        (["checkpoint=text.ckpt", "data.root=few"], "can't be read as a checkpoint"),
        (["checkpoint=old.ckpt", "data.root=few"], "earlier version"),
        (["checkpoint=trial.ckpt", "data.root=few"], "the head alone"),
        (["checkpoint=other.ckpt", "data.root=few"], "is no checkpoint of seedsweep"),
    ],
)
def test_one_sentence(
    stored: Path, photographs: Path, line: list[str], said: str, capsys: pytest.CaptureFixture[str]
):
    Path("empty").mkdir(exist_ok=True)
    Path("few").mkdir(exist_ok=True)
    shutil.copy(next(photographs.rglob("*.*g")), Path("few/image.png"))
    Path("text.ckpt").write_text("no checkpoint")
    torch.save({"state_dict": {}, "epoch": 1}, "old.ckpt")
    torch.save({"state_dict": {}, "whole": False}, "trial.ckpt")
    torch.save([1, 2], "other.ckpt")
    assert main(["task=predict", *line]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_a_grid_is_not_a_run(stored: Path):
    shutil.copytree(stored / "checkpoints", Path("grid/0_a_s1/checkpoints"))
    with pytest.raises(SeedsweepError, match="folder of a grid"):
        find_checkpoint("grid")


def test_both_formats_answer_as_the_checkpoint(
    online: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
):
    line = [
        "task=export",
        f"checkpoint={online}",
        "export.format=both",
        "export.out=net.onnx",
        "export.input=float32",
    ]
    assert main([*line, f"data.root={photographs}", "export.images=20"]) == 0
    assert capsys.readouterr().out.count("answers as the checkpoint does on 20 images") == 2
    trained = load_trained(online / "checkpoints" / "best.ckpt")
    files = sorted(path for path in photographs.rglob("*") if path.is_file())[:N]
    pixels = torch.stack([read_image(path, trained.image_size) for path in files]).float()
    assert len(pixels) == N
    with torch.inference_mode():
        wanted = trained.net(pixels).softmax(1).numpy()
    session = onnxruntime.InferenceSession("net.onnx")  # nothing of ours
    assert np.abs(session.run(None, {"pixels": pixels.numpy()})[0] - wanted).max() < 1e-4
    program = torch.export.load("net.pt2").module()
    assert np.abs(program(pixels).detach().numpy() - wanted).max() < 1e-4
    about = {entry.key: entry.value for entry in onnx.load("net.onnx").metadata_props}
    assert json.loads(about["classes"]) == trained.classes
    assert json.loads(about["image_size"]) == [48, 64]
    assert about["checkpoint_sha256"] == trained.digest
    extra = {"seedsweep.json": ""}
    torch.export.load("net.pt2", extra_files=extra)
    assert json.loads(extra["seedsweep.json"])["checkpoint_sha256"] == trained.digest
    assert not list(Path.cwd().glob("net*.part*"))


def test_bytes_go_in_as_bytes(stored: Path):
    assert main(["task=export", f"checkpoint={stored}", "export.out=bytes", "export.images=3"]) == 0
    trained = load_trained(stored / "checkpoints" / "best.ckpt")
    pixels = exporting.check_images(trained, [], 5)
    assert pixels.dtype == torch.uint8
    with torch.inference_mode():
        wanted = trained.net(pixels).softmax(1).numpy()
    found = onnxruntime.InferenceSession("bytes.onnx").run(None, {"pixels": pixels.numpy()})[0]
    assert np.abs(found - wanted).max() < 1e-4


def test_another_answer_is_not_kept(
    stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    whole = onnx_format.reader
    monkeypatch.setattr(onnx_format, "reader", lambda path: lambda images: whole(path)(images) + 2e-4)
    assert main(["task=export", f"checkpoint={stored}", "export.out=wrong", "export.images=2"]) == 2
    assert "would answer otherwise" in capsys.readouterr().err
    assert not list(Path.cwd().glob("wrong*"))
    assert main(["task=export", f"checkpoint={stored}", "export.format=coreml"]) == 2
    assert "must be one of: onnx, torch_export, both" in capsys.readouterr().err
