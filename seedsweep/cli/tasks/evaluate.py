"""``task=evaluate``: how good is a trained net on a folder of labelled photographs?"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from seedsweep.cli.config.schema import Config
from seedsweep.digest import digest_of
from seedsweep.errors import SeedsweepError
from seedsweep.names import path_of

log = logging.getLogger(__name__)

READS = (  # settings, and sections of them
    "task", "experiment.name", "checkpoint", "predict.", "data", "data.name", "data.root", "data.file", "data.group",
    "data.group_regex", "data.annotations", "data.image_gib", "data.workers", "features", "features.", "paths.",
    "trainer.accelerator",
)  # fmt: skip


def run(config: Config, folder: Path, *, label: str, resume: bool) -> None:
    """Classifies the labelled images of ``data.root`` or ``data.file``, and scores the answers.

    Args:
        config: ``checkpoint``, ``predict``, ``data``, ``features`` and ``trainer.accelerator`` are read.
        folder: of this job: evaluation.json, evaluation.csv (unless ``predict.out`` says otherwise) and report.html.

    Raises:
        SeedsweepError: no checkpoint, images of classes that the net does not know, or none that can be read.
        KeyboardInterrupt: the user stopped it; nothing was scored.
    """
    from seedsweep.data.labelled import find_labelled
    from seedsweep.export import tables
    from seedsweep.export.given_files import find_checkpoint

    checkpoint = find_checkpoint(config.checkpoint)
    out = path_of(config.predict.out) if config.predict.out else folder / "evaluation.csv"
    tables.check_table(out)
    images = find_labelled(config.data)

    from seedsweep.data.walk import log_left_out  # torch and the engine take seconds
    from seedsweep.diagnosis.finding import capital
    from seedsweep.export import classify
    from seedsweep.export.evaluation import Evaluation, known_before
    from seedsweep.export.load import load_answering
    from seedsweep.models.input_scaling import flush_denormals
    from seedsweep.report.pages import write_evaluation_page
    from seedsweep.training.assemble import device_of
    from seedsweep.whole import write_json

    flush_denormals()
    trained = load_answering(checkpoint, config.predict, "predict")
    images.refuse_unknown(trained.classes, "the net")
    log_left_out(images.left_out)
    how = classify.reading_of(images.paths, trained.ranges, config.data.image_gib, config.data.workers)
    mirrored = config.predict.tta == "flip"
    predictor = classify.Predictor(trained, config.features, device_of(config), mirrored)
    answered: list[tuple[list[str], classify.Answers]] = []
    digests: list[str] = []

    def add(paths: Sequence[str], answers: classify.Answers) -> None:
        answered.append((list(paths), answers))
        for path in paths:  # read a moment ago: the disk is not asked again
            with suppress(OSError):
                digests.append(digest_of(images.root / path))

    batch = config.features.batch_size
    found = classify.predict_folder(images.paths, images.root, trained, predictor, add, batch, how)
    if found.interrupted:
        raise KeyboardInterrupt
    bad = out.with_name(f"{out.stem}_unreadable.csv")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        classify.write_unreadable(bad, found.unreadable)
        if not found.n:
            raise SeedsweepError(
                f"none of the {len(images.paths):,} images of {images.root} can be read: {bad} says why of each."
            )
        made = Evaluation.of(images, trained, answered)
        made.write(out)
    except OSError as error:
        raise SeedsweepError(f"predict.out={out} can't be written ({error.strerror or error}).") from error
    write_json(folder / "evaluation.json", made.as_dict())
    unread = (
        f"{len(found.unreadable)} files can't be read and are not scored: {bad}" if found.unreadable else ""
    )
    said = [  # and whether it is worth a warning
        (made.confused(), False), made.kept(config.predict.max_error or 0.0), (unread, True),
        (known_before(digests, checkpoint.absolute().parents[1]), True), made.strange(),
    ]  # fmt: skip
    said = [(made.scores(), False), *sorted((each for each in said if each[0]), key=lambda each: not each[1])]
    for sentence, is_loud in said:
        log.log(logging.WARNING if is_loud else logging.INFO, "%s", sentence)
    told = [f"{capital(sentence)}." for sentence, _ in said]
    page = write_evaluation_page(folder, str(images.root), made.answers, told)
    log.info("by class   %s\nby image   %s", page, out)
