"""The three ways of a run's images to what is trained on them, and the choice between them.

Online, every epoch passes all images through the whole net. Where what stands below the trained part gives the same
for an image each time, that is computed once and stored: the features of the whole backbone, or activations at a cut.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from math import prod
from typing import Any

from torch import nn

from seedsweep.batchnorm.policy import depends_on_batch
from seedsweep.data.datamodule import ImageDataModule
from seedsweep.data.epoch import build_augment
from seedsweep.data.options import AugmentConfig
from seedsweep.data.prepare import PreparedImages
from seedsweep.errors import SeedsweepError
from seedsweep.features.engines import Engine, build_engine, engine_name
from seedsweep.features.feature_store import Space
from seedsweep.features.image_features import ActivationDataModule, FeatureImages
from seedsweep.models.build import ArmBackbone
from seedsweep.models.called import CUSTOM, acting, batchnorm_called, preprocess_called
from seedsweep.models.classifier import FeatureNet, UpperClassifier
from seedsweep.runs.record import FeaturesUsed
from seedsweep.training.assemble import device_of
from seedsweep.training.module import ArmModule, Source
from seedsweep.training.online import fit_online
from seedsweep.training.options import ArmSettings
from seedsweep.training.recorder import Fitting, Outcome
from seedsweep.training.stored import fit_head_first, fit_stored

log = logging.getLogger(__name__)


Fit = Callable[[ArmModule, Fitting], Outcome]


@dataclass(frozen=True)
class Images:
    """A run's images on one of the ways."""

    source: Source  # gives logits of un-augmented images
    used: FeaturesUsed  # for ``metrics.json``: whether they are stored as features, or why not
    # trains a net on the training images, writes checkpoints, and leaves the best weights in the net
    fit: Fit

    @property
    def prepared(self) -> PreparedImages:
        """Table and pixels."""
        return self.source.prepared


def images_of(config: ArmSettings, prepared: PreparedImages, backbone: ArmBackbone) -> Images:
    """Chooses the way of a run's images; features that are to be stored are computed here.

    Raises:
        SeedsweepError: ``features=required``, and they can't be stored.
    """
    table, data = prepared.table, config.data

    def head_first(fit: Fit) -> Fit:
        if not config.trainer.head_epochs:
            return fit
        plain = replace(config, augment=AugmentConfig("none"))
        return partial(
            fit_head_first, partial(open_features, plain, prepared, replace(backbone, cut=None)), fit
        )

    n_train, shape = len(table.indices("train")), backbone.stored_shape(*data.image_size)
    reason = why_online(config, backbone.lower, n_train, len(table.paths), shape)
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
            activations = ActivationDataModule(
                features, backbone.cut, data.batch_size, config.seed, config.trainer.channels_last
            )
            return Images(activations, used, head_first(partial(fit_upper, activations)))
    augment = build_augment(config.augment, config.seed, table.digests)
    pixels = ImageDataModule(
        prepared, data.batch_size, config.seed, data.workers, augment, config.augment.mix
    )
    return Images(pixels, FeaturesUsed(False, reason), head_first(partial(fit_online, pixels)))


def why_online(
    config: ArmSettings, lower: nn.Module, n_train: int, n_images: int, shape: tuple[int, ...]
) -> str | None:
    """Returns why every epoch must pass the images through the whole net, or None if features can be stored.

    Args:
        lower: what makes the features, under its BatchNorm policy: the backbone, or what stands before the cut.
        n_images: of all splits.
        shape: of the features of an image: [C], or the activations at the cut.
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
        return f"{named} normalises with each batch's statistics, so an image's features are never the same twice"
    if any(parameter.requires_grad for parameter in lower.parameters()):
        return "the backbone is trained, so its features change with every step"
    if config.augment.mix != "none":
        return f"augment.mix={config.augment.mix} mixes the images of each batch anew"
    if (precision := config.trainer.precision) != "32-true":
        return f"trainer.precision={precision} (features.precision sets that of stored features)"
    views = config.features.views or config.trainer.max_epochs
    rows = n_images + (0 if not acting(config.augment) else views * n_train)
    need = rows * prod(shape) * (2 if config.features.dtype == "float16" else 4) / 2**30
    if need > config.features.budget_gib:
        what = "features" if len(shape) == 1 else f"activations of {'x'.join(map(str, shape))}"
        fewer = " (features.views=8 needs fewer)" if rows > n_images and views > 8 else ""
        return (
            f"{what} of {rows:,} images and views would take {need:.2g} GiB, more than "
            f"features.budget_gib={config.features.budget_gib:g}{fewer}"
        )
    return None


def open_features(config: ArmSettings, prepared: PreparedImages, backbone: ArmBackbone) -> FeatureImages:
    """Finds or extracts the features of a run: pooled ones, or the activations at the backbone's cut.

    Raises:
        OSError: the store can't be written.
        SeedsweepError: the engine asked for can't be had.
    """
    space = feature_space(config, prepared, backbone)
    augment = build_augment(config.augment, config.seed, prepared.table.digests)
    views, engine = config.features.views or config.trainer.max_epochs, cache(engine_of(config, backbone))
    images = FeatureImages(prepared, space, engine, config.features, augment, views, config.data.cache_gib)
    if not images.extracted:
        log.info("features: all %d images are in %s", len(prepared.table.paths), space.folder)
    return images


def engine_of(config: ArmSettings, backbone: ArmBackbone) -> Callable[[], Engine]:
    """Returns what makes the engine of a run's features: to convert a net takes seconds."""
    cut, (height, width) = backbone.cut, config.data.image_size
    if cut is not None:  # its modes stay: they are the training's
        net: nn.Module = nn.Sequential(backbone.preprocess, cut.prefix)
    else:
        net = FeatureNet(backbone.preprocess, backbone.net).eval()
    return partial(build_engine, net, (3, height, width), config.features, device_of(config))


def feature_space(config: ArmSettings, prepared: PreparedImages, backbone: ArmBackbone) -> Space:
    """Returns the store's part for the features of a run."""
    device, options, cut = device_of(config), config.features, backbone.cut
    identity: dict[str, Any] = {
        "backbone": backbone.name,
        "preprocess": preprocess_called(config.preprocess),
        "image_size": list(config.data.image_size),
        "engine": engine_name(options, device),
        "precision": options.precision,
        "dtype": options.dtype,
    }
    if cut is not None:
        identity["cut"] = cut.name
    about = identity | {
        "weights": backbone.weights.note or backbone.weights.source,
        "batchnorm": "recalibrated" if config.batchnorm.recalibrate else "stored",
    }
    identity |= {"net": backbone.digest, "preprocess": asdict(config.preprocess)}
    if ranges := prepared.pixels.how.ranges.as_dict():  # other pixels of the same files
        identity["values"] = ranges
    return Space(config.cache_dir / "features", identity, about)


def fit_upper(images: ActivationDataModule, module: ArmModule, how: Fitting) -> Outcome:
    """Trains head and upper blocks on the activations at the cut, as online but for the passes below it.

    Leaves the best weights in ``module``; the checkpoints are those of the online arm, whole nets.
    """
    whole = module.classifier
    module.classifier = UpperClassifier(whole, images.cut)
    try:
        return fit_online(images, module, how)
    finally:
        module.classifier = whole
