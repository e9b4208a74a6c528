"""Images of more than 8 bits: one decision for all files of a data set, which a checkpoint keeps."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from deep_images import write_png16, write_tiff16
from PIL import Image
from test_data_folder import make, prepare

from seedsweep.data.checked import FileChecks
from seedsweep.data.images import Reading, read_image, thumbnail
from seedsweep.data.options import DataConfig
from seedsweep.data.pin import Pin
from seedsweep.data.prepare import PreparedImages, pinned_images, prepare_images
from seedsweep.data.value_ranges import FLOAT, S_MAX, S_MIN, SIXTEEN, Measured, Ranges, decide, scaled
from seedsweep.errors import DamagedError
from seedsweep.report.embedded_images import photograph
from seedsweep.training.assemble import _train_digest

GREY = np.tile(np.arange(0, 240, 3, dtype=np.uint8), (60, 1))


def write(
    path: Path, scale: float, dtype: str = "uint16", offset: float = 0.0, tags: dict[int, float] | None = None
):
    Image.fromarray((GREY.astype(float) * scale + offset).astype(dtype)).save(path, tiffinfo=tags or {})


@pytest.mark.parametrize(
    ("scale", "dtype", "offset", "low"),
    [(257, "float32", 0, 0), (16, "uint16", 0, 0), (1 / 255, "float32", 0, 0), (257, "uint16", 0, 0),
     (1, "uint16", 0, 0), (64, "uint16", 0, 0), (1, "float32", 0, 0), (1e5, "int32", 0, 0)],
)  # fmt: skip
def test_a_file_alone_has_sensible_values(scale: float, dtype: str, offset: float, low: int, tmp_path: Path):
    write(tmp_path / "a.tif", scale, dtype, offset)
    image = read_image(tmp_path / "a.tif").float()
    spans = 255 / 237 if dtype == "int32" else 1  # no usual range: what it spans becomes 0..255
    assert abs(image.mean() - GREY.mean() * spans) < 1
    assert image.min() == low


def test_small_reflectances_are_stretched_over_what_they_span(tmp_path: Path):
    """No tag and no usual range tells that 0.0255 was meant as white: their own span, 0 to 237 steps, is 0 to 255."""
    write(tmp_path / "a.tif", 1e-4, "float32", 3e-5)
    image = read_image(tmp_path / "a.tif")
    assert (image.min(), image.max()) == (0, 255)
    assert abs(image.float().mean() - GREY.mean() * 255 / 237) < 1
    write(tmp_path / "a.tif", 1e-4, "float32", 3e-5, {S_MIN: 3e-5, S_MAX: 255e-4 + 3e-5})
    assert abs(read_image(tmp_path / "a.tif").float().mean() - GREY.mean()) < 1


@pytest.mark.parametrize("kind", ["png", "tif-little", "tif-big"])
def test_colours_of_twelve_bits_in_sixteen(kind: str, tmp_path: Path):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4096, (20, 30, 3)).astype(np.uint16)
    path = tmp_path / f"a.{kind[:3]}"
    if kind == "png":
        write_png16(path, values)
    else:
        write_tiff16(path, values, "<" if kind == "tif-little" else ">")
    wanted = torch.from_numpy((values / 4095 * 255).round().astype(np.uint8)).permute(2, 0, 1)
    assert torch.equal(read_image(path), wanted)


def deep_set(root: Path, scale: float = 16) -> Path:
    make(root, {"a": 1, "b": 1})
    rng = np.random.default_rng(0)
    for name, part in (("a", 1.0), ("b", 0.5)):
        for number in range(6):
            noise = rng.integers(0, int(255 * scale * part), (40, 40)).astype(np.uint16)
            write_png16(root / name / f"deep{number}.png", noise)
    return root


def test_all_files_are_scaled_alike(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Each by itself would be white at its own maximum, and the classes of one brightness."""
    caplog.set_level("INFO")
    prepared = prepare(deep_set(tmp_path / "d"))
    assert prepared.pixels.how.ranges == Ranges(((SIXTEEN, 0.0, 4095.0),))
    table = prepared.table
    deep = np.asarray([path.name.startswith("deep") for path in table.paths])
    means = [
        prepared.pixels.batch(np.flatnonzero(deep & (table.labels == n))).float().mean().item()
        for n in (0, 1)
    ]
    assert means[0] == pytest.approx(2 * means[1], rel=0.03)
    assert "12 of 14 images have values of 16 bits: in all of them 0 to 4095 become 0 to 255" in caplog.text


def test_another_range_is_other_pixels_of_the_same_files(tmp_path: Path):
    """One bright image more, and the others get darker: what was made of their old pixels must not be used."""
    root = deep_set(tmp_path / "d")
    before = prepare(root)
    write_png16(root / "a" / "bright.png", np.arange(1600, dtype=np.uint16).reshape(40, 40) * 40)
    after = prepare(root)
    assert after.pixels.how.ranges.get(SIXTEEN) == (0, 65535)
    assert _train_digest(before) != _train_digest(after)


def pinned(root: Path, name: str = "manifest.csv", **settings: object) -> PreparedImages:
    pin = Pin(root.parent / name, "the grid began with", "begin a new grid")
    config = DataConfig(name="folder", root=str(root), image_size=[16, 16], **settings)
    return pinned_images(config, root.parent / "cache", pin)


@pytest.mark.parametrize("odd", ["masks", "bad"])
def test_files_that_are_left_out_decide_nothing(odd: str, tmp_path: Path):
    """Else a run that is resumed would see other pixels than it began with."""
    root = tmp_path / "d"
    rng = np.random.default_rng(0)
    for name in "ab":
        (root / name).mkdir(parents=True)
        for number in range(6):
            write_png16(root / name / f"{number}.png", rng.integers(0, 4001, (20, 20)).astype(np.uint16))
            if odd == "masks":
                write_png16(root / name / f"{number}_mask.png", np.full((20, 20), 60000, np.uint16))
        if odd == "bad":
            write_png16(root / name / "z.png", rng.integers(0, 60000, (90, 90)).astype(np.uint16))
            (root / name / "z.png").write_bytes((root / name / "z.png").read_bytes()[:-4000])
    settings = {"annotations": "skip", "on_bad_image": "skip"}
    first = pinned(root, **settings)
    with_pin = pinned(root, **settings)
    (tmp_path / "values.json").unlink()
    without_record = pinned(root, **settings)
    for each in (first, with_pin, without_record):
        assert len(each.table.paths) == 12
        assert each.pixels.how.ranges == Ranges(((SIXTEEN, 0.0, 4095.0),))
        assert torch.equal(each.pixels.batch(range(12)), first.pixels.batch(range(12)))


def test_a_pin_keeps_the_range(tmp_path: Path):
    root = deep_set(tmp_path / "d")
    assert pinned(root).pixels.how.ranges.get(SIXTEEN) == (0, 4095)
    (tmp_path / "values.json").write_text('{"16 bits": [0, 9000]}')
    assert pinned(root).pixels.how.ranges.get(SIXTEEN) == (0, 9000)
    (tmp_path / "values.json").write_text('{"16 bits": 7}')
    with pytest.raises(DamagedError, match=r"values.json is damaged"):
        pinned(root)


def test_jobs_with_left_out_files_read_once_and_hold_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = make(deep_set(tmp_path / "d"), {"a": 4, "b": 4})
    (root / "a" / "bad.png").write_bytes(b"x")
    config = DataConfig(name="folder", root=str(root), image_size=[16, 16], on_bad_image="skip")
    pin = Pin(tmp_path / "manifest.csv", "the grid began with", "begin a new grid")
    checks = FileChecks()
    first = pinned_images(config, tmp_path / "cache", pin, checks)
    first.pixels.read_all(1)
    for module in ("checked", "pixels"):
        monkeypatch.setattr(f"seedsweep.data.{module}.digest_of", lambda _: pytest.fail("read again"))
    monkeypatch.setattr("seedsweep.data.pixels.read_image", lambda *_: pytest.fail("decoded again"))
    second = pinned_images(config, tmp_path / "cache", pin, checks)
    assert second.pixels._memory.data_ptr() == first.pixels._memory.data_ptr()
    rows = range(len(first.table.paths))
    assert torch.equal(second.pixels.batch(rows), first.pixels.batch(rows))


def test_another_range_never_changes_pixels_in_use(tmp_path: Path):
    root = deep_set(tmp_path / "d")
    config = DataConfig(name="folder", root=str(root), image_size=[16, 16])
    checks = FileChecks()
    one = prepare_images(config, tmp_path, checks=checks)
    before = one.pixels.batch(range(14))
    other = prepare_images(config, tmp_path, known=Ranges(((SIXTEEN, 0.0, 65535.0),)), checks=checks)
    assert other.pixels.batch(range(14)).float().mean() < before.float().mean()
    assert torch.equal(one.pixels.batch(range(14)), before)


def test_tags_tell_the_range(tmp_path: Path):
    stated = Measured(0.1, 0.3, (0.0, 2.0))
    assert decide(FLOAT, [stated, Measured(0.1, 1.7, (0.0, 2.0))]) == (0.0, 2.0)
    assert decide(FLOAT, [stated, Measured(0.1, 0.9)]) == (0, 1)  # not in all files
    assert decide(FLOAT, [Measured(0.1, 0.9, (0.1, 0.9)), Measured(0, 0.8, (0.0, 0.8))]) == (
        0,
        1,
    )  # of each file
    write(tmp_path / "a.tif", 1 / 255, "float32", tags={340: 0.0, 341: 2.0})
    assert read_image(tmp_path / "a.tif").max() == round(237 / 255 / 2 * 255)


def test_no_data_and_no_numbers_are_no_values(tmp_path: Path):
    values = GREY.astype(np.float32) / 255
    values[0, :40], values[1, :40] = -9999, np.nan
    Image.fromarray(values).save(tmp_path / "a.tif", tiffinfo={42113: "-9999"})
    image = read_image(tmp_path / "a.tif")
    assert image[:, 2:].float().mean() == pytest.approx(GREY[2:].mean(), abs=1)
    assert image[:, :2, :40].max() == 0


def test_one_odd_file_darkens_no_others():
    usual = [Measured(0, 4000)] * 300
    assert decide(SIXTEEN, [*usual, Measured(0, 65535)]) == (0, 4095)
    assert decide(SIXTEEN, [Measured(0, 4000)] * 3 + [Measured(0, 65535)]) == (0, 65535)
    assert decide(FLOAT, [Measured(-1, 1)]) == (-1, 1)
    assert decide(FLOAT, [Measured(5, 5)]) == (0, 5) or decide(FLOAT, [Measured(5, 5)])[1] > 5


@pytest.mark.filterwarnings("error")
def test_values_far_beyond_are_clipped_in_silence():
    usual = np.asarray([-3.4e38, 0.2, 0.5, 3.4e38, np.inf, -np.inf, np.nan], np.float32)
    assert scaled(usual, 0.2, 0.8).tolist() == [0, 0, 128, 255, 255, 0, 0]
    assert scaled(np.asarray([-3e38, 1e38, 3e38], np.float32), -3e38, 3e38).tolist() == [0, 170, 255]


def test_a_range_is_kept_in_plain_numbers():
    ranges = Ranges(((SIXTEEN, 0.0, 4095.0), (FLOAT, -1.0, 1.0)))
    assert Ranges.from_dict(json.loads(json.dumps(ranges.as_dict()))) == ranges


def test_a_given_range_counts_for_every_image(tmp_path: Path):
    """What predict does with one image: it must not guess anew."""
    write(tmp_path / "a.png", 1)
    assert read_image(tmp_path / "a.png").max() == 237
    how = Reading(Ranges(((SIXTEEN, 0.0, 4095.0),)))
    assert read_image(tmp_path / "a.png", how=how).max() == round(237 / 4095 * 255)
    for drawn in (thumbnail(tmp_path / "a.png", 40, how), thumbnail(tmp_path / "a.png", 400, how)):
        assert drawn.max() <= round(237 / 4095 * 255), "pictures show what the net saw"
    assert np.asarray(photograph(tmp_path / "a.png", how=how)).max() == round(237 / 4095 * 255)


def test_a_stated_maximum_is_taken(tmp_path: Path):
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 1023 " + np.asarray([0, 512], ">u2").tobytes())
    assert read_image(tmp_path / "a.pgm").max() == 128
