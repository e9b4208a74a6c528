"""``task=predict``: classifies a folder of photographs with a trained net."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from seedsweep.cli.config.schema import Config
from seedsweep.errors import SeedsweepError
from seedsweep.names import path_of

log = logging.getLogger(__name__)

READS = (  # settings, and sections of them
    "task", "experiment.name", "checkpoint", "predict.", "data", "data.root", "data.image_gib", "data.workers",
    "features", "features.", "paths.", "trainer.accelerator",
)  # fmt: skip


def run(config: Config, folder: Path, *, label: str, resume: bool) -> None:
    """Classifies every image below ``data.root``, and writes the table ``predict.out``.

    Args:
        config: ``checkpoint``, ``predict``, ``data.root``, ``features`` and ``trainer.accelerator`` are read; classes,
            image size and scaling are the checkpoint's.
        folder: of this job; predictions.csv goes there unless ``predict.out`` says otherwise.

    Raises:
        SeedsweepError: no checkpoint, no image that can be read, or a table that can't be written.
        KeyboardInterrupt: the user stopped it; the images until then are in a table called ..._partial.
    """
    from seedsweep.export import given_files as given
    from seedsweep.export import tables

    checkpoint = given.find_checkpoint(config.checkpoint)
    out = path_of(config.predict.out) if config.predict.out else folder / "predictions.csv"
    tables.check_table(out)
    root, walked = given.find_images(config.data.root)
    images = walked.images

    from rich.console import Console  # torch and the engine take seconds

    from seedsweep.data.walk import log_left_out, write_left_out
    from seedsweep.export import classify
    from seedsweep.export.evaluation import unlike_in_words
    from seedsweep.export.load import load_answering
    from seedsweep.models.input_scaling import flush_denormals
    from seedsweep.training.assemble import device_of

    flush_denormals()
    trained = load_answering(checkpoint, config.predict, "predict")
    log_left_out(walked.left_out)
    how = classify.reading_of(images, trained.ranges, config.data.image_gib, config.data.workers)
    mirrored = config.predict.tta == "flip"
    predictor = classify.Predictor(trained, config.features, device_of(config), mirrored)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = out.with_name(f"{out.stem}_partial{out.suffix}")
        more = ["answered"] if trained.promise else []
        unlike: list[int] = []

        def write(paths: Sequence[str], answers: classify.Answers) -> None:
            named = answers.named(trained.classes)
            values = {"predicted": named, "answered": ["yes" if name else "no" for name in named]}
            add(paths, answers.probabilities, values if trained.promise else {})
            unlike.append(0 if answers.unlike is None else int(answers.unlike.sum()))

        with tables.open_table(part, trained.classes, more) as add:
            batch = config.features.batch_size
            found = classify.predict_folder(images, root, trained, predictor, write, batch, how)
        if found.interrupted:
            out = part  # a part must not take the place of an earlier whole table
        elif found.n:
            part.replace(out)
        else:
            part.unlink()
        bad = out.with_name(f"{out.stem}_unreadable.csv")
        classify.write_unreadable(bad, found.unreadable)
        others = out.with_name(f"{out.stem}_left_out.csv")
        others.unlink(missing_ok=True)
        write_left_out(walked.left_out, root, others)
    except OSError as error:
        raise SeedsweepError(f"predict.out={out} can't be written ({error.strerror or error}).") from error
    if not (found.n or found.interrupted):
        raise SeedsweepError(
            f"none of the {len(images):,} images of {config.data.root} can be read, so no table was written: {bad} "
            "says why of each."
        )
    console = Console(highlight=False, soft_wrap=True)
    for name, count in found.counts.most_common():
        console.print(f"{count:>8,}  {count / found.n:>6.1%}  {name or 'left to a person'}", markup=False)
    text, many = unlike_in_words(sum(unlike), max(found.n, 1))
    if many:
        console.print(f"{text}: their answers may be worse than the others", markup=False, style="red")
    if found.unreadable:
        files = "file" if len(found.unreadable) == 1 else "files"
        console.print(f"{len(found.unreadable):,} {files} can't be read: {bad}", markup=False, style="red")
    stopped = "stopped: " if found.interrupted else ""
    speed = found.n / max(found.seconds, 1e-9)
    console.print(
        f"{stopped}{found.n:,} of {len(images):,} images in {found.seconds:.1f} s "
        f"({speed:.0f} images/s, {predictor.engine.name}) -> {out}",
        markup=False,
    )
    if found.interrupted:
        raise KeyboardInterrupt
