"""Images that are too small, or squashed, are found by a probe on other sizes; those that are in order are not."""

from pathlib import Path

import numpy as np
import pytest
from composed import config_of
from PIL import Image
from tiny_net import tiny_net

from seedsweep.diagnosis.checks import image_size
from seedsweep.diagnosis.finding import Finding, Verdict
from seedsweep.diagnosis.opening import of_plan

N = 60  # images of a class


def written(folder: Path, width: int, stripe: int) -> Path:
    """Writes noisy images, 128 pixels high, of two classes: one has vertical stripes, or is brighter (stripe 0)."""
    rng = np.random.default_rng(0)
    for label in (0, 1):
        (folder / "ab"[label]).mkdir(parents=True)
        for number in range(N):
            image = rng.normal(120, 8, (128, width, 3)) + rng.normal(0, 6)
            if not stripe:
                image += 40 * label
            elif label:
                image += np.where((np.arange(width) + rng.integers(stripe)) // stripe % 2, 25, -25)[:, None]
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / "ab"[label] / f"{number}.png")
    return folder


def findings(folder: Path, size: str) -> dict[str, Finding]:
    config = config_of(*tiny_net(), "data=folder", f"data.root={folder}", f"data.image_size={size}")
    return {each.title: each for each in image_size.check(of_plan(config), folder)}


@pytest.mark.parametrize(
    ("width", "stripe", "size", "title", "remedy"),
    [
        (128, 1, "[32,32]", "Image size", ["data.image_size=[96,96]"]),
        (256, 4, "[96,32]", "Shape of the images", ["data.image_size=[39,78]"]),
        (128, 0, "[32,32]", None, None),
    ],
)
def test_small_and_squashed_images(
    width: int, stripe: int, size: str, title: str | None, remedy: list[str] | None, tmp_path: Path
):
    found = findings(written(tmp_path / "images", width, stripe), size)
    assert list(found) == ["Shape of the images", "Image size"]
    wrong = {name: each for name, each in found.items() if each.verdict is not Verdict.FINE}
    assert list(wrong) == ([title] if title else [])
    for each in wrong.values():
        assert each.verdict is Verdict.FAULT
        assert each.remedy == remedy
        assert each.cost is not None
        assert each.cost.low > 0.05
