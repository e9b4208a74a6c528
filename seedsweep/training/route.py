"""The three ways of a run's images to what is trained on them, and the choice between them.

Online, every epoch passes all images through the whole net. Where what stands below the trained part gives the same
for an image each time, that is computed once and stored: the features of the whole backbone, or activations at a cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod

from torch import nn

from seedsweep.batchnorm.policy import depends_on_batch
from seedsweep.data.datamodule import ImageDataModule
from seedsweep.data.epoch import build_augment
from seedsweep.data.prepare import PreparedImages
from seedsweep.errors import SeedsweepError
from seedsweep.features.image_features import ActivationDataModule
from seedsweep.models.build import ArmBackbone
from seedsweep.models.called import CUSTOM, acting, batchnorm_called
from seedsweep.runs.record import FeaturesUsed
from seedsweep.training.module import ArmModule
from seedsweep.training.online import fit_online
from seedsweep.training.options import ArmSettings
from seedsweep.training.outcome import Fitting, Outcome
from seedsweep.training.predict import Source
from seedsweep.training.stored import fit_stored, fit_upper, open_features


@dataclass(frozen=True)
class Images:
    """A run's images on one of the ways.

    Attributes:
        source: gives logits of un-augmented images.
        used: for ``metrics.json``: whether they are stored as features, or why not.
        fit: trains a net on the training images, writes checkpoints, and leaves the best weights in the net.
    """

    source: Source
    used: FeaturesUsed
    fit: Callable[[ArmModule, Fitting], Outcome]

    @property
    def prepared(self) -> PreparedImages:
        """Table and pixels."""
        return self.source.prepared


def images_of(config: ArmSettings, prepared: PreparedImages, backbone: ArmBackbone) -> Images:
    """Chooses the way of a run's images; features that are to be stored are computed here.

    Raises:
        SeedsweepError: ``features=required``, and they can't be stored.
    """
    table = prepared.table
    data, seed = config.data, config.seed
    reason = why_online(
        config,
        backbone.lower,
        n_train=len(table.indices("train")),
        n_images=len(table.paths),
        shape=backbone.stored_shape(*data.image_size),
    )
    if reason is None:
        try:
            features = open_features(config, prepared, backbone)
        except OSError as error:
            reason = f"the features can't be written below {config.paths.cache} ({error})"
            if config.features.mode == "required":
                raise SeedsweepError(f"features=required, but {reason}.") from error
        else:
            about, key = features.space.about, features.space.key
            used = FeaturesUsed(
                True, None, about["engine"], about["precision"], about["dtype"], features.views, key
            )
            if backbone.cut is None:
                return Images(features, used, partial(fit_stored, features))
            last = config.trainer.channels_last
            activations = ActivationDataModule(
                features, backbone.cut, data.batch_size, seed, channels_last=last
            )
            return Images(activations, used, partial(fit_upper, activations))
    augment = build_augment(config.augment, seed, table.digests)
    pixels = ImageDataModule(prepared, data.batch_size, seed, data.workers, augment)
    return Images(pixels, FeaturesUsed(False, reason), partial(fit_online, pixels))


def why_online(
    config: ArmSettings, lower: nn.Module, n_train: int, n_images: int, shape: tuple[int, ...]
) -> str | None:
    """Returns why every epoch must pass the images through the whole net, or None if features can be stored.

    Args:
        config: the whole configuration.
        lower: what makes the features, under its BatchNorm policy: the backbone, or what stands before the cut.
        n_train: training images.
        n_images: of all splits.
        shape: of the features of an image: [C], or the activations at the cut.

    Raises:
        SeedsweepError: ``features=required``, and it can't be.
    """
    if config.features.mode == "off":
        return "features=off"
    reason = _reason(config, lower, n_train, n_images, shape)
    if reason is not None and config.features.mode == "required":
        raise SeedsweepError(f"features=required, but {reason}: take features=auto, or change that.")
    return reason


def _reason(
    config: ArmSettings, lower: nn.Module, n_train: int, n_images: int, shape: tuple[int, ...]
) -> str | None:
    if depends_on_batch(lower):
        policy = batchnorm_called(config.batchnorm)
        named = "batchnorm.training_statistics=batch" if policy.startswith(CUSTOM) else f"batchnorm={policy}"
        return (
            f"{named} normalises with each batch's statistics, so an image's features "
            "are never the same twice"
        )
    if any(parameter.requires_grad for parameter in lower.parameters()):
        return "the backbone is trained, so its features change with every step"
    if config.trainer.precision != "32-true":
        return (
            f"trainer.precision={config.trainer.precision} (features.precision sets that of stored features)"
        )
    views = config.features.views or config.trainer.max_epochs
    rows = n_images + (0 if not acting(config.augment) else views * n_train)
    need = rows * prod(shape) * (2 if config.features.dtype == "float16" else 4) / 2**30
    if need > config.features.budget_gib:
        what = "features" if len(shape) == 1 else f"activations of {'x'.join(map(str, shape))}"
        fewer = " (features.views=8 needs fewer)" if rows > n_images and views > 8 else ""
        return (
            f"{what} of {rows:,} images and views would take {need:.1f} GiB, more than "
            f"features.budget_gib={config.features.budget_gib:g}{fewer}"
        )
    return None
