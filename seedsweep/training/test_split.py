"""The test images, met once and late: by the winner of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from seedsweep.data.pin import Pin
from seedsweep.data.prepare import pinned_images
from seedsweep.errors import SeedsweepError
from seedsweep.models.checkpoint import read_checkpoint
from seedsweep.models.input_scaling import flush_denormals
from seedsweep.runs.record import add_test_scores, read_metrics
from seedsweep.stats.scores import score
from seedsweep.training.assemble import backbone_of, build_module
from seedsweep.training.options import ArmSettings
from seedsweep.training.predict import predict
from seedsweep.training.route import images_of


def score_test(config: ArmSettings, run_dir: Path, pin: Pin) -> dict[str, Any] | None:
    """Scores the test images with a finished run's checkpoint, and adds the scores to its metrics.json.

    Once: a run that has met them keeps its scores.

    Args:
        config: the run's own.
        run_dir: its folder.
        pin: the images that it was trained and chosen with.

    Returns:
        The scores, or None if there is no test split.

    Raises:
        SeedsweepError: the run is not there, or not finished, or its images are not there any more.
    """
    path = run_dir / "metrics.json"
    checkpoint = run_dir / "checkpoints" / "best.ckpt"
    if not path.is_file() or not checkpoint.is_file():
        raise SeedsweepError(
            f"{run_dir} has no finished run: its metrics.json and checkpoints/best.ckpt are needed."
        )
    if known := read_metrics(run_dir).get("test"):
        return dict(known)
    flush_denormals()
    prepared = pinned_images(config.data, config.cache_dir, pin)
    table = prepared.table
    rows = table.indices("test")
    if len(rows) == 0:
        return None
    saved = read_checkpoint(checkpoint)
    whole = bool(saved.get("whole", True))  # a stored route's trial keeps its head alone
    backbone = backbone_of(config, prepared, calibrated=not whole)
    images = images_of(config, prepared, backbone)
    module, _ = build_module(config, prepared, backbone)
    wrong = module.load_state_dict(saved["state_dict"], strict=whole)
    if wrong.unexpected_keys or any(".head." in key for key in wrong.missing_keys):
        raise SeedsweepError(f"{checkpoint} does not fit the run's configuration.")
    module.eval()
    logits = predict(module, images.source, torch.from_numpy(rows), max(config.data.batch_size, 64))
    scores = score(logits, torch.from_numpy(table.labels[rows]), table.classes).as_dict()
    add_test_scores(run_dir, scores)
    return scores
