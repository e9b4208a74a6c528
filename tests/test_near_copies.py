"""Copies are found, and parts of one template are none: both in generated images, of which all is known."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from seedsweep.data.demo import ensure_demo
from seedsweep.data.images import Reading
from seedsweep.diagnosis.copies import read_grey
from seedsweep.diagnosis.near_copies import Pair, find_pairs

SIDE = 160
COPIES = {
    "saved anew": lambda image: (image, 85),
    "made larger": lambda image: (image.resize((image.width * 3 // 2, image.height * 3 // 2)), 85),
    "mirrored": lambda image: (image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 85),
    "upside down": lambda image: (image.transpose(Image.Transpose.FLIP_TOP_BOTTOM), 85),
    "turned": lambda image: (image.transpose(Image.Transpose.ROTATE_90), 85),
}


def template() -> np.ndarray:
    """Returns a part as a camera above a belt sees it, [SIDE, SIDE, 3]."""
    image = Image.new("RGB", (SIDE, SIDE), (60, 62, 66))
    draw = ImageDraw.Draw(image)
    draw.ellipse((12, 12, SIDE - 12, SIDE - 12), fill=(150, 150, 155))
    draw.ellipse((40, 40, SIDE - 40, SIDE - 40), fill=(110, 112, 115))
    for angle in np.arange(6) * np.pi / 3 + 0.2:
        x, y = SIDE / 2 + 54 * np.cos(angle), SIDE / 2 + 54 * np.sin(angle)
        draw.ellipse((x - 6, y - 6, x + 6, y + 6), fill=(30, 30, 30))
    draw.rectangle((75, 19, 85, 43), fill=(200, 190, 120))
    draw.text((62, 93), "A7-31", fill=(220, 220, 220))
    grain = Image.fromarray(np.random.default_rng(0).integers(0, 255, (SIDE, SIDE), np.uint8))
    grain = np.asarray(grain.filter(ImageFilter.GaussianBlur(2)), np.float32)
    return (
        np.asarray(image.filter(ImageFilter.GaussianBlur(1)), np.float32)
        + (grain - grain.mean())[..., None] * 0.6
    )


def parts(folder: Path, n: int) -> list[Path]:
    """Writes n parts: each has its place, its light and its noise, and every other one a small defect."""
    rng, whole = np.random.default_rng(1), template()
    across, down = np.meshgrid(*[np.linspace(-0.5, 0.5, SIDE)] * 2)
    folder.mkdir(parents=True)
    paths = []
    for number in range(n):
        image = Image.fromarray(whole.clip(0, 255).astype(np.uint8))
        if number % 2:
            angle, far, size = rng.uniform(0, 2 * np.pi), rng.uniform(12, 62), rng.uniform(2, 5)
            x, y = SIDE / 2 + far * np.cos(angle), SIDE / 2 + far * np.sin(angle)
            draw = ImageDraw.Draw(image)
            if number % 4 == 1:
                draw.ellipse((x - size, y - size, x + size, y + size), fill=(70, 60, 55))
            else:
                draw.line(
                    (x, y, x + rng.uniform(-12, 12), y + rng.uniform(-12, 12)), fill=(225, 225, 225), width=2
                )
        shift = rng.normal(0, 1, 2)
        image = image.transform(
            image.size, Image.Transform.AFFINE, (1, 0, shift[0], 0, 1, shift[1]), Image.Resampling.BICUBIC
        )
        light = rng.normal(0, 4) * across + rng.normal(0, 4) * down
        pixels = (
            np.asarray(image, np.float32) * rng.normal(1, 0.03)
            + light[..., None]
            + rng.normal(0, 3, (SIDE, SIDE, 3))
        )
        paths.append(folder / f"{number}.jpg")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(paths[-1], quality=92)
    return paths


def found_in(paths: list[Path]) -> list[Pair]:
    return find_pairs([str(row) for row in range(len(paths))], read_grey(paths, Reading(), 2))


def planted(paths: list[Path], folder: Path, each: int) -> dict[tuple[int, int], tuple[str, Path]]:
    """Writes copies of the first images, ``each`` of a kind, behind the others."""
    folder.mkdir()
    made = {}
    for place, (kind, copy) in enumerate((kind, copy) for kind, copy in COPIES.items() for _ in range(each)):
        image, quality = copy(Image.open(paths[place]).convert("RGB"))
        image.save(folder / f"{place}.jpg", quality=quality)
        made[place, len(paths) + place] = kind, folder / f"{place}.jpg"
    return made


def test_parts_of_one_template_are_no_copies_and_copies_of_them_are(tmp_path: Path):
    paths = parts(tmp_path / "parts", 300)
    assert found_in(paths) == []
    made = planted(paths, tmp_path / "copies", 8)
    pairs = {(pair.first, pair.second) for pair in found_in([*paths, *(path for _, path in made.values())])}
    assert pairs <= set(made)
    for kind in COPIES:
        there = [pair for pair, (each, _) in made.items() if each == kind]
        assert len(pairs & set(there)) >= 6, kind


def test_copies_of_photographs_are_found_however_they_lie(tmp_path: Path):
    paths = sorted(ensure_demo(Path(os.environ["SEEDSWEEP_CACHE"]), 140, 0).rglob("*.jpg"))
    made = planted(paths, tmp_path / "copies", 5)
    pairs = found_in([*paths, *(path for _, path in made.values())])
    assert {(pair.first, pair.second) for pair in pairs} == set(made)
    assert not any(pair.exact for pair in pairs)
    turns = {made[pair.first, pair.second][0]: pair.how for pair in pairs}
    assert turns["turned"] == "near copies, turned by 90 degrees"
    assert turns["mirrored"] == "near copies, mirrored left to right"


@pytest.mark.parametrize("n", [4, 20])
def test_blank_images_and_few_images_are_no_near_copies(n: int):
    blank = np.full((n, 64, 64), 200, np.uint8)
    digests = [str(row) for row in range(n)]
    assert find_pairs(digests, blank) == []
    digests[2] = digests[0]
    assert [(pair.first, pair.second, pair.exact) for pair in find_pairs(digests, blank)] == [(0, 2, True)]
