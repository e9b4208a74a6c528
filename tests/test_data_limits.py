"""Only regular files of listed formats are opened, and none that would take more memory than is allowed."""

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from deep_images import write_png16
from PIL import EpsImagePlugin, Image
from test_data_folder import make, prepare

from seedsweep.data import image_formats
from seedsweep.data.image_formats import BadImageError, TooLargeError, check_memory, coefficients
from seedsweep.data.images import Reading, measured, read_image, thumbnail
from seedsweep.data.value_ranges import SIXTEEN, Ranges
from seedsweep.diagnosis.audited import read_facts
from seedsweep.diagnosis.checks.data_files import LARGEST
from seedsweep.errors import SeedsweepError

SMALL = 0.015  # GiB


def photo(path: Path, size: tuple[int, int], **how: object) -> Path:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (9, 12, 3), np.uint8))
    coarse.resize(size, Image.Resampling.BICUBIC).save(path, **how)
    return path


@pytest.mark.parametrize("kind", ["EPS", "ICO", "TGA", "PCX", "SGI"])
def test_other_formats_are_not_opened_whatever_they_are_called(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started")
    )
    photo(tmp_path / "a.jpg", (20, 20), format=kind)
    with pytest.raises(BadImageError, match="not an image"):
        read_image(tmp_path / "a.jpg")


def test_pipes_and_folders_are_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").mkdir()
    (tmp_path / "c.jpg").symlink_to("/dev/zero")
    (tmp_path / "d.jpg").symlink_to("nowhere")
    (tmp_path / "e.jpg").symlink_to("e.jpg")
    for name in "abc":
        with pytest.raises(BadImageError, match="no regular file"):
            read_image(tmp_path / f"{name}.jpg")
    with pytest.raises(BadImageError, match="a link to nothing"):
        read_image(tmp_path / "d.jpg")
    with pytest.raises(BadImageError, match="symbolic links"):
        read_image(tmp_path / "e.jpg")
    root = make(tmp_path / "seeds", {"a": 4, "b": 4})
    (root / "a" / "d.jpg").symlink_to("nowhere")
    (root / "b" / "e.jpg").symlink_to("e.jpg")
    said = r"2 of 10 images can't be read.*d.jpg \(a link to nothing\).*e.jpg \(Too many levels of symbolic links\)"
    with pytest.raises(SeedsweepError, match=said):
        prepare(root)


@pytest.mark.parametrize("sides", [(1, 4_000_000), (40_000_000, 1)])
def test_memory_is_counted_for_any_ratio_of_the_sides(sides: tuple[int, int], tmp_path: Path):
    """The resize makes an image as wide as it will be first: one of 1 x 4,000,000 takes 2.5 GiB for that."""
    Image.new("L", sides).save(tmp_path / "a.png", compress_level=1)
    with pytest.raises(
        TooLargeError, match=f"GiB for {sides[0]:,} x {sides[1]:,} pixels, more than data.image_gib"
    ):
        read_image(tmp_path / "a.png", (224, 224))


def test_a_large_jpeg_is_decoded_reduced(tmp_path: Path):
    path = photo(tmp_path / "a.jpg", (3000, 2000), quality=50)
    how = Reading(gib=SMALL)
    image = read_image(path, (48, 48), how)
    wanted = read_image(path, (48, 48))
    assert (image.int() - wanted.int()).abs().float().mean() < 1
    with pytest.raises(
        TooLargeError, match=re.escape("3,000 x 2,000 pixels, more than data.image_gib=0.015")
    ):
        read_image(path, None, how)
    assert thumbnail(path, 100).shape == (3, 67, 100)
    assert read_image(path, LARGEST).shape == (3, 1024, 1024)
    assert read_facts(path).width == 3000


def test_a_jpeg_of_several_scans_is_held_whole(tmp_path: Path):
    path = photo(tmp_path / "a.jpg", (3000, 2000), quality=50, progressive=True)
    with pytest.raises(TooLargeError):
        read_image(path, (48, 48), Reading(gib=SMALL))
    with Image.open(path) as file:
        assert coefficients(file, path) == 3000 * 2000 * 2 * 6 // 4  # 4:2:0
        with pytest.raises(TooLargeError):
            check_memory(file, None, 0.05, coefficients(file, path))


def test_a_large_file_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with (tmp_path / "a.jpg").open("wb") as file:
        file.write(b"\xff\xd8\xff")
        file.truncate(2**33)  # takes no room on the disk
    with pytest.raises(TooLargeError, match=r"its 8\.0 GiB"):
        read_image(tmp_path / "a.jpg")


def test_the_limit_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = make(tmp_path / "seeds", {"a": 5, "b": 5})
    photo(root / "a" / "large.png", (1800, 1500))
    with pytest.raises(
        SeedsweepError, match=r"large.png \(reading it takes .* more than data.image_gib=0.015\)"
    ):
        prepare(root, image_gib=SMALL)
    assert len(prepare(root, image_gib=0.2).table.paths) == 11
    with pytest.raises(
        SeedsweepError, match=r"raise data.image_gib"
    ):  # it was proved readable, with more memory
        prepare(root, image_gib=SMALL, cache_gib=0).pixels.batch(range(11))


def test_a_png_is_not_decoded_to_find_how_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = photo(tmp_path / "a.png", (60, 40))
    with image_formats.open_image(path, 1.0) as file:
        monkeypatch.setattr(file, "load", lambda: pytest.fail("decoded"))
        assert image_formats.orientation(file) == 1


def test_a_heic_takes_far_more_for_its_pixels(tmp_path: Path):
    """One of 108 million pixels took 2.3 GiB: it is refused with what it takes, not read."""
    image_formats.formats()  # makes HEIF known
    path = photo(tmp_path / "a.heic", (1200, 900))
    with image_formats.open_image(path, 1.5) as file, pytest.raises(TooLargeError):
        check_memory(file, (224, 224), 2.3 / 100)
    assert read_image(path, (224, 224), Reading(gib=3 / 100)).shape == (3, 224, 224)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_a_photograph_of_108_megapixels_takes_less_than_two_gib(kind: str, tmp_path: Path):
    script = (
        "import resource; from pathlib import Path; from seedsweep.data.images import read_image\n"
        f"x = read_image(Path({str(tmp_path / f'a.{kind}')!r}), (224, 224)); assert x.shape == (3, 224, 224)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)"
    )
    Image.new("RGB", (12000, 9000), "green").save(tmp_path / f"a.{kind}", quality=30)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True
    )
    assert float(done.stdout) < 2


def test_colours_of_sixteen_bits_take_far_more(tmp_path: Path):
    """They are decoded twice: 15 bytes a pixel were measured, and 17 are counted."""
    values = np.random.default_rng(0).integers(0, 4000, (1200, 1000, 3)).astype(np.uint16)
    write_png16(tmp_path / "a.png", values)
    twelve_bits = Ranges(((SIXTEEN, 0.0, 4095.0),))
    for gib, reads in ((14 * values.size / 3 / 2**30, False), (19 * values.size / 3 / 2**30, True)):
        for read in (
            lambda gib=gib: read_image(tmp_path / "a.png", (48, 48), Reading(twelve_bits, gib)),
            lambda gib=gib: measured(tmp_path / "a.png", SIXTEEN, gib, (48, 48)),
        ):
            with nullcontext() if reads else pytest.raises(TooLargeError):
                read()


def test_a_small_jpeg_is_not_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = photo(tmp_path / "a.jpg", (60, 40))
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("read again"))
    with Image.open(path) as file:
        assert coefficients(file, path) == 0
