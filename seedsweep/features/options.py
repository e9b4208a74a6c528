"""Settings of stored features."""

from __future__ import annotations

from dataclasses import dataclass, field

from seedsweep.affects import SPEED
from seedsweep.bounds import LARGEST_BATCH, MOST_EPOCHS, at_least, one_of, positive
from seedsweep.errors import SeedsweepError

ENGINE_NAMES = ("openvino", "torch")  # a file each: openvino_engine.py, torch_engine.py


@dataclass
class FeaturesConfig:
    """Frozen features, extracted once and kept (see ``seedsweep/features``)."""

    mode: str = "auto"  # auto: stored where that is exact or `views` are asked for; off; required
    views: int = 0  # augmented views of each training image; 0: as many as there are epochs (exact)
    engine: str = "auto"  # auto | torch | openvino
    precision: str = "float32"  # float32 | bfloat16: of the pass over the images
    dtype: str = "float32"  # float32 | float16: of the stored arrays
    head_precision: str = "float32"  # float32 | bfloat16 | auto: that a head is trained in
    batch_size: int = field(default=32, metadata=SPEED)  # images a call of the engine; changes no result
    # of disk under paths.cache; the least recently used features go first
    budget_gib: float = field(default=10.0, metadata=SPEED)

    def __post_init__(self) -> None:
        one_of("features.mode", self.mode, ("auto", "off", "required"))
        one_of("features.engine", self.engine, ("auto", *ENGINE_NAMES))
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
