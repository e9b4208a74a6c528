"""Whether the images that a process finds are those that the study began with."""

from __future__ import annotations

import optuna

from seedsweep.errors import RefusedError
from seedsweep.study.plan import Plan

IMAGES = "images"


def agree_on_images(study: optuna.Study, plan: Plan) -> None:
    """Compares the images that this process found with those that the study began with.

    Where processes share the study's folder, its manifest.csv has seen to that. Machines that share no more than a
    database learn it here; the first to come decides.

    Raises:
        RefusedError: they differ.
    """
    if plan.digests is None:
        return
    begun = study.user_attrs.get(IMAGES)
    if begun is None:
        study.set_user_attr(IMAGES, plan.digests)
    elif begun != plan.digests:
        raise RefusedError(
            f"the {'split' if begun[1] == plan.digests[1] else 'images'} found here are not those that the study "
            f"{plan.config.study.name} began with: restore them (its manifest.csv, where it began, names them), or "
            "give another study.name=NAME."
        )
