"""``task=study`` (``+study=...``): an Optuna study, begun or gone on with."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from seedsweep.cli.config.schema import Config
from seedsweep.runs.duration import Clock
from seedsweep.runs.switches import random_and_frozen
from seedsweep.runs.time_given import TimeGiven

log = logging.getLogger(__name__)


def run(config: Config, folder: Path, *, label: str, resume: bool) -> None:
    """Works on the study that ``study.name`` names until its trials and the re-evaluation of the best are done.

    Args:
        folder: of this job; the study's own is ``<paths.outputs>/studies/<study.name>``.
    """
    if config.study.job == 0 and config.study.workers > 1:
        from seedsweep.study.processes import preload

        preload(config.study.workers)  # it imports while this process has its own imports
    from seedsweep.cli.config.studies import plan_of
    from seedsweep.cli.study_forecast import measure_study
    from seedsweep.study.main_process import left_of, run_study, to_go
    from seedsweep.study.worker import join_study

    logging.getLogger("optuna").setLevel(logging.WARNING)
    started = time.perf_counter()
    clock = Clock.of(config.budget)
    if config.study.job == 0:
        backbone = config.backbone
        if warning := random_and_frozen(backbone.weights, backbone.freeze, backbone.train_from):
            log.warning("!!! where a trial does not say otherwise, %s", warning)
        plan, forecast = plan_of(config), None
        if (n := to_go(plan)) and (config.forecast != "off" or clock.ends):
            forecast = measure_study(plan, n, clock, config.forecast)
        if config.forecast == "only":
            if not n:
                log.info("nothing of study %s is to go", config.study.name)
            return
        begun = Clock()
        run_study(plan, started)
        budget, left = (clock.seconds, left_of(plan)) if clock.ends else (None, "")
        TimeGiven(begun.took, forecast, budget, left=left).write(config.study_dir)
        if config.report.write:
            from seedsweep.report.write_report import write_at_end

            if path := write_at_end(config.study_dir):
                log.info("report     %s", path)
        if left:
            log.info("%s", left)
        if forecast is not None or clock.ends:
            given = TimeGiven(clock.took if clock.ends else begun.took, forecast, budget, left=left)
            given.write(config.study_dir)
            log.info("time       %s", given.line)
    else:
        join_study(plan_of(config))
