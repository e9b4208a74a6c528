"""Whether a run's features can be stored, and why not."""

from __future__ import annotations

from math import prod

from torch import nn

from seedsweep.batchnorm.policy import depends_on_batch
from seedsweep.errors import SeedsweepError
from seedsweep.models.called import CUSTOM, acting, batchnorm_called
from seedsweep.training.options import ArmSettings


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
