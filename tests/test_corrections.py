"""``data.corrections``: what is read, what is refused with its line, what a run goes on with, and what it gains."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_net import tiny_net

from seedsweep.cli.main import main
from seedsweep.data.corrections import Corrected
from seedsweep.data.options import DataConfig
from seedsweep.data.pin import Pin
from seedsweep.data.prepare import PreparedImages, pinned_images, prepare_images
from seedsweep.digest import digest_of
from seedsweep.errors import RefusedError, SeedsweepError
from seedsweep.runs.label_gain import LabelGain, SplitGain
from seedsweep.runs.record import read_record

Lines = list[list[str]]
HEAD = ["path", "class", "action"]
CHANGED, OUT, KEPT = "gut/é, 1.png", '=faul/"2".png', "gut/3.png"
GIVEN = [HEAD, [CHANGED, "=faul", "change"], ["'" + OUT, "", "leave out"], [KEPT, "gut", "keep"]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for label, light in (("gut", 60), ("=faul", 0)):
        (root / label).mkdir()
        for name in ("é, 1.png", '"2".png', *(f"{n}.png" for n in range(3, 21))):
            Image.fromarray(rng.integers(light, 190 + light, (20, 20, 3), np.uint8)).save(root / label / name)
    return root


def written(lines: Lines, path: Path, encoding: str = "utf-8", delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows(lines)
    return path


def config(root: Path, corrections: Path | None) -> DataConfig:
    given = None if corrections is None else str(corrections)
    return DataConfig(name="folder", root=str(root), image_size=[16, 16], corrections=given)


def read(root: Path, corrections: Path | None) -> PreparedImages:
    return prepare_images(config(root, corrections), (corrections or root).parent)


def of(prepared: PreparedImages) -> dict[str, tuple[str, str]]:
    """Returns class and split by path."""
    table = prepared.table
    labels = [table.classes[label] for label in table.labels]
    return dict(zip(table.names(), zip(labels, table.splits.tolist(), strict=True), strict=True))


def corrected(prepared: PreparedImages) -> Corrected:
    assert prepared.corrected is not None
    return prepared.corrected


@pytest.mark.parametrize(
    ("encoding", "delimiter"), [("utf-8", ","), ("utf-8-sig", ";"), ("latin-1", ";"), ("utf-16", "\t")]
)
def test_labels_change_and_the_split_stays(encoding: str, delimiter: str, root: Path, tmp_path: Path):
    plain = of(read(root, None))
    digests = {path: digest_of(path) for path in root.glob("*/*")}
    made = read(root, written(GIVEN, tmp_path / "c.csv", encoding, delimiter))
    expected = {name: each for name, each in plain.items() if name != OUT}
    expected[CHANGED] = ("=faul", plain[CHANGED][1])
    assert of(made) == expected
    assert corrected(made).counts == {"changed": 1, "kept": 1, "left_out": 1}
    assert [each.path.name for each in made.left_out] == ['"2".png']
    assert {path: digest_of(path) for path in root.glob("*/*")} == digests
    at = list(plain).index(next(iter(expected)))
    assert made.pixels.batch([0]).equal(read(root, None).pixels.batch([at]))


def test_two_columns_are_enough(root: Path, tmp_path: Path):
    lines = [["Path", "Class"], [f"./{CHANGED}", "=faul"]]
    assert of(read(root, written(lines, tmp_path / "c.csv")))[CHANGED][0] == "=faul"


def put(line: int, column: int, text: str) -> Callable[[Lines], None]:
    def change(lines: Lines) -> None:
        lines[line - 1][column] = text

    return change


MISTAKES: dict[str, Callable[[Lines], object]] = {
    "line 2: gut/nowhere.png is no image below data.root=": put(2, 0, "gut/nowhere.png"),
    "line 2: ../other.png is no image below data.root=": put(2, 0, "../other.png"),
    "line 2: gutt is no class of these images; did you mean gut?": put(2, 1, "gutt"),
    "line 2: Q is no class of these images; there are =faul, gut.": put(2, 1, "Q"),
    "line 2: the cell class is empty: name the right class, or write the action leave out": put(2, 1, ""),
    "line 3: the cell path is empty": put(3, 0, " "),
    "line 4: drop is no action; it must be one of change, keep, leave out": put(4, 2, "drop"),
    "gut/3.png stands twice: in line 5, and in line 4": lambda lines: lines.append(list(lines[3])),
    "line 4, has too few cells: 2": lambda lines: lines[3].pop(),
    "its first line lacks class": put(1, 1, "klasse"),
    "has no rows": lambda lines: lines.__delitem__(slice(1, None)),
}


@pytest.mark.parametrize("says", MISTAKES)
def test_a_mistake_is_named_with_its_line(says: str, root: Path, tmp_path: Path):
    lines = [list(line) for line in GIVEN]
    MISTAKES[says](lines)
    with pytest.raises(SeedsweepError) as refused:
        read(root, written(lines, tmp_path / "c.csv"))
    assert says in str(refused.value)
    assert "data.corrections=" in str(refused.value)


def test_other_content_than_was_looked_at_is_refused(root: Path, tmp_path: Path):
    lines = [[*HEAD, "digest"], [CHANGED, "=faul", "change", "0" * 64]]
    with pytest.raises(
        SeedsweepError, match=r"line 2: .* has another content than the image that was looked at"
    ):
        read(root, written(lines, tmp_path / "c.csv"))


def test_a_class_may_not_be_emptied(root: Path, tmp_path: Path):
    lines = [
        HEAD,
        *([name, "gut", ""] for name, (label, _) in of(read(root, None)).items() if label == "=faul"),
    ]
    with pytest.raises(
        SeedsweepError, match=r"Class =faul has no image in the train split.*data.corrections=.*leaves"
    ):
        read(root, written(lines, tmp_path / "c.csv"))


def test_a_run_goes_on_with_the_corrections_that_it_began_with(root: Path, tmp_path: Path):
    images = shutil.copytree(root, tmp_path / "images")
    given, pin = written(GIVEN, tmp_path / "c.csv"), Pin.of_grid(tmp_path / "g" / "manifest_1.csv")

    def pinned() -> PreparedImages:
        return pinned_images(config(images, given), tmp_path, pin)

    first, again = pinned(), pinned()
    assert (tmp_path / "g" / "corrections_1.csv").is_file()
    assert of(again) == of(first)
    assert corrected(again).counts == corrected(first).counts
    befores = [
        set(zip(c.before.names(), c.before.labels, strict=True)) for c in map(corrected, (first, again))
    ]
    assert befores[0] == befores[1]
    assert corrected(again).is_whole
    given.write_text(given.read_text() + "gut/4.png,=faul,change\n")
    with pytest.raises(
        RefusedError, match=r"c\.csv is not what the grid in .* began with: restore it, or begin"
    ):
        pinned()
    given.unlink()
    assert of(pinned()) == of(first), "its own record is enough"
    (images / OUT).unlink()
    assert of(pinned()) == of(first), "what was left out may be deleted"
    assert not corrected(pinned()).is_whole
    pin.corrections.unlink()
    with pytest.raises(RefusedError, match=r"corrections_1\.csv is missing"):
        pinned()


def test_equal_files_in_two_classes_are_used_once_their_labels_agree(root: Path, tmp_path: Path):
    images = shutil.copytree(root, tmp_path / "images")
    twin = {
        of(read(images, None))[name][1]: name
        for name in ("gut/7.png", "gut/8.png", "gut/9.png", "gut/10.png")
    }
    held_out = next(name for split, name in twin.items() if split != "train")
    shutil.copy(images / held_out, images / "=faul" / "copy.png")
    given, pin = tmp_path / "c.csv", Pin.of_grid(tmp_path / "g" / "manifest_1.csv")
    assert held_out not in of(read(images, None))

    def pinned(label: str) -> PreparedImages:
        written([HEAD, ["'=faul/copy.png", label, "change"], [CHANGED, "=faul", ""]], given)
        return pinned_images(config(images, given), tmp_path, pin)

    for label, used in (("gut", True), ("=faul", False)):
        first, again = pinned(label), pinned(label)
        assert (held_out in of(first)) == used
        assert of(again) == of(first)
        assert corrected(first).counts["changed"] == 1 + used
        assert held_out not in corrected(first).before.names(), "a run without corrections has it not"
        assert corrected(again).before.names() == corrected(first).before.names()
        assert corrected(again).is_whole
        shutil.rmtree(tmp_path / "g")


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Dark and light images, a quarter of them filed under the other class; and the list of these."""
    folder = tmp_path_factory.mktemp("wrong")
    rng = np.random.default_rng(0)
    lines = [HEAD]
    for n in range(80):
        right, filed = "ab"[n % 2], "ab"[n % 2 ^ (n % 8 < 2)]
        path = folder / "images" / filed / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 120, (20, 20, 3), np.uint8) + np.uint8(90 * (right == "b"))).save(
            path
        )
        if right != filed:
            lines.append([f"{filed}/{n}.png", right, ""] if n % 16 else [f"{filed}/{n}.png", "", "leave_out"])
    return folder / "images", written(lines, folder / "corrections.csv")


def arm(root: Path, *others: str) -> list[str]:
    small = ["data.image_size=[32,32]", "data.batch_size=8", "head.width=8", "trainer.max_epochs=3"]
    quiet = ["trainer.progress_bar=false", "trainer.accelerator=cpu", "report.write=false"]
    return [
        "batchnorm=inference",
        "backbone.freeze=true",
        *tiny_net(),
        f"data.root={root}",
        *small,
        *quiet,
        *others,
    ]


def test_the_gain_is_that_over_a_run_without(
    wrong: tuple[Path, Path], in_tmp: Path, capsys: pytest.CaptureFixture[str]
):
    root, given = wrong
    assert main(arm(root, "hydra.run.dir=plain")) == 0
    capsys.readouterr()
    assert main(arm(root, "hydra.run.dir=run", f"data.corrections={given}")) == 0
    said = capsys.readouterr().out
    assert (
        f"data.corrections={given}: 15 labels changed, 5 images left out, 0 confirmed; the files are as they"
        in said
    )
    assert "corrections: 15 labels changed, 5 images left out, 0 confirmed; with them val " in said
    assert "extract" not in said, "the features were stored before"
    found = read_record(Path("run")).corrections
    assert found is not None
    assert found.source == digest_of(given)
    touched = {line[0] for line in csv.reader(given.read_text().splitlines())}
    for split, gain in found.gain.items():
        for name, accuracy in (("plain", gain.before), ("run", gain.after)):
            answers = csv.DictReader(Path(name, "predictions.csv").read_text().splitlines())
            rows = [row for row in answers if row["split"] == split]
            right = [
                row["label"] == row["predicted"]
                for row in rows
                if row["path"].removeprefix(f"{root}/") not in touched
            ]
            assert len(right) == gain.images
            assert np.mean(right) == accuracy
        assert gain.low <= gain.after - gain.before <= gain.high
    assert list(found.gain) == ["val", "test"]
    digests = [json.loads(Path(name, "metrics.json").read_text())["digests"] for name in ("plain", "run")]
    assert digests[0]["split"] != digests[1]["split"]


def test_where_more_than_a_head_is_trained_nothing_is_claimed(
    wrong: tuple[Path, Path], in_tmp: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(arm(wrong[0], "hydra.run.dir=run", f"data.corrections={wrong[1]}", "features=off")) == 0
    assert "confirmed; what that gains is not measured: more than a head" in capsys.readouterr().out


def test_a_file_that_is_not_there_is_a_sentence(
    wrong: tuple[Path, Path], in_tmp: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(arm(wrong[0], "data.corrections=nowhere.csv", "hydra.run.dir=run")) == 2
    error = capsys.readouterr().err
    assert "data.corrections=nowhere.csv is no file: give the corrections.csv that review.html saved" in error
    assert len(error.splitlines()) == 1


def test_the_sentence():
    gain = SplitGain(512, 0.82, 0.841, -0.003, 0.045, 0.1, "images")
    assert LabelGain("", 37, 0, 4, {"val": gain}).sentence == (
        "37 labels changed, 4 images left out, 0 confirmed; with them val 84.1 % instead of 82.0 % on the 512 images "
        "whose labels nobody corrected (+2.1, 95 % interval -0.3 to +4.5)"
    )
    assert LabelGain("", 0, 1, 0).sentence == "0 labels changed, 0 images left out, 1 confirmed"
