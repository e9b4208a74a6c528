"""``diagnose.model``: how an ONNX file of any origin wants its images."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from seedsweep.cli.main import main
from seedsweep.data.labelled import Labelled
from seedsweep.diagnosis.deployed import diagnose_deployed
from seedsweep.diagnosis.feeding import CROPPED, PADDED, SQUASHED, Feeding, fed_as_set
from seedsweep.diagnosis.finding import Diagnosis, Finding, Verdict
from seedsweep.diagnosis.onnx_file import open_onnx
from seedsweep.errors import SeedsweepError
from seedsweep.models.options import PreprocessConfig
from seedsweep.stats.interval import Interval

COLOURS = {"blue": (60, 60, 200), "green": (60, 200, 60), "red": (200, 60, 60), "yellow": (200, 200, 60)}
N = 30  # images a class


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs 40 x 16 whose class is the colour of their middle; the sides are of any colour."""
    root, random = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir()
        for number in range(N):
            pixels = np.tile(random.integers(0, 255, 3), (16, 40, 1))
            pixels[:, 12:28] = np.clip(np.asarray(colour) + random.normal(0, 40, 3), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number:02}.png")
    return root


def write_model(path: Path, centres: list[tuple[int, int, int]], about: dict[str, str] | None = None) -> Path:
    """Writes a model that compares the mean colour, as it reads it from -1 to 1, with ``centres``."""
    points = torch.tensor(centres) / 127.5 - 1
    weight, bias = 2 * points.numpy().astype(np.float32), -(points**2).sum(1).numpy().astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["y"], transB=1),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", len(centres)])
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
    made = helper.make_model(helper.make_graph(nodes, "colours", [x], [y], constants), ir_version=10)
    made.opset_import[0].version = 17
    helper.set_model_props(made, about or {})
    onnx.save(made, path)
    return path


def as_wanted(**other: object) -> Feeding:
    return Feeding(
        **{"scaling": "from -1 to 1", "swapped": False, "framing": CROPPED, "size": (16, 16), **other}
    )


def labelled(root: Path) -> Labelled:
    paths = sorted(root.rglob("*.png"))
    return Labelled(root, paths, [path.parent.name for path in paths], None, [])


def examined(path: Path, root: Path, said: Feeding, into: Path) -> Diagnosis:
    found = diagnose_deployed(open_onnx(path), labelled(root), said, into)
    assert json.loads((into / "diagnosis.json").read_text())["kind"] == found.kind == "model"
    return found


def faults(found: Diagnosis) -> dict[str, tuple[Interval | None, str]]:
    return {f.check: (f.cost, f.sentence) for f in found.findings if f.verdict is Verdict.FAULT}


def by_name(found: Diagnosis) -> dict[str, Finding]:
    return {each.check: each for each in found.findings}


def test_a_model_fed_as_it_wants_has_no_fault(folder: Path, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", list(COLOURS.values()))
    found = examined(path, folder, as_wanted(), tmp_path)
    assert found.healthy
    assert found.headline.startswith("No fault was found in how the model is fed.")
    assert found.numbers["val_acc"] > 0.9


def test_each_mismatch_is_named_with_its_cost(folder: Path, tmp_path: Path) -> None:
    """Wrong at once: scaling, order of the colours, crop, and the order of the classes."""
    order = ["yellow", "blue", "red", "green"]
    bgr = [COLOURS[name][::-1] for name in order]
    path = write_model(tmp_path / "m.onnx", bgr, {"names": str(dict(enumerate(sorted(order))))})
    said = as_wanted(scaling="divided by 255", framing=SQUASHED)
    found = examined(path, folder, said, tmp_path)
    named = faults(found)
    assert set(named) == {"inputs", "framing", "class_order"}
    assert "wants images BGR from -1 to 1. Images RGB divided by 255 cost" in named["inputs"][1]
    assert "wants images cropped to a centre of 16x16. Images squashed to 16x16 cost" in named["framing"][1]
    assert "in another order than the file's list of classes: " in named["class_order"][1]
    assert "blue means yellow" in named["class_order"][1]
    assert found.numbers["mended"] > 0.9 > 0.5 > found.numbers["val_acc"]
    for each in found.findings:
        assert each.cost is not None
        assert each.cost.low < each.cost.value < each.cost.high
        assert each.cost.value > 0.1


def test_a_model_that_knows_nothing_is_not_explained(folder: Path, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", [(0, 0, 0)] * 4)
    found = examined(path, folder, as_wanted(), tmp_path)
    assert not faults(found)
    assert all(each.verdict is Verdict.UNKNOWN for each in found.findings)
    assert "fed in no way that was tried" in found.findings[0].sentence


def test_how_settings_feed_a_model(tmp_path: Path) -> None:
    model = open_onnx(write_model(tmp_path / "m.onnx", list(COLOURS.values())))
    assert fed_as_set(model, None, (9, 9)) == Feeding(
        "divided by 255, then normalised as for ImageNet", False, SQUASHED, (16, 16)
    )
    assert fed_as_set(model, PreprocessConfig("", False, True), (9, 9)).scaling == "divided by 255"
    ours = open_onnx(write_model(tmp_path / "o.onnx", list(COLOURS.values()), {"checkpoint_sha256": "0"}))
    assert fed_as_set(ours, None, (9, 9)).scaling == "from 0 to 255"


def test_crop_and_padding_keep_the_proportions() -> None:
    image = torch.zeros(3, 16, 24, dtype=torch.uint8)
    image[:, :, 4:20] = 255
    way = as_wanted(scaling="from 0 to 255")
    assert way.of(image).min() == 255, "the middle 16 x 16"
    padded = as_wanted(scaling="from 0 to 255", framing=PADDED, size=(24, 24)).of(image)
    assert padded.shape == (3, 24, 24)
    assert not padded[:, :4].any()
    assert not padded[:, -4:].any()
    assert padded[:, 4:20, 4:20].min() == 255


def test_what_can_not_be_examined_is_one_sentence(
    folder: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("text.onnx").write_text("no model")
    write_model(Path("three.onnx"), list(COLOURS.values())[:3])
    write_model(Path("others.onnx"), list(COLOURS.values())[:3], {"classes": '["oats", "rye", "barley"]'})
    for path, said in {
        "nowhere.onnx": "diagnose.model=nowhere.onnx is no file",
        "text.onnx": "can't be read as ONNX",
        "three.onnx": "three.onnx tells 3 classes apart, and 4 are known of it or of the folders",
        "others.onnx": "are of classes that others.onnx does not know (blue, green, red, yellow)",
    }.items():
        assert main(["task=diagnose", f"diagnose.model={path}", f"data.root={folder}"]) == 2
        assert said in capsys.readouterr().err
    assert main(["task=diagnose", "diagnose.model=a", "diagnose.run=b", f"data.root={folder}"]) == 2
    assert "diagnose.run and diagnose.model are 2 things" in capsys.readouterr().err


def test_the_command_line_examines_a_file(
    folder: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_model(Path("m.onnx"), list(COLOURS.values()))
    line = ["task=diagnose", f"diagnose.model={path}", f"data.root={folder}", "preprocess=rescale_only"]
    assert main(line) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "m.onnx: fed with images RGB divided by 255, squashed to 16x16; others are tried" in out
    assert "The model wants images RGB from -1 to 1." in out
    assert list(Path("outputs").rglob("diagnosis.json"))
    (page,) = Path("outputs").rglob("report.md")
    assert "The model wants images RGB from -1 to 1." in page.read_text()


def test_another_shape_is_refused(tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    made = helper.make_model(graph, ir_version=10)
    made.opset_import[0].version = 17
    onnx.save(made, tmp_path / "m.onnx")
    with pytest.raises(SeedsweepError, match="reads one batch of images"):
        open_onnx(tmp_path / "m.onnx")


def test_sizes_that_a_model_refuses_are_left_out(folder: Path, tmp_path: Path) -> None:
    """The file says that it takes any size, and its dense layer takes one."""
    path = write_model(tmp_path / "m.onnx", list(COLOURS.values()))
    made = onnx.load(path)
    del made.graph.node[0]  # the pooling
    made.graph.node[0].input[0] = "x"
    weight = numpy_helper.to_array(made.graph.initializer[0])
    spread = np.repeat(weight / 256, 256, axis=1)
    made.graph.initializer[0].CopyFrom(numpy_helper.from_array(spread, "w"))
    for place, name in ((2, "h"), (3, "w")):
        made.graph.input[0].type.tensor_type.shape.dim[place].dim_param = name
    onnx.save(made, path)
    model = open_onnx(path)
    assert model.size is None
    found = examined(path, folder, as_wanted(), tmp_path)
    assert found.healthy
    tried = [name for name, _ in by_name(found)["framing"].evidence["fit_by_framing"]]  # type: ignore[misc]
    assert tried
    assert all(name.endswith("16x16") for name in tried)
    with pytest.raises(SeedsweepError, match="can't compute"):
        examined(path, folder, as_wanted(size=(32, 32)), tmp_path)
