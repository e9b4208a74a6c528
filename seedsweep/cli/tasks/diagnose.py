"""``task=diagnose``: why does a run, a checkpoint, or a plan fail?"""

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
        SeedsweepError: no such run or checkpoint, or its images can't be had.
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
    if options.run is not None:
        check_run(path_of(options.run))
    if options.checkpoint is not None:
        check_checkpoint(path_of(options.checkpoint))

    from seedsweep.cli.config.compose import command_line_here, command_line_of
    from seedsweep.diagnosis import opening
    from seedsweep.diagnosis.checks.label_errors import FILE
    from seedsweep.diagnosis.headline import show
    from seedsweep.diagnosis.in_doubt import in_doubt
    from seedsweep.diagnosis.keras_model import of_keras
    from seedsweep.diagnosis.run_checks import diagnose
    from seedsweep.models.input_scaling import flush_denormals
    from seedsweep.models.keras_file import is_keras  # torch takes seconds
    from seedsweep.report.review import write_review
    from seedsweep.report.write_report import write_at_end

    flush_denormals()
    line = command_line_here()
    here = opening.local_settings(config, line.overrides if line else [])
    if options.run is not None:
        where = path_of(options.run)
        subject = opening.of_run(where, options.images, here, command_line_of(where))
        folder = where / "diagnosis"
    elif options.checkpoint is not None and is_keras(path_of(options.checkpoint)):
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
    diagnosis = diagnose(subject, folder)
    page = write_review(subject.prepared, in_doubt(subject), folder, earlier=subject.corrections, lists=FILE)
    show(diagnosis, folder)
    if page:
        log.info("labels in doubt, to look through in a browser -> %s", page)
    if options.run is not None and config.report.write and (report := write_at_end(where, command_line_of)):
        log.info("report     %s", report)  # that the run wrote at its end, now with the diagnosis in it


def _examine_deployed(config: Config, path: Path, folder: Path) -> None:
    """Examines an ONNX file on the images of ``data``, fed as ``preprocess`` says if that was given."""
    from seedsweep.cli.config.compose import command_line_here
    from seedsweep.data.labelled import find_labelled
    from seedsweep.diagnosis.deployed import diagnose_deployed
    from seedsweep.diagnosis.feeding import fed_as_set
    from seedsweep.diagnosis.headline import show
    from seedsweep.diagnosis.onnx_file import open_onnx

    model = open_onnx(path)
    images = find_labelled(config.data, config.cache_dir)
    line = command_line_here()
    is_said = any(key_of(word).split(".")[0] == "preprocess" for word in (line.overrides if line else []))
    size = (config.data.image_size[0], config.data.image_size[1])
    fed = fed_as_set(model, config.preprocess if is_said else None, size)
    log.info("%s: fed with images %s, %s; others are tried", path, fed.inputs, fed.frame)
    show(diagnose_deployed(model, images, fed, folder, config.diagnose.images, config.data.image_gib), folder)
