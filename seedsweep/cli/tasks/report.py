"""``task=report``: the report of a run, a sweep or a study, written anew."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from seedsweep.cli.config.schema import Config
from seedsweep.errors import SeedsweepError
from seedsweep.names import path_of

log = logging.getLogger(__name__)


def run(config: Config, folder: Path, *, label: str, resume: bool) -> None:
    """Writes report.html and report.md into ``report.dir``."""
    from seedsweep.cli.config.compose import command_line_of
    from seedsweep.report.write_report import write_report

    if config.report.dir is None:
        raise SeedsweepError("task=report needs report.dir=DIR, the folder of a run, a sweep or a study.")
    started = time.perf_counter()
    try:
        path = write_report(path_of(config.report.dir), command_line_of, config.report.gradcam)
    except OSError as error:
        raise SeedsweepError(f"the report can't be written into {config.report.dir}: {error}.") from error
    log.info(
        "report     %s  (%.1f s, %.1f MB)", path, time.perf_counter() - started, path.stat().st_size / 1e6
    )
