"""Procedural photographs of seeds in 7 defect classes: the embedded default data set.

Pose, size, light, skin and background are drawn alike for all classes, so that a class is told by its defect
and not by a shortcut. An image depends on (seed, class, number) alone.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seedsweep.data.demo.defects import DEFECTS
from seedsweep.data.demo.scene import coordinates, photograph
from seedsweep.data.threads import image_bar

GENERATOR_VERSION = 1  # raise it when the pictures change: cached ones are then drawn anew
CLASSES = tuple(DEFECTS)


def render_seed(class_name: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draws one photograph.

    Args:
        class_name: one of :data:`CLASSES`.
        rng: decides everything else.

    Returns:
        RGB, uint8 [H, W, 3], 96 to 175 px a side.
    """
    defect, _, slim = DEFECTS[class_name]
    seed = coordinates(rng, slim)
    defect(rng, seed)
    return photograph(rng, seed)


def demo_counts(n_images: int) -> dict[str, int]:
    """Returns the number of images a class; unequal, and ``n_images`` in all."""
    counts = {name: round(n_images * share) for name, (_, share, _) in DEFECTS.items()}
    counts[CLASSES[0]] += n_images - sum(counts.values())
    return counts


def ensure_demo(cache_dir: Path, n_images: int, seed: int) -> Path:
    """Returns the folder of the demo photographs, drawing them first if they are not there.

    They are drawn into a folder of another name and renamed when whole: neither a killed process nor two at
    once leave a half set.

    Args:
        cache_dir: the folder is ``cache_dir/demo/...``.
        n_images: in all.
        seed: of the generator.
    """
    folder = cache_dir / "demo" / f"v{GENERATOR_VERSION}_n{n_images}_s{seed}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        with image_bar("drawing seeds") as progress:
            task = progress.add_task("", total=n_images)
            for label, (name, count) in enumerate(demo_counts(n_images).items()):
                (part / name).mkdir()
                for number in range(count):
                    rng = np.random.default_rng(np.random.SeedSequence([seed, label, number]))
                    image = Image.fromarray(render_seed(name, rng))
                    image.save(part / name / f"{name}_{number:05d}.jpg", quality=92)
                    progress.advance(task)
        try:
            os.rename(part, folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was first, with the same pictures
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder
