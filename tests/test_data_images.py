"""Every kind of file a user may have, and every way it may be broken."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from seedsweep.data import images
from seedsweep.data.image_formats import BadImageError
from seedsweep.data.images import read_image
from seedsweep.data.pixels import Pixels
from seedsweep.data.threads import load_and_compute

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
    assert image.shape == (3, 8, 12)
    assert image.dtype == torch.uint8
    if mode in ("RGB", "RGBA", "CMYK"):
        assert (image.float().mean((1, 2)) - torch.tensor(RED)).abs().max() < 12


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_by_their_full_range(suffix: str, tmp_path: Path):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.full((5, 6), 32768, np.uint16)).save(path)
    assert (read_image(path).int() - 128).abs().max() <= 1


def test_transparency_lies_on_white(tmp_path: Path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").min() == 255


def photo(width: int, height: int) -> Image.Image:
    """Blots with some grain, so that a wrong turn, filter or channel order shows."""
    rng = np.random.default_rng(7)
    coarse = Image.fromarray(rng.integers(0, 255, (7, 9, 3), np.uint8)).resize((width, height), Image.BICUBIC)
    grain = Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8))
    return Image.blend(coarse, grain.filter(ImageFilter.GaussianBlur(1)), 0.2)


def difference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a.int() - b.int()).abs().float()


@pytest.mark.parametrize("shape", [(30, 20), (90, 130), (61, 200), (300, 500)])
def test_resized_as_pillow_does(shape: tuple[int, int], tmp_path: Path):
    image = photo(200, 90)
    image.save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png", shape)
    wanted = torch.from_numpy(np.array(image.resize(shape[::-1], Image.Resampling.BILINEAR))).permute(2, 0, 1)
    assert found.shape == (3, *shape)
    assert found.permute(1, 2, 0).is_contiguous(), (
        "as it was decoded: to take pixels apart takes as long as to resize"
    )
    assert difference(found, wanted).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, tmp_path: Path):
    """A large file is decoded reduced: height and width change places before that, not after."""
    image, exif = photo(520, 130), Image.Exif()
    turns = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180], 4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90], 7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }  # fmt: skip
    exif[0x0112] = orientation
    stored = image
    for turn in turns.get(orientation, []):  # as the camera held it: EXIF turns it back
        stored = stored.transpose(turn)
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert read_image(tmp_path / "a.jpg").shape == (3, 130, 520)
    found = read_image(tmp_path / "a.jpg", (30, 120))
    image.resize((120, 30), Image.Resampling.BILINEAR).save(tmp_path / "b.png")
    assert difference(found, read_image(tmp_path / "b.png")).mean() < 3


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "L", "CMYK"])
def test_a_much_larger_jpeg_is_decoded_reduced(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """MPO is what many telephones write."""
    image = photo(640, 480).convert(kind if kind in ("L", "CMYK") else "RGB")
    image.save(tmp_path / "a.jpg", format="MPO" if kind == "MPO" else "JPEG", quality=95)
    decoded: list[tuple[int, int]] = []
    load = Image.Image.load

    def seen(self: Image.Image) -> object:
        if not getattr(self, "tile", [0]):
            decoded.append(self.size)
        return load(self)

    monkeypatch.setattr(Image.Image, "load", seen)
    cases = {  # (height, width) wanted: (width, height) decoded
        (60, 80): (160, 120),
        (61, 80): (320, 240),
        (30, 80): (160, 120),
        (20, 20): (80, 60),
        (121, 80): (640, 480),
    }
    for size, at in cases.items():
        decoded.clear()
        found = read_image(tmp_path / "a.jpg", size)
        whole = read_image(tmp_path / "a.jpg").numpy().transpose(1, 2, 0)
        truth = np.array(Image.fromarray(whole).resize(size[::-1], Image.Resampling.BILINEAR))
        assert (decoded or [image.size])[0] == at, size  # what is not reduced may never meet Pillow
        gap = difference(found, torch.from_numpy(truth).permute(2, 0, 1))
        assert gap.mean() < 1.5
        assert gap.max() <= (1 if at == (640, 480) else 16)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "saved", [{}, {"subsampling": 0, "quality": 30}, {"progressive": True}, {"keep_rgb": True}]
)
def test_a_jpeg_is_what_pillow_reads(saved: dict[str, Any], mode: str, tmp_path: Path):
    """Features are stored whichever decoder was there: their bytes must not differ."""
    image = photo(201, 93).convert(mode)
    image.save(tmp_path / "a.jpg", **saved)
    assert images._plain_jpeg(tmp_path / "a.jpg", None, images.IMAGE_GIB) is not None
    with Image.open(tmp_path / "a.jpg") as file:
        assert np.array_equal(read_image(tmp_path / "a.jpg").permute(1, 2, 0), np.array(file.convert("RGB")))


def test_exif_far_behind_still_turns(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(60, 40).save(tmp_path / "a.jpg", exif=exif)
    content = (tmp_path / "a.jpg").read_bytes()
    comment = b"\xff\xfe\xff\xff" + b" " * 65533  # as long as a segment may be
    (tmp_path / "a.jpg").write_bytes(content[:2] + 2 * comment + content[2:])
    assert read_image(tmp_path / "a.jpg").shape == (3, 60, 40)


@pytest.mark.parametrize("size", [None, (8, 12), (60, 40), (224, 224)])
def test_xmp_orientation(size: tuple[int, int] | None, tmp_path: Path):
    """What is left where EXIF was stripped; at every size, decoded reduced or not."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    image = photo(60, 40)
    image.save(tmp_path / "a.jpg", xmp=xmp, quality=95)
    image.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "b.png")
    found, wanted = (read_image(tmp_path / name, size) for name in ("a.jpg", "b.png"))
    assert found.shape == wanted.shape
    assert difference(found, wanted).mean() < 4


@pytest.mark.parametrize("error", [KeyError(6), ValueError("odd")])
def test_what_the_faster_decoder_does_not_know_pillow_reads(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    photo(60, 40).save(tmp_path / "a.jpg")
    wanted = read_image(tmp_path / "a.jpg")

    def fails(_: bytes) -> None:
        raise error

    monkeypatch.setattr(images.simplejpeg, "decode_jpeg_header", fails)
    assert torch.equal(read_image(tmp_path / "a.jpg"), wanted)


def test_truncated(tmp_path: Path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (80, 80, 3), np.uint8)).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    for size in (None, (8, 8)):
        with pytest.raises(BadImageError, match="truncated"):
            read_image(tmp_path / "a.jpg", size)


def test_no_image_at_all(tmp_path: Path):
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(BadImageError, match="not an image"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(BadImageError, match="no such file"):
        read_image(tmp_path / "b.jpg")


def numbered(folder: Path, n: int) -> list[Path]:
    paths = [folder / f"{i}.png" for i in range(n)]
    for i, path in enumerate(paths):
        Image.fromarray(np.full((20, 30, 3), 10 * i, dtype=np.uint8)).save(path)
    return paths


def test_the_order_of_values_changes_no_pixel(tmp_path: Path):
    pixels = Pixels(numbered(tmp_path, 3), (16, 24), keep=False)
    plain, decoded = pixels.batch([0, 2]), pixels.batch([0, 2], as_decoded=True)
    assert torch.equal(plain, decoded)
    assert plain.is_contiguous()
    assert decoded.is_contiguous(memory_format=torch.channels_last)


def test_a_selection_holds_what_was_decoded(tmp_path: Path):
    paths = numbered(tmp_path, 4)
    pixels = Pixels(paths, (16, 24), keep=True)
    pixels.batch([1, 3])
    part = pixels.select([0, 3])
    assert part.held([0, 1]).tolist() == [False, True]
    paths[3].unlink()
    assert part.batch([0, 1])[:, 0, 0, 0].tolist() == [0, 30]


@pytest.mark.parametrize("keep", [True, False])
def test_batches_are_read_in_threads_and_computed_in_order(keep: bool, tmp_path: Path):
    paths = numbered(tmp_path, 9)
    pixels = Pixels(paths, (16, 24), keep)

    def load(some: Sequence[int]) -> torch.Tensor:
        return pixels.batch(some, as_decoded=True)

    def compute(batch: torch.Tensor) -> list[float]:
        return batch.double().mean((1, 2, 3)).tolist()

    found = list(load_and_compute(range(9), load, 4, compute, 2))
    assert [some for some, _, _ in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert [value for _, _, values in found for value in values] == [10.0 * i for i in range(9)]
    assert pixels.held(range(9)).tolist() == [keep] * 9
