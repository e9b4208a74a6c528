"""``task=export``: a trained net as ONNX or torch.export file, its preprocessing inside."""

from __future__ import annotations

import logging
from pathlib import Path

from seedsweep.cli.config.schema import Config
from seedsweep.errors import SeedsweepError
from seedsweep.names import path_of

log = logging.getLogger(__name__)

# settings, and sections of them
READS = ("task", "experiment.name", "checkpoint", "export.", "data", "data.root", "paths.")


def run(config: Config, folder: Path, *, label: str, resume: bool) -> None:
    """Writes the net of ``checkpoint`` in ``export.format``, and compares its probabilities with the checkpoint's.

    Args:
        config: ``checkpoint``, ``export`` and ``data.root`` (images to compare on; none: random ones) are read.
        folder: of this job; the files go there unless ``export.out`` says otherwise.

    Raises:
        SeedsweepError: no checkpoint, a missing package, or probabilities that differ.
    """
    from seedsweep.export.given_files import find_checkpoint, find_images

    checkpoint = find_checkpoint(config.checkpoint)
    files = find_images(config.data.root)[1].images if config.data.root else []

    import torch  # takes seconds

    from seedsweep.export import write_net
    from seedsweep.export.load import load_answering

    chosen = write_net.formats_of(config.export.format)
    trained = load_answering(checkpoint, config.export, "export")
    out = path_of(config.export.out) if config.export.out else folder / "model"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SeedsweepError(f"export.out={out} can't be written ({error.strerror or error}).") from error
    images, own = write_net.check_images(trained, files, config.export.images)
    kinds = [f"{own} of {config.data.root}"] if own else []
    kinds += [f"{len(images) - own} random ones"] if own < len(images) else []
    for module in chosen:
        path = write_net.file_of(out, module)
        difference = write_net.export(trained, module, path, getattr(torch, config.export.input), images)
        log.info(
            "predicts as the checkpoint does on %d images (%s; largest difference of a probability %.1e)  ->  %s",
            len(images), " and ".join(kinds), difference, path,
        )  # fmt: skip
