"""Every kind of file a user may have, and every way it may be broken."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedsweep.data.images import BadImageError, read_image

RED = (200, 30, 20)


def patch(mode: str) -> Image.Image:
    return Image.new("RGB", (12, 8), RED).convert(mode)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("RGB", "jpg"), ("RGB", "png"), ("RGB", "bmp"), ("RGB", "tif"), ("RGB", "webp"), ("L", "jpg"), ("L", "png"),
        ("P", "png"), ("RGBA", "png"), ("LA", "png"), ("CMYK", "jpg"), ("CMYK", "tif"), ("1", "png"), ("RGBA", "webp"),
    ],
)  # fmt: skip
def test_modes_and_formats(mode: str, suffix: str, tmp_path: Path):
    path = tmp_path / f"a.{suffix}"
    patch(mode).save(path)
    image = read_image(path)
    assert image.shape == (8, 12, 3)
    assert image.dtype == np.uint8
    if mode in ("RGB", "RGBA", "CMYK"):
        assert np.abs(image.mean((0, 1)) - RED).max() < 12


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_by_their_full_range(suffix: str, tmp_path: Path):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.full((5, 6), 32768, np.uint16)).save(path)
    assert np.abs(read_image(path).astype(int) - 128).max() <= 1


def test_transparency_lies_on_white(tmp_path: Path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").min() == 255


def test_exif_orientation(tmp_path: Path):
    image = Image.new("RGB", (12, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (12, 8, 3)


def test_resized_to_height_and_width(tmp_path: Path):
    patch("RGB").save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", (30, 20)).shape == (30, 20, 3)


def test_truncated(tmp_path: Path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (80, 80, 3), np.uint8)).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadImageError, match="truncated"):
        read_image(tmp_path / "a.jpg")


def test_no_image_at_all(tmp_path: Path):
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(BadImageError, match="not an image"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(BadImageError, match="no such file"):
        read_image(tmp_path / "b.jpg")
