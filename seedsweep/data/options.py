"""Settings of the images, their splits and their augmentation."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from seedsweep.affects import SPEED, SPLIT
from seedsweep.bounds import LARGEST_BATCH, at_least, between, one_of
from seedsweep.errors import SeedsweepError
from seedsweep.names import path_of


@dataclass
class DemoConfig:
    """Settings of the procedural seed photographs (used by ``data=demo``)."""

    n_images: int = 1400  # photographs that are drawn, of 7 classes
    seed: int = 0  # of the drawing

    def __post_init__(self) -> None:
        at_least("data.demo.n_images", self.n_images, 70, 100_000)
        between("data.demo.seed", self.seed, 0, 2**32 - 1)


@dataclass
class DataConfig:
    """Which images, how they are split, and how they are fed to the net."""

    # where the images come from: a folder of yours, or the generated demo
    name: str = field(default=MISSING, metadata=SPLIT)
    # folder of class folders, or of split folders with class folders
    root: str | None = field(default=None, metadata=SPLIT)
    image_size: list[int] = field(default_factory=lambda: [224, 224])  # [height, width] in pixels
    batch_size: int = 32  # images of a training step
    # CSV or Parquet file that lists images: the columns path and label, and maybe split and group
    file: str | None = field(default=None, metadata=SPLIT)
    # share of the images held out for choosing (only where we split)
    val_fraction: float = field(default=0.2, metadata=SPLIT)
    # share held out for the final number (only where we split)
    test_fraction: float = field(default=0.2, metadata=SPLIT)
    # 5: five runs in the place of one, each tested on another fifth of the images; -m makes them
    folds: int | None = field(default=None, metadata=SPLIT)
    # times that the images are dealt into folds, each time anew
    fold_repeats: int = field(default=1, metadata=SPLIT)
    # which fold is the test part, from 0 on (those of the second repeat follow the first's); -m runs all
    fold: int | None = field(default=None, metadata=SPLIT)
    # fixed apart from `seed`, so that all arms and seeds see one split
    split_seed: int = field(default=0, metadata=SPLIT)
    # files whose names have the same first group share a side of the split
    group_regex: str | None = field(default=None, metadata=SPLIT)
    # CSV file with the columns path and group: images of one group share a side of the split
    group: str | None = field(default=None, metadata=SPLIT)
    # manifest.csv of an earlier run: use exactly that split
    manifest: str | None = field(default=None, metadata=SPLIT)
    # corrections.csv, as review.html saves it: other labels, and images to leave out
    corrections: str | None = field(default=None, metadata=SPLIT)
    # equal files: together (on one side of the split) | apart (as chance has it); only where we split
    equal_files: str = field(default="together", metadata=SPLIT)
    # images of which an equal file is in another class: train (left out of validation and test) | keep
    contradictions: str = field(default="train", metadata=SPLIT)
    # a file that can't be read stops the run, or is left out
    on_bad_image: str = field(default="error", metadata=SPLIT)
    annotations: str = field(default="ask", metadata=SPLIT)  # images that look like masks: ask | skip | keep
    cache_gib: float = field(default=4.0, metadata=SPEED)  # resized images are kept in memory up to this size
    # memory that one image may take while it is read; larger ones are refused
    image_gib: float = field(default=1.5, metadata=SPEED)
    workers: int = field(default=-1, metadata=SPEED)  # decoding processes; -1: one per core
    demo: DemoConfig = field(default_factory=DemoConfig, metadata=SPLIT)

    def __post_init__(self) -> None:
        one_of("data.name", self.name, ("folder", "table", "demo"))
        if self.name == "table" and self.file and self.root is None:
            self.root = str(path_of(self.file).parent)
        if len(self.image_size) != 2:
            raise SeedsweepError(
                f"data.image_size is {list(self.image_size)}, but must be two numbers: [height, width]."
            )
        for side in self.image_size:
            at_least("data.image_size", side, 16, 4096)
        at_least("data.batch_size", self.batch_size, 1, LARGEST_BATCH)
        between("data.val_fraction", self.val_fraction, 0.01, 0.9)
        between("data.test_fraction", self.test_fraction, 0.0, 0.9)
        self._check_folds()
        held_out = "1 / data.folds" if self.folds else "data.test_fraction"
        between(f"data.val_fraction + {held_out}", self.val_fraction + self.test_share, 0, 0.95)
        if self.group is not None and self.group_regex is not None:
            raise SeedsweepError(
                "data.group and data.group_regex both say which images belong together: give one of them."
            )
        one_of("data.on_bad_image", self.on_bad_image, ("error", "skip"))
        one_of("data.equal_files", self.equal_files, ("together", "apart"))
        one_of("data.contradictions", self.contradictions, ("train", "keep"))
        one_of("data.annotations", self.annotations, ("ask", "skip", "keep"))
        at_least("data.cache_gib", self.cache_gib, 0)
        between("data.image_gib", self.image_gib, 0.01, 1024)
        between("data.split_seed", self.split_seed, 0, 2**32 - 1)
        at_least("data.workers", self.workers, -1, 1024)

    @property
    def test_share(self) -> float:
        """Share of the images that is the test part."""
        return self.test_fraction if self.folds is None else 1 / self.folds

    @property
    def all_folds(self) -> int:
        """Number of folds over all repeats; 0: there are none."""
        return (self.folds or 0) * self.fold_repeats

    @property
    def dealt(self) -> dict[str, float] | None:
        """Which fold is tested, and how the images were dealt; None: there are no folds."""
        if self.folds is None or self.fold is None:
            return None
        how = {"of": self.folds, "repeats": self.fold_repeats, "split_seed": self.split_seed}
        return {"number": self.fold, **how, "val_fraction": self.val_fraction}

    def _check_folds(self) -> None:
        between("data.fold_repeats", self.fold_repeats, 1, 100)
        if self.folds is None:
            if self.fold is not None:
                raise SeedsweepError("data.fold needs data.folds=K, the number of folds.")
            return
        between("data.folds", self.folds, 2, 100)
        if self.manifest is not None:
            raise SeedsweepError("data.folds and data.manifest both say what is tested: give one of them.")
        if self.fold is None:
            raise SeedsweepError(
                f"data.folds={self.folds} is a grid: add -m to run all folds, or data.fold=0 (to "
                f"{self.all_folds - 1}) to run one."
            )
        between("data.fold", self.fold, 0, self.all_folds - 1)


@dataclass
class AugmentConfig:
    """Random affine warp of the training images, Keras' ImageDataGenerator semantics."""

    name: str = MISSING  # of the choice
    rotation: float = 0.0  # degrees, uniform in [-rotation, rotation]
    shift: list[float] = field(default_factory=lambda: [0.0, 0.0])  # [height, width] fractions
    shear: float = 0.0  # DEGREES, as Keras reads it (so 0.2 is nearly nothing)
    zoom: float = 0.0  # factor uniform in [1 - zoom, 1 + zoom], height and width apart
    horizontal_flip: bool = False  # mirror half of the images, left to right
    vertical_flip: bool = False  # mirror half of the images, top to bottom
    brightness: float = 0.0  # factor uniform in [1 - b, 1 + b]
    policy: str = "none"  # of torchvision, after the warp: a random change for each image by itself
    erasing: float = 0.0  # share of the images in which a rectangle is filled with the mean colour
    mix: str = "none"  # two images of a batch as one, with both classes: blended, or a rectangle of the other

    def __post_init__(self) -> None:
        between("augment.rotation", self.rotation, 0, 180)
        for value in self.shift:
            between("augment.shift", value, 0, 1)
        if len(self.shift) != 2:
            raise SeedsweepError(
                f"augment.shift is {list(self.shift)}, but must be two numbers: [height, width], as shares of a side."
            )
        between("augment.shear", self.shear, 0, 89)
        between("augment.zoom", self.zoom, 0, 0.95)
        between("augment.brightness", self.brightness, 0, 1)
        one_of("augment.policy", self.policy, ("none", "trivial", "randaugment"))
        between("augment.erasing", self.erasing, 0, 1)
        one_of("augment.mix", self.mix, ("none", "mixup", "cutmix"))
