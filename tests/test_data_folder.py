"""Folders, splits, manifests, loaders; each mistake gets its sentence."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seedsweep.data.datamodule import ImageDataModule
from seedsweep.data.manifest import write_manifest
from seedsweep.data.options import DataConfig
from seedsweep.data.prepare import PreparedImages, prepare_images
from seedsweep.data.split import groups_of, split_images
from seedsweep.data.walk import walk
from seedsweep.errors import SeedsweepError


def make(root: Path, counts: dict[str, int], prefix: str = "img") -> Path:
    rng = np.random.default_rng(len(str(root)))
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = rng.integers(0, 255, (int(rng.integers(20, 40)), 30, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{prefix}{number // 4}_{number}.png")
    return root


def prepare(root: Path, written: Path | None = None, **settings: object) -> PreparedImages:
    config = DataConfig(name="folder", root=str(root), image_size=[16, 16], **settings)
    prepared = prepare_images(config, root)
    if written is not None:
        write_manifest(prepared.table, written)
    return prepared


def phone_photographs(root: Path) -> Path:
    for name in ("good", "bad"):
        (root / name).mkdir()
        (root / name / "IMG_1.CR2").write_bytes(b"...")
    return root


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    return make(tmp_path / "seeds", {"good": 40, "bad": 20, "ugly": 10})


def test_split_is_stratified_and_seeded(flat: Path):
    table = prepare(flat).table
    assert table.counts() == {
        "train": {"bad": 12, "good": 24, "ugly": 6},
        "val": {"bad": 4, "good": 8, "ugly": 2},
        "test": {"bad": 4, "good": 8, "ugly": 2},
    }
    assert (table.splits == prepare(flat).table.splits).all()
    assert (table.splits != prepare(flat, split_seed=1).table.splits).any()


def test_groups_stay_on_one_side(flat: Path):
    table = prepare(flat, group_regex=r"^(img\d+)_").table
    sides: dict[str, set[str]] = {}
    for group, split in zip(table.groups, table.splits, strict=True):
        sides.setdefault(group, set()).add(split)
    assert all(len(splits) == 1 for splits in sides.values())
    assert {split for splits in sides.values() for split in splits} == {"train", "val", "test"}


def test_grouped_shares_stay_near_the_whole():
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 3000, p=[0.7, 0.2, 0.1])
    groups = [f"g{n}" for n in rng.integers(0, 300, 3000)]
    splits = split_images(labels, groups, ["a", "b", "c"], {"train": 0.6, "val": 0.2, "test": 0.2}, 0)
    for split, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        for label in range(3):
            assert np.mean(splits[labels == label] == split) == pytest.approx(share, abs=0.05)


def test_a_pattern_that_misses_files_says_so(caplog: pytest.LogCaptureFixture):
    assert groups_of([Path("x/a_1.png"), Path("x/b.png")], r"^(.+)_") == ["a", "x/b.png"]
    assert "1 of 2 files" in caplog.text


def test_ready_made_splits(tmp_path: Path):
    for split in ("training_set", "Valid", "test"):
        make(tmp_path / split, {"a": 4, "b": 3})
    assert prepare(tmp_path).table.counts()["val"] == {"a": 4, "b": 3}


def test_manifest_gives_the_same_split_again(flat: Path, tmp_path: Path):
    first = prepare(flat, tmp_path / "m.csv", split_seed=5).table
    config = DataConfig(name="folder", root=str(flat), image_size=[16, 16], manifest=str(tmp_path / "m.csv"))
    again = prepare_images(config, tmp_path).table
    assert dict(zip(first.paths, first.splits, strict=True)) == dict(
        zip(again.paths, again.splits, strict=True)
    )
    Image.new("RGB", (9, 9)).save(first.paths[0])
    with pytest.raises(SeedsweepError, match=r"1 is changed in content \(bad/img0_0.png\)"):
        prepare_images(config, tmp_path)
    first.paths[0].unlink()
    with pytest.raises(SeedsweepError, match="1 is missing"):
        prepare_images(config, tmp_path)


def spoil(root: Path) -> Path:
    (root / "good" / "broken.jpg").write_text("no image")
    return root


def listed(root: Path, splits: dict[str, str]) -> PreparedImages:
    """Prepares the images that a manifest names: one of each class for each of its splits."""
    make(root / "images", {"a": 5, "b": 5})
    rows = [
        f"{name}/img0_{at}.png,{name},{split}"
        for name, of in splits.items()
        for at, split in enumerate(of.split(","))
    ]
    (root / "m.csv").write_text("\n".join(["path,class,split", *rows]))
    return prepare(root / "images", None, manifest=str(root / "m.csv"), group_regex="(img.)")


MISTAKES = {
    "did you mean": lambda p: prepare(make(p / "seeds", {"a": 5, "b": 5}).with_name("sedes")),
    "holds no images": lambda p: prepare(p),
    "lie in the folder itself": lambda p: prepare(make(p, {"good": 4}) / "good"),
    "found 1 .cr2 of class bad, 1 of class good": lambda p: prepare(phone_photographs(p)),
    "is no folder; did you mean": lambda p: prepare(make(p / "seeds", {"good": 4}).parent / "seedz"),
    "is not read by data=demo": lambda p: prepare_images(DataConfig(name="demo", root="x"), p),
    "one class only": lambda p: prepare(make(p, {"a": 9})),
    "has no image that can be used": lambda p: prepare(spoil(make(p, {"good": 0})), on_bad_image="skip"),
    r"the manifest of the images below .* has one class only \(a\)": lambda p: listed(p, {"a": "train"}),
    r"Class b has no image in the val split\.$": lambda p: listed(p, {"a": "train,val", "b": "train"}),
    "Class b has 2 images, fewer than the 3 splits": lambda p: prepare(make(p, {"a": 9, "b": 2})),
    "b is missing in val, c is missing in train": lambda p: (
        make(p / "train", {"a": 3, "b": 3}),
        make(p / "val", {"a": 3, "c": 3}),
        prepare(p),
    ),
    "none for validation": lambda p: (make(p / "train", {"a": 3, "b": 3}), prepare(p)),
    r"broken.jpg \(not an image\)": lambda p: prepare(spoil(make(p, {"good": 9, "bad": 9}))),
    "captures nothing": lambda p: prepare(make(p, {"a": 9, "b": 9}), group_regex="img"),
    "no regular expression": lambda p: prepare(make(p, {"a": 9, "b": 9}), group_regex="("),
    "data.root is not set": lambda p: prepare_images(DataConfig(name="folder"), p),
    "is no file": lambda p: prepare_images(DataConfig(name="folder", root=str(p), manifest="nope.csv"), p),
}


@pytest.mark.parametrize("sentence", sorted(MISTAKES))
def test_mistakes_get_one_sentence(sentence: str, tmp_path: Path):
    with pytest.raises(SeedsweepError, match=sentence) as caught:
        MISTAKES[sentence](tmp_path)
    assert "\n" not in str(caught.value)


def test_bad_images_can_be_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    prepared = prepare(spoil(make(tmp_path, {"good": 9, "bad": 9})), on_bad_image="skip")
    assert len(prepared.table.paths) == 18 == len(prepared.pixels.batch(range(18)))
    assert "broken.jpg" in caplog.text


def test_memory_and_disk_give_the_same_pixels(flat: Path):
    in_memory, on_disk = prepare(flat).pixels, prepare(flat, cache_gib=0).pixels
    assert in_memory.keep
    assert not on_disk.keep
    rows = np.array([3, 1, 60])
    assert torch.equal(in_memory.batch(rows), on_disk.batch(rows))


def test_order_depends_on_seed_and_epoch_alone(flat: Path):
    def order(seed: int, epoch: int) -> list[int]:
        loader = ImageDataModule(prepare(flat), 8, seed, 0, None).train_dataloader()
        loader.sampler.set_epoch(epoch)
        return [row for batch in loader for row in batch["index"].tolist()]

    assert order(1, 0) == order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
    assert sorted(order(1, 0)) == sorted(prepare(flat).table.indices("train").tolist())


def test_no_batch_of_one(flat: Path):
    assert len(prepare(flat).table.indices("train")) == 42
    loader = ImageDataModule(prepare(flat), 41, 1, 0, None).train_dataloader()
    assert [len(batch["label"]) for batch in loader] == [41]


def test_a_folder_without_images_is_named(flat: Path, caplog: pytest.LogCaptureFixture):
    (flat / "notes").mkdir()
    table = prepare(flat).table
    assert table.classes == ["bad", "good", "ugly"]
    assert "no classes: notes" in caplog.text


def test_a_link_back_is_not_followed(tmp_path: Path):
    make(tmp_path / "seeds", {"good": 4, "bad": 4})
    (tmp_path / "seeds/good/loop").symlink_to(tmp_path / "seeds")
    (tmp_path / "seeds/good/self").symlink_to(tmp_path / "seeds/good")
    make(tmp_path / "elsewhere", {"more": 2})
    (tmp_path / "seeds/good/more").symlink_to(tmp_path / "elsewhere/more")
    assert len(walk(tmp_path / "seeds/good").images) == 6
    found = walk(tmp_path / "seeds")
    assert len(found.images) == 10
    assert [(each.path.name, each.what) for each in found.left_out] == [
        ("loop", "link(s)"),
        ("self", "link(s)"),
    ]


def test_a_root_that_is_a_level_too_high_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for kind, names in (("coffee", ("green", "sour")), ("wheat", ("whole", "broken"))):
        make(tmp_path / kind, dict.fromkeys(names, 4))
    assert prepare(tmp_path).table.classes == ["coffee", "wheat"]
    assert (
        "coffee, wheat are taken as classes, but hold folders of images (coffee: green, sour)" in caplog.text
    )
    assert f"give data.root={tmp_path / 'coffee'}" in caplog.text
    caplog.clear()
    prepare(tmp_path / "coffee")
    assert "taken as classes" not in caplog.text
