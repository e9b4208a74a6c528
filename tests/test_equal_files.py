"""Equal files: one side of a split, and no score by an image with two labels."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedsweep.data.options import DataConfig
from seedsweep.data.pin import Pin
from seedsweep.data.prepare import PreparedImages, pinned_images, prepare_images


def folder(root: Path, n: int = 20) -> Path:
    """Two classes: the first five of each are there twice, and the last five of the first in the second, too."""
    rng = np.random.default_rng(0)
    for label in "ab":
        (root / label).mkdir(parents=True)
        for number in range(n):
            pixels = rng.integers(0, 255, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}.png")
            if number < 5:
                shutil.copy(root / label / f"{number}.png", root / label / f"{number}_again.png")
    for number in range(n - 5, n):
        shutil.copy(root / "a" / f"{number}.png", root / "b" / f"of_a_{number}.png")
    return root


def prepare(root: Path, **settings: object) -> PreparedImages:
    config = DataConfig(name="folder", root=str(root), image_size=[16, 16], **settings)
    return prepare_images(config, root.parent / "cache")


def split_of(prepared: PreparedImages) -> dict[str, str]:
    return dict(zip(prepared.table.names(), prepared.table.splits.tolist(), strict=True))


def test_equal_files_are_on_one_side(tmp_path: Path):
    root = folder(tmp_path / "data")
    pairs = [(f"{label}/{n}.png", f"{label}/{n}_again.png") for label in "ab" for n in range(5)]
    for seed in range(4):
        splits = split_of(prepare(root, split_seed=seed, contradictions="keep"))
        assert all(splits[one] == splits[other] for one, other in pairs)
        assert all(splits[f"a/{n}.png"] == splits[f"b/of_a_{n}.png"] for n in range(15, 20))
        apart = split_of(prepare(root, split_seed=seed, contradictions="keep", equal_files="apart"))
        assert any(apart[one] != apart[other] for one, other in pairs)


def test_no_score_by_an_image_with_two_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    root = folder(tmp_path / "data")
    whole = split_of(prepare(root, contradictions="keep"))
    two = {f"a/{n}.png" for n in range(15, 20)} | {f"b/of_a_{n}.png" for n in range(15, 20)}
    beside = {name for name in two if whole[name] != "train"}
    assert beside
    with caplog.at_level("WARNING"):
        prepared = prepare(root)
    assert split_of(prepared) == {name: split for name, split in whole.items() if name not in beside}
    assert {each.path.relative_to(root).as_posix() for each in prepared.left_out} == beside
    assert "an equal file is in another class" in caplog.text
    assert len(prepared.pixels.paths) == len(prepared.table.paths) == len(whole) - len(beside)


def test_a_pinned_split_stays_as_it_is(tmp_path: Path):
    root = folder(tmp_path / "data")
    config = DataConfig(name="folder", root=str(root), image_size=[16, 16])
    pin = Pin(tmp_path / "run" / "manifest.csv", "the run began with", "begin anew")
    first = pinned_images(config, tmp_path / "cache", pin)
    again = pinned_images(config, tmp_path / "cache", pin)
    assert split_of(again) == split_of(first)
    assert {each.path for each in again.left_out} == {each.path for each in first.left_out} != set()
    # a run of an earlier version began with equal files on both sides
    free = prepare(root, contradictions="keep", equal_files="apart")
    given = DataConfig(name="folder", root=str(root), image_size=[16, 16], manifest=str(tmp_path / "m.csv"))
    rows = [f"{name},{name[0]},{split}" for name, split in split_of(free).items()]
    (tmp_path / "m.csv").write_text("\n".join(["path,class,split", *rows]))
    assert split_of(prepare_images(given, tmp_path / "cache")) == split_of(free)
