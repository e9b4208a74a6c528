"""Typed schema of every configuration value, and the bounds each must keep.

Hydra merges the YAML files of ``conf/`` into these dataclasses, so a wrong type or an unknown key
stops before anything runs; ``OmegaConf.to_object`` builds them, and ``__post_init__`` then checks
what a type cannot say. Units and shapes stand beside each field.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from seedsweep.config.checks import at_least, between, file_name, one_of, positive
from seedsweep.config.report_schema import ReportConfig
from seedsweep.config.study_schema import PrunerConfig, SamplerConfig, StorageConfig, StudyConfig
from seedsweep.config.task_schema import (
    MOST_IMAGES,
    CacheConfig,
    DashboardConfig,
    DiagnoseConfig,
    ExportConfig,
    PredictConfig,
)
from seedsweep.errors import SeedsweepError

TASKS = Path(__file__).resolve().parents[1] / "cli" / "tasks"  # a file each; not imported here

LARGEST_BATCH, MOST_EPOCHS = 65_536, 100_000  # a typing error asks for more


@dataclass
class PathsConfig:
    """Where things are written. Relative paths start at the working directory."""

    outputs: str = "outputs"  # folder of single runs and of studies
    multirun: str = "multirun"  # folder of grids
    cache: str = "~/.cache/seedsweep"  # folder of stored features and of the demo's photographs


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

    name: str = MISSING  # where the images come from: a folder of yours, or the generated demo
    root: str | None = None  # folder of class folders, or of split folders with class folders
    image_size: list[int] = field(default_factory=lambda: [224, 224])  # [height, width] in pixels
    batch_size: int = 32  # images of a training step
    val_fraction: float = 0.2  # share of the images held out for choosing (only where we split)
    test_fraction: float = 0.2  # share held out for the final number (only where we split)
    split_seed: int = 0  # fixed apart from `seed`, so that all arms and seeds see one split
    group_regex: str | None = None  # files whose names have the same first group share a side of the split
    manifest: str | None = None  # manifest.csv of an earlier run: use exactly that split
    on_bad_image: str = "error"  # a file that can't be read stops the run, or is left out
    annotations: str = "ask"  # images that look like masks: ask | skip | keep
    cache_gib: float = 4.0  # resized images are kept in memory up to this size
    image_gib: float = 1.5  # memory that one image may take while it is read; larger ones are refused
    workers: int = -1  # decoding processes; -1: one per core
    demo: DemoConfig = field(default_factory=DemoConfig)

    def __post_init__(self) -> None:
        one_of("data.name", self.name, ("folder", "demo"))
        if len(self.image_size) != 2:
            raise SeedsweepError(
                f"data.image_size is {list(self.image_size)}, but must be two numbers: [height, width]."
            )
        for side in self.image_size:
            at_least("data.image_size", side, 16, 4096)
        at_least("data.batch_size", self.batch_size, 1, LARGEST_BATCH)
        between("data.val_fraction", self.val_fraction, 0.01, 0.9)
        between("data.test_fraction", self.test_fraction, 0.0, 0.9)
        between("data.val_fraction + data.test_fraction", self.val_fraction + self.test_fraction, 0, 0.95)
        one_of("data.on_bad_image", self.on_bad_image, ("error", "skip"))
        one_of("data.annotations", self.annotations, ("ask", "skip", "keep"))
        at_least("data.cache_gib", self.cache_gib, 0)
        between("data.image_gib", self.image_gib, 0.01, 1024)
        between("data.split_seed", self.split_seed, 0, 2**32 - 1)
        at_least("data.workers", self.workers, -1, 1024)


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


@dataclass
class PreprocessConfig:
    """How pixels (0..255) become what the net reads."""

    name: str = MISSING  # of the choice
    normalise: bool = True  # the scaling that the backbone was trained with
    rescale: bool = False  # times 1/255: after normalise a second scaling (the fault), alone 0 to 1


@dataclass
class BackboneConfig:
    """The feature extractor and its weights."""

    name: str = MISSING  # inception_v3 | vgg16 | efficientnet_lite0 | auto | any timm model
    library: str = "own"  # own: a file in seedsweep/models/nets; timm: timm.create_model(name)
    weights: str = "auto"  # auto | none | a file (.safetensors, .pt, .pth; .h5, .keras of Keras)
    freeze: bool = True  # true: only the head is trained (and BatchNorm, if its policy says so)
    # With freeze false, train only the blocks from this module on, in the order of execution: Mixed_7a; or after this
    # share of the blocks: 0.7. BatchNorm before it keeps its stored statistics under inference, recalibrate and
    # train, so that the activations there are stored like features; batch_stats and update_stats mean the whole net.
    train_from: str | None = None

    def __post_init__(self) -> None:
        one_of("backbone.library", self.library, ("own", "timm"))
        if self.freeze and self.train_from is not None:
            raise SeedsweepError(
                f"backbone.train_from={self.train_from} trains the blocks from there on, but backbone.freeze=true "
                "trains none: add backbone.freeze=false, or leave backbone.train_from out."
            )


@dataclass
class BatchNormConfig:
    """A BatchNorm policy, as four switches (see ``seedsweep/batchnorm/policy.py``)."""

    name: str = MISSING  # of the choice
    training_statistics: str = "stored"  # batch | stored: what normalises while training
    update_statistics: bool = False  # do the running statistics move while training?
    train_affine: bool = False  # are scale and shift trained?
    recalibrate: bool = False  # re-estimate the statistics once, on the training images

    def __post_init__(self) -> None:
        one_of("batchnorm.training_statistics", self.training_statistics, ("batch", "stored"))
        if self.training_statistics == "stored" and self.update_statistics:
            raise SeedsweepError(
                "batchnorm.training_statistics=stored normalises with statistics that stay as they are, but "
                "batchnorm.update_statistics=true moves them: take batchnorm.update_statistics=false, or "
                "batchnorm.training_statistics=batch."
            )


@dataclass
class HeadConfig:
    """Dense(width), ReLU, Dropout, Linear, after global average pooling."""

    width: int = 1024  # units of the Dense layer; 0: no such layer
    dropout: float = 0.0  # share of the units that are dropped before the last layer, in training
    class_weights: str = "none"  # balanced: each class weighs the same in the loss
    label_smoothing: float = 0.0  # share of the target that is spread over all classes, in training

    def __post_init__(self) -> None:
        between("head.label_smoothing", self.label_smoothing, 0, 0.9)
        at_least("head.width", self.width, 0, 65_536)
        between("head.dropout", self.dropout, 0, 0.99)
        one_of("head.class_weights", self.class_weights, ("none", "balanced"))


@dataclass
class OptimConfig:
    """The optimiser."""

    name: str = MISSING  # of the optimiser
    lr: float = 1e-3  # learning rate
    weight_decay: float = 0.0  # of all trained weights
    momentum: float = 0.9  # sgd only

    def __post_init__(self) -> None:
        one_of("optim.name", self.name, ("adam", "adamw", "sgd"))
        positive("optim.lr", self.lr)
        at_least("optim.weight_decay", self.weight_decay, 0)
        between("optim.momentum", self.momentum, 0, 1)


@dataclass
class TrainerConfig:
    """Epochs, stopping, hardware."""

    max_epochs: int = 25  # passes over the training images, at most
    patience: int = 10  # epochs without a better val acc before stopping; 0: never stop early
    accelerator: str = "auto"  # what computes; auto takes a GPU where there is one
    precision: str = "32-true"  # of the arithmetic, where images pass the net in each epoch
    channels_last: bool = True  # memory layout of images: faster convolutions on CPUs and tensor cores
    probe_images: int = 512  # fixed training images of the bn_gap probe; 0: all of them
    progress_bar: bool = True  # on a terminal

    def __post_init__(self) -> None:
        at_least("trainer.max_epochs", self.max_epochs, 1, MOST_EPOCHS)
        at_least("trainer.patience", self.patience, 0, MOST_EPOCHS)
        one_of("trainer.accelerator", self.accelerator, ("auto", "cpu", "gpu", "cuda", "mps"))
        one_of("trainer.precision", self.precision, ("32-true", "bf16-mixed", "16-mixed"))
        at_least("trainer.probe_images", self.probe_images, 0, MOST_IMAGES)


@dataclass
class FeaturesConfig:
    """Frozen features, extracted once and kept (see ``seedsweep/features``)."""

    mode: str = "auto"  # auto: stored where that is exact or `views` are asked for; off; required
    views: int = 0  # augmented views of each training image; 0: as many as there are epochs (exact)
    engine: str = "auto"  # auto | torch | openvino
    precision: str = "float32"  # float32 | bfloat16: of the pass over the images
    dtype: str = "float32"  # float32 | float16: of the stored arrays
    head_precision: str = "float32"  # float32 | bfloat16 | auto: that a head is trained in
    batch_size: int = 32  # images a call of the engine; changes no result
    budget_gib: float = 10.0  # of disk under paths.cache; the least recently used features go first

    def __post_init__(self) -> None:
        one_of("features.mode", self.mode, ("auto", "off", "required"))
        at_least("features.views", self.views, 0, MOST_EPOCHS)
        if self.mode == "off" and self.views:
            raise SeedsweepError(
                f"features.views={self.views} asks for views that are stored, but features=off stores nothing: take "
                "features=auto, or leave features.views out."
            )
        one_of("features.precision", self.precision, ("float32", "bfloat16"))
        one_of("features.dtype", self.dtype, ("float32", "float16"))
        one_of("features.head_precision", self.head_precision, ("float32", "bfloat16", "auto"))
        at_least("features.batch_size", self.batch_size, 1, LARGEST_BATCH)
        positive("features.budget_gib", self.budget_gib)


@dataclass
class RungConfig:
    """A rung of the ladder (``conf/rung``), or an arm that stands beside it."""

    kind: str = ""  # rung: a step of the ladder; put_back: a fault put back; cell: of the two-by-two table
    after: str = ""  # experiment.name of the arm that it differs from in one thing
    label: str = ""  # that thing, for a picture
    change: str = ""  # that thing, in a few words

    def __post_init__(self) -> None:
        one_of("rung.kind", self.kind, ("", "rung", "put_back", "cell"))


@dataclass
class ExperimentConfig:
    """What an experiment is called and what it teaches."""

    name: str = "custom"  # of the arm, in tables and folders
    teaches: str = ""  # what the arm is there for, in a line

    def __post_init__(self) -> None:
        file_name("experiment.name", self.name)


@dataclass
class Config:
    """The whole configuration of one run."""

    task: str = "train"  # what to do
    seed: int = 1  # of the initial head, the order of batches, augmentation and dropout (not of the split)
    resume: bool = False  # set by `resume=DIR`
    checkpoint: str | None = None  # of task=predict and task=export: a run's folder, or its checkpoint
    experiment: ExperimentConfig = field(default_factory=ExperimentConfig)
    rung: RungConfig = field(default_factory=RungConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    data: DataConfig = MISSING
    augment: AugmentConfig = MISSING
    preprocess: PreprocessConfig = MISSING
    backbone: BackboneConfig = MISSING
    batchnorm: BatchNormConfig = MISSING
    head: HeadConfig = field(default_factory=HeadConfig)
    optim: OptimConfig = MISSING
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    dashboard: DashboardConfig = field(default_factory=DashboardConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    diagnose: DiagnoseConfig = field(default_factory=DiagnoseConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    study: StudyConfig = field(default_factory=StudyConfig)
    sampler: SamplerConfig = MISSING
    pruner: PrunerConfig = MISSING
    storage: StorageConfig = MISSING

    def __post_init__(self) -> None:
        one_of("task", self.task, [module.name for module in pkgutil.iter_modules([str(TASKS)])])
        between("seed", self.seed, 0, 2**32 - 1)
