"""``task=diagnose``: why does a run, an arm of a grid, a checkpoint, or a plan fail?"""

from __future__ import annotations

import logging
from pathlib import Path

from seedsweep.cli.config.schema import Config
from seedsweep.diagnosis.options import check_checkpoint, check_run
from seedsweep.errors import SeedsweepError
from seedsweep.names import path_of
from seedsweep.overrides import key_of

log = logging.getLogger(__name__)


def run(config: Config, folder: Path, *, label: str, resume: bool) -> None:
    """Examines ``diagnose.run``, ``diagnose.checkpoint``, ``diagnose.model``, or the settings of the command line.

    Args:
        config: a run's own saved settings replace it, but for where images, cache and accelerator are, if given.
        folder: of this job; the diagnosis of a run goes into the run's ``diagnosis/``.

    Raises:
        SeedsweepError: no such run or checkpoint, or its images can't be had; of a grid, some arm's.
    """
    options = config.diagnose
    given = [
        f"diagnose.{name}" for name in ("run", "checkpoint", "model") if getattr(options, name) is not None
    ]
    if len(given) > 1:
        raise SeedsweepError(f"{' and '.join(given)} are {len(given)} things to examine: give one of them.")
    if options.model is not None:
        _examine_deployed(config, path_of(options.model), folder)
        return
    runs = None
    if options.run is not None:
        where = path_of(options.run)
        if where.is_dir():  # torch takes seconds
            from seedsweep.cli.grid_diagnosis import diagnose_grid, runs_of_grid

            runs = runs_of_grid(where, options.arms)
        if runs is None:
            check_run(where)
    if options.checkpoint is not None:
        check_checkpoint(path_of(options.checkpoint))

    from seedsweep.cli.config.compose import command_line_here, command_line_of
    from seedsweep.data.checked import FileChecks
    from seedsweep.diagnosis import opening
    from seedsweep.diagnosis.checks.label_errors import FILE
    from seedsweep.diagnosis.finding import Diagnosis
    from seedsweep.diagnosis.headline import show
    from seedsweep.diagnosis.in_doubt import in_doubt
    from seedsweep.diagnosis.keras_model import of_keras
    from seedsweep.diagnosis.run_checks import OfImages, diagnose
    from seedsweep.diagnosis.subject import Subject
    from seedsweep.models.input_scaling import flush_denormals
    from seedsweep.models.keras_file import is_keras  # torch takes seconds
    from seedsweep.report.review import write_review
    from seedsweep.report.write_report import write_at_end

    flush_denormals()
    line = command_line_here()
    here = opening.local_settings(config, line.overrides if line else [])

    checks, of_images = FileChecks(), OfImages()  # arms of a grid share images, and what is found in them

    def examined(subject: Subject, where: Path) -> Diagnosis:
        found = diagnose(subject, where, of_images=of_images)
        page = write_review(
            subject.prepared, in_doubt(subject), where, earlier=subject.corrections, lists=FILE
        )
        if page:
            log.info("labels in doubt, to look through in a browser -> %s", page)
        return found

    def of_run(where: Path) -> Diagnosis:
        subject = opening.of_run(where, options.images, here, command_line_of(where), checks)
        return examined(subject, where / "diagnosis")

    if options.run is not None:
        refused = ""
        if runs is not None:
            refused = diagnose_grid(runs, of_run)
        else:
            show(of_run(where), where / "diagnosis")
        if config.report.write and (report := write_at_end(where, command_line_of)):
            log.info("report     %s", report)  # the one written at its end, now with the diagnosis in it
        if refused:
            raise SeedsweepError(refused)
        return
    if options.checkpoint is not None and is_keras(path_of(options.checkpoint)):
        subject = of_keras(path_of(options.checkpoint), config, options.images)
    elif options.checkpoint is not None:
        path = path_of(options.checkpoint)
        said = command_line_of(path.resolve().parents[1])
        subject = opening.of_checkpoint(path, config, options.images, here, said)
    else:
        log.info(
            "no diagnose.run or diagnose.checkpoint: the settings are examined, on the images of %s",
            config.data.root or f"data={config.data.name}",
        )
        subject = opening.of_plan(config, options.images, line)
    show(examined(subject, folder), folder)
    what = (
        (path_of(options.checkpoint).name, "checkpoint") if options.checkpoint else (label, "set of settings")
    )
    _write_page(config, folder, *what)


def _examine_deployed(config: Config, path: Path, folder: Path) -> None:
    """Examines an ONNX file on the images of ``data``, fed as ``preprocess`` says if that was given."""
    from seedsweep.cli.config.compose import command_line_here
    from seedsweep.data.labelled import find_labelled
    from seedsweep.diagnosis.deployed import diagnose_deployed
    from seedsweep.diagnosis.feeding import fed_as_set
    from seedsweep.diagnosis.headline import show
    from seedsweep.diagnosis.onnx_file import open_onnx

    model = open_onnx(path)
    images = find_labelled(config.data)
    line = command_line_here()
    is_said = any(key_of(word).split(".")[0] == "preprocess" for word in (line.overrides if line else []))
    size = (config.data.image_size[0], config.data.image_size[1])
    fed = fed_as_set(model, config.preprocess if is_said else None, size)
    log.info("%s: fed with images %s, %s; others are tried", path, fed.inputs, fed.frame)
    show(diagnose_deployed(model, images, fed, folder, config.diagnose.images, config.data.image_gib), folder)
    _write_page(config, folder, path.name, "deployed model")


def _write_page(config: Config, folder: Path, title: str, what: str) -> None:
    """Writes the report of a diagnosis that belongs to no run."""
    from seedsweep.report.pages import write_diagnosis_page

    if config.report.write:
        log.info("report     %s", write_diagnosis_page(folder, title, what))
