"""From a checkpoint alone: folders answered, nets handed over."""

import csv
import hashlib
import json
import os
import re
import shutil
import types
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
from seedsweep.errors import SeedsweepError
from seedsweep.export import write_net as exporting
from seedsweep.export.given_files import find_checkpoint
from seedsweep.export.load import at_temperature, load_trained
from seedsweep.models.checkpoint import read_checkpoint, write_checkpoint
from seedsweep.models.validated import VALIDATED

N = 70
SMALL = [
    f"data.demo.n_images={N}", "data.image_size=[48,64]", "trainer.max_epochs=1", "trainer.probe_images=8",
    "head.dropout=0.5", "features.engine=torch", "report.write=false",
]  # fmt: skip
TINY = ["backbone=timm", "backbone.name=test_resnet", "backbone.weights=none"]
TORCH = "features.engine=torch"


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("deploy"))
        yield Path.cwd()


@pytest.fixture(scope="module")
def stored(cwd: Path) -> Path:
    """A run on stored features with recalibrated statistics: they are nowhere but in its checkpoint."""
    assert (
        main([*SMALL, "+experiment=bn_recalibrated", "backbone=efficientnet_lite0", "hydra.run.dir=stored"])
        == 0
    )
    return cwd / "stored"


@pytest.fixture(scope="module")
def online(cwd: Path) -> Path:
    """A run through the Trainer in the BatchNorm fault, on a net of timm: used as it was trained."""
    faults = ["+experiment=frozen_inception", "preprocess=rescale_only", "data.batch_size=32", "head=linear"]
    assert main([*SMALL, *TINY, *faults, "hydra.run.dir=online"]) == 0
    return cwd / "online"


@pytest.fixture(scope="module")
def photographs() -> Path:
    return ensure_demo(Path(os.environ["SEEDSWEEP_CACHE"]), N, 0)


def pixels_of(photographs: Path, size: tuple[int, int]) -> torch.Tensor:
    files = sorted(path for path in photographs.rglob("*") if path.is_file())[:N]
    return torch.stack([read_image(path, size) for path in files])


@pytest.fixture(scope="module")
def lively(online: Path, photographs: Path) -> Path:
    """The checkpoint of ``online`` with a head that tells images apart, as one epoch did not teach it to."""
    path = online / "checkpoints" / "best.ckpt"
    trained, content = load_trained(path), read_checkpoint(path)
    with torch.inference_mode():
        features = trained.net.features(pixels_of(photographs, trained.image_size))
    draw = torch.randn(len(trained.classes), features.shape[1], generator=torch.Generator().manual_seed(0))
    weight = draw / (features.std(0) + 1e-6) / features.shape[1] ** 0.5
    content["state_dict"]["classifier.head.1.weight"] = weight
    content["state_dict"]["classifier.head.1.bias"] = -weight @ features.mean(0)
    write_checkpoint(content, online / "lively.ckpt")
    return online / "lively.ckpt"


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", [pytest.param("stored", marks=pytest.mark.slow), "online"])
def test_predictions_are_those_of_the_run(kind: str, photographs: Path, request: pytest.FixtureRequest):
    run: Path = request.getfixturevalue(kind)
    moved = run.parent / f"{kind}.ckpt"  # the file alone, elsewhere
    shutil.copy(run / "checkpoints" / "best.ckpt", moved)
    engine = "features.engine=auto" if kind == "stored" else TORCH
    line = ["task=predict", f"checkpoint={moved}", f"data.root={photographs}", f"predict.out={kind}.csv"]
    assert main([*line, engine, "predict.temperature=1"]) == 0

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
    online: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
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
    line = ["task=predict", f"checkpoint={online}", f"data.root={root}", "predict.out=deep/er/p.parquet"]
    assert main([*line, TORCH, "data.image_size=[32,32]", "augment=none"]) == 0
    table = pq.read_table("deep/er/p.parquet").to_pydict()
    expected = {images[0].name, f"a/b/c/{images[1].name}", f"ümlaut, comma/{images[2].name}", "grey.png"}
    assert set(table["path"]) == expected
    rows = np.stack([table[name] for name in table if name.startswith("p_")], 1)
    assert rows.sum(1) == pytest.approx(1, abs=1e-5)
    bad = read(Path("deep/er/p_unreadable.csv"))
    assert {row["path"]: bool(row["reason"]) for row in bad} == {"cut off.jpg": True, "text.png": True}
    out = capsys.readouterr().out
    assert "the checkpoint's own settings and does not read data.image_size, augment\n" in out
    assert "2 files can't be read" in out
    assert "4 of 6 images" in out


def test_images_unlike_training_are_warned_of(online: Path, capsys: pytest.CaptureFixture[str]):
    Path("noise").mkdir()
    random = np.random.default_rng(0)
    for number in range(12):
        pixels = random.integers(0, 2, (48, 64, 3)) * 255
        Image.fromarray(pixels.astype(np.uint8)).save(Path("noise") / f"{number}.png")
    assert main(["task=predict", f"checkpoint={online}", "data.root=noise", TORCH]) == 0
    assert "12 of 12 images (100.0%) are unlike the training images" in capsys.readouterr().out


def test_an_earlier_table_outlives_images_that_can_not_be_read(
    online: Path, capsys: pytest.CaptureFixture[str]
):
    Path("bad").mkdir()
    (Path("bad") / "text.png").write_text("no image")
    Path("p.csv").write_text("of an earlier call")
    assert main(["task=predict", f"checkpoint={online}", "data.root=bad", "predict.out=p.csv", TORCH]) == 2
    assert "none of the 1 images of bad can be read" in capsys.readouterr().err
    assert Path("p.csv").read_text() == "of an earlier call"
    assert [row["path"] for row in read(Path("p_unreadable.csv"))] == ["text.png"]
    assert not Path("p_partial.csv").exists()


def test_the_job_folder_is_the_place_without_a_name(online: Path, photographs: Path):
    (Path("few") / "x").mkdir(parents=True)
    shutil.copy(next(photographs.rglob("*.*g")), Path("few/x"))
    earlier = set(Path("outputs/predict").glob("*/predictions.csv"))  # of other tests in this folder
    assert main(["task=predict", f"checkpoint={online}", "data.root=few", TORCH]) == 0
    (made,) = set(Path("outputs/predict").glob("*/predictions.csv")) - earlier
    assert len(read(made)) == 1


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
        (["checkpoint=stored", "data.root=few", "predict.temperature=cold"], "must be auto or a number"),
        (["checkpoint=stored", "data.root=few", "predict.temperature=0"], "must lie between"),
        (
            ["checkpoint=stored", "data.root=few", "predict.tta=flip", "predict.max_error=.1"],
            "leave one of them out",
        ),
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
    with pytest.raises(SeedsweepError, match="holds several runs"):
        find_checkpoint("grid")


@pytest.fixture(scope="module")
def boastful(lively: Path) -> Path:
    """The checkpoint of ``lively`` that tells a temperature of 2."""
    content = read_checkpoint(lively)
    content[VALIDATED] = content[VALIDATED] | {"temperature": 2.0}
    write_checkpoint(content, lively.with_name("boastful.ckpt"))
    return lively.with_name("boastful.ckpt")


def test_onnx_answers_as_the_checkpoint_at_its_temperature(
    boastful: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
):
    line = ["task=export", f"checkpoint={boastful}", "export.out=net.v1", f"data.root={photographs}"]
    assert main([*line, "export.images=9"]) == 0
    assert "predicts as the checkpoint does on 9 images" in capsys.readouterr().out
    trained = load_trained(boastful)
    pixels = pixels_of(photographs, trained.image_size)
    assert (len(pixels), pixels.dtype) == (N, torch.uint8)
    with torch.inference_mode():
        wanted = (trained.net(pixels) / 2).softmax(1).numpy()
    assert np.ptp(wanted, 0).min() > 0.05  # images are told apart at all
    session = onnxruntime.InferenceSession("net.v1.onnx")  # nothing of ours
    assert np.abs(session.run(None, {"pixels": pixels.numpy()})[0] - wanted).max() < 1e-4
    about = {entry.key: entry.value for entry in onnx.load("net.v1.onnx").metadata_props}
    assert json.loads(about["classes"]) == trained.classes
    assert json.loads(about["image_size"]) == [48, 64]
    assert about["temperature"] == "2"
    assert about["checkpoint_sha256"] == hashlib.sha256(trained.path.read_bytes()).hexdigest()
    assert not list(Path.cwd().glob("net*.part*"))


def test_a_labelled_folder_is_scored(lively: Path, photographs: Path, capsys: pytest.CaptureFixture[str]):
    wall = Path("wall")
    for label in (folder.name for folder in photographs.iterdir() if folder.is_dir()):
        (wall / label).mkdir(parents=True)
    for image in sorted(photographs.rglob("*.*g"))[::2]:
        shutil.copy(image, wall / image.parent.name / image.name)
    capsys.readouterr()
    line = ["evaluate", str(lively), str(wall), TORCH, "data.group_regex='(\\d)\\.'", "hydra.run.dir=scored"]
    assert main(line) == 0
    out = capsys.readouterr().out
    told = json.loads(Path("scored/evaluation.json").read_text())
    rows = read(Path("scored/evaluation.csv"))
    assert len(rows) == told["images"] == N // 2
    assert told["groups"] == len({Path(row["path"]).stem[-1] for row in rows})
    assert {row["path"] for row in rows} == {p.relative_to(wall).as_posix() for p in wall.rglob("*.*g")}
    assert all(row["label"] == Path(row["path"]).parent.name for row in rows)
    right = [row["correct"] == "yes" for row in rows]
    assert right == [row["label"] == row["predicted"] for row in rows]
    acc = told["acc"]
    assert acc["value"] == pytest.approx(np.mean(right))
    assert acc["low"] < acc["value"] < acc["high"]
    assert acc["over"] == told["macro_f1"]["over"] == "groups of images"
    assert np.trace(told["confusion"]) == sum(right)
    assert np.sum(told["confusion"]) == len(rows)
    assert told["unlike_training"] == sum(row["unlike_training"] == "yes" for row in rows)
    assert f"{acc['value']:.1%} ({acc['low']:.1%} to {acc['high']:.1%}) of 35 images in" in out
    assert "the net has met" not in out, "its run is elsewhere"
    assert "Confusion matrix" in Path("scored/report.md").read_text()

    checkpoint = lively.parent / "checkpoints" / "best.ckpt"
    assert main(["evaluate", str(checkpoint), str(wall), TORCH]) == 0
    assert "that it was trained on" in capsys.readouterr().out

    Path("loose").mkdir()
    shutil.copy(next(photographs.rglob("*.*g")), "loose")
    (wall / "rye").mkdir()
    shutil.copy(next(photographs.rglob("*.*g")), wall / "rye")
    for words, said in {
        "data.root=wall": "are of classes that the net does not know (rye)",
        "data.root=loose": "holds no images in class folders",
        "": "data.root is not set",
    }.items():
        assert main(["task=evaluate", f"checkpoint={lively}", *words.split()]) == 2
        assert said in capsys.readouterr().err


def test_the_temperature_of_the_checkpoint_scales_answers(
    boastful: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
):
    found = {}
    for setting in ("auto", "1"):
        line = ["task=predict", f"checkpoint={boastful}", f"data.root={photographs}", TORCH]
        assert main([*line, f"predict.temperature={setting}", f"predict.out=t{setting}.csv"]) == 0
        rows = read(Path(f"t{setting}.csv"))
        values = [[float(row[name]) for name in row if name.startswith("p_")] for row in rows]
        found[setting] = np.asarray(values), [row["predicted"] for row in rows]
    assert "logits are divided by 2, as fitted on" in capsys.readouterr().out
    softened = np.sqrt(found["1"][0])
    assert found["auto"][0] == pytest.approx(softened / softened.sum(1, keepdims=True), abs=2e-3)
    assert np.abs(found["auto"][0] - found["1"][0]).max() > 0.05
    assert found["auto"][1] == found["1"][1], "the class choices stay"


def test_flip_answers_with_the_mean_of_both_views(lively: Path, photographs: Path):
    line = [
        "task=predict",
        f"checkpoint={lively}",
        f"data.root={photographs}",
        TORCH,
        "predict.tta=flip",
        "predict.temperature=1",
    ]
    assert main([*line, "predict.out=both.csv"]) == 0
    rows = read(Path("both.csv"))
    found = np.asarray([[float(row[name]) for name in row if name.startswith("p_")] for row in rows])
    trained = load_trained(lively)
    pixels = pixels_of(photographs, trained.image_size)
    with torch.inference_mode():
        plain, mirrored = (trained.net(view).softmax(1).numpy() for view in (pixels, pixels.flip(-1)))
    assert found == pytest.approx((plain + mirrored) / 2, abs=1e-4)
    assert np.abs(plain - mirrored).max() > 0.01


@pytest.fixture(scope="module")
def choosy(lively: Path) -> Path:
    """The checkpoint of ``lively`` whose validation was right wherever it was surer than 0.4."""
    content = read_checkpoint(lively)
    n, classes = 400, len(content["seedsweep"]["classes"])
    sure = torch.linspace(0.2, 0.99, n)
    logits = torch.log((1 - sure) / (classes - 1))[:, None].repeat(1, classes)
    logits[:, 0] = torch.log(sure)
    content[VALIDATED] = {
        "temperature": 1.0, "logits": logits, "labels": (sure < 0.4).long(), "groups": torch.arange(n),
    }  # fmt: skip
    write_checkpoint(content, lively.with_name("choosy.ckpt"))
    return lively.with_name("choosy.ckpt")


def test_torch_export_answers_as_the_checkpoint(choosy: Path, photographs: Path):
    line = [
        "task=export",
        f"checkpoint={choosy}",
        "export.out=net.onnx",
        "export.input=float32",
        "export.images=3",
    ]
    assert main([*line, "export.format=torch_export", "export.max_error=.02"]) == 0
    trained = load_trained(choosy)
    pixels = pixels_of(photographs, trained.image_size).float()
    extra = {"seedsweep.json": ""}
    program = torch.export.load("net.pt2", extra_files=extra).module()
    with torch.inference_mode():
        assert (program(pixels) - trained.net(pixels).softmax(1)).abs().max() < 1e-4
    about = json.loads(extra["seedsweep.json"])
    assert about["checkpoint_sha256"] == trained.digest
    assert about["max_error"] == "0.02"
    assert 0.37 < float(about["answer_from_confidence"]) <= 0.4, "as test_what_is_not_sure is told"
    assert 0.2 < float(about["left_to_a_person"]) < 0.3


def test_what_is_not_sure_is_left_to_a_person(
    choosy: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
):
    line = [
        "task=predict",
        f"checkpoint={choosy}",
        f"data.root={photographs}",
        TORCH,
        "predict.max_error=.02",
    ]
    assert main([*line, "predict.out=sure.csv"]) == 0
    out = capsys.readouterr().out
    told = re.search(r"by 400 validation images the net answers from a confidence of ([\d.]+) on", out)
    assert told is not None
    least = float(told.group(1))
    assert 0.37 < least <= 0.4
    rows = read(Path("sure.csv"))
    assert 0 < sum(row["answered"] == "yes" for row in rows) < len(rows)
    for row in rows:
        assert (row["answered"] == "yes") == (float(row["confidence"]) >= least) == bool(row["predicted"])
    n = sum(not row["predicted"] for row in rows)
    assert f"{n / N:>6.1%}  left to a person" in out

    wall = ["evaluate", str(choosy), str(photographs), TORCH, "predict.max_error=.02", "hydra.run.dir=kept"]
    capsys.readouterr()
    assert main(wall) == 0
    assert json.loads(Path("kept/evaluation.json").read_text())["answered"] == N - n
    assert f"{N - n} of {N} images" in capsys.readouterr().out


def test_a_promise_that_can_not_be_given_ends_in_one_sentence(
    choosy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    line = ["task=predict", f"checkpoint={choosy}", "data.root=few"]
    assert main([*line, "predict.max_error=.001"]) == 2
    error = capsys.readouterr().err
    assert "predict.max_error=0.001 can't be promised by 400 validation images: give" in error
    least = re.search(r"give (predict.max_error=[\d.]+\d)", error).group(1)  # type: ignore[union-attr]
    assert main([*line, least]) == 0, "the advice works"
    content = read_checkpoint(choosy)
    del content[VALIDATED]
    write_checkpoint(content, tmp_path / "old.ckpt")
    assert main(["task=predict", f"checkpoint={tmp_path}/old.ckpt", "data.root=few", least]) == 2
    assert "old.ckpt tells nothing of those" in capsys.readouterr().err


def test_a_checkpoint_without_a_temperature_says_so(
    online: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = online / "checkpoints" / "best.ckpt"
    metrics = json.loads((online / "metrics.json").read_text())
    known = load_trained(path).validated
    assert known is not None
    assert known.temperature == metrics["temperature"]
    assert len(known.labels) == len(known.groups) == sum(metrics["images"]["val"].values())
    content = read_checkpoint(path)
    del content[VALIDATED]
    write_checkpoint(content, tmp_path / "old.ckpt")
    with caplog.at_level("INFO"):
        trained = at_temperature(load_trained(tmp_path / "old.ckpt"), "auto", "predict.temperature")
    assert trained.temperature == 1
    assert "tells no temperature (an earlier version wrote it): predict.temperature=1 is taken" in caplog.text


class Liar(types.ModuleType):
    """A format whose file answers otherwise."""

    NAME, SUFFIX = "liar", ".lie"

    @staticmethod
    def write(net: torch.nn.Module, example: torch.Tensor, about: dict[str, str], path: Path) -> None:
        path.write_text("x")
        Liar.net = net

    @staticmethod
    def reader(path: Path):
        return lambda images: Liar.net(images) + 2e-4


def test_another_answer_is_not_kept(online: Path, capsys: pytest.CaptureFixture[str]):
    trained = load_trained(online / "checkpoints" / "best.ckpt")
    images = exporting.check_images(trained, [], 3)[0]
    with pytest.raises(SeedsweepError, match="would predict otherwise"):
        exporting.export(trained, Liar("liar"), Path("wrong.lie"), torch.uint8, images)
    assert not list(Path.cwd().glob("wrong*"))
    assert main(["task=export", f"checkpoint={online}", "export.format=coreml"]) == 2
    assert "must be one of: onnx, torch_export, both" in capsys.readouterr().err


def test_random_images_are_unlike_one_another(online: Path):
    trained = load_trained(online / "checkpoints" / "best.ckpt")
    images = exporting.check_images(trained, [], 4)[0].float()
    assert images.shape == (4, 3, 48, 64)
    assert (images[0] - images[1]).abs().mean() > 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone", ["efficientnet_lite0", "vgg16", "inception_v3", "timm backbone.name=mobilenetv3_small_050"]
)
def test_every_net_in_every_format(backbone: str, cwd: Path, photographs: Path):
    net = [*f"backbone={backbone}".split(), "backbone.weights=none", "data.image_size=[80,96]"]
    folder = f"slow_{backbone.split()[-1]}"
    assert main([*SMALL, "+experiment=frozen_bn", *net, f"hydra.run.dir={folder}"]) == 0
    assert (
        main(["task=export", f"checkpoint={folder}", "export.format=both", f"data.root={photographs}"]) == 0
    )


def test_a_damaged_record_beside_a_whole_checkpoint_is_a_warning(
    online: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    shutil.copytree(online, tmp_path / "run")
    (tmp_path / "run" / "metrics.json").write_text("{")
    assert load_trained(tmp_path / "run" / "checkpoints" / "best.ckpt").classes
    assert "metrics.json is damaged" in caplog.text
    assert "can't be said whether" in caplog.text
