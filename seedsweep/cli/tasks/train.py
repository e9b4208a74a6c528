"""``task=train``, the default: one arm."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from seedsweep.cli.config.schema import Config
from seedsweep.errors import DivergedError
from seedsweep.runs.command import command
from seedsweep.session import Session

log = logging.getLogger(__name__)


def run(config: Config, folder: Path, *, label: str, resume: bool, session: Session | None = None) -> None:
    """Trains the arm of ``config`` in ``folder``, and writes its report.

    Raises:
        SeedsweepError: bad input, before any training.
        DivergedError: its loss became NaN or infinite; what was trained before is saved.
        KeyboardInterrupt: the user stopped the run; what was trained is saved.
    """
    from seedsweep.cli.config.departures import departures
    from seedsweep.data.pin import Pin
    from seedsweep.diagnosis.audit_run import audit_at_beginning
    from seedsweep.diagnosis.unseen_photographs import unseen_at_end
    from seedsweep.report.run_pictures import draw_run
    from seedsweep.runs.jobs import audit_of, pin_of
    from seedsweep.runs.record import divergence_of
    from seedsweep.runs.settings import flat
    from seedsweep.training.options import what_counts
    from seedsweep.training.run import Given, train  # torch takes seconds
    from seedsweep.training.trackers import TrackedRun, Trackers

    shared = pin_of(folder)
    given = Given(
        pin=Pin.of_grid(shared) if shared else None,
        departures=tuple(departures(config)),
        draw=draw_run,
        audit=lambda prepared: audit_at_beginning(config, prepared, audit_of(folder)),
        unseen=lambda images, logits: unseen_at_end(config, images, logits, audit_of(folder)),
        session=session or Session(),
    )
    tracked = TrackedRun(folder, f"{label} s{config.seed}", None if shared is None else folder.parent)
    with Trackers(config.logger, tracked, flat(what_counts(config))) as trackers:
        metrics = train(config, folder, label=label, resume=resume, on_epoch=trackers.epoch, given=given)
        _say(config, folder, metrics, in_grid=shared is not None)
        trackers.end(metrics)
    if diverged := divergence_of(metrics):
        kept = "no epoch was finished before, so there is no checkpoint"
        if metrics["best_epoch"] is not None:
            kept = (
                f"the weights of epoch {metrics['best_epoch'] + 1} are kept in {folder}/checkpoints/best.ckpt"
            )
        precise = " or trainer.precision=32-true" if config.trainer.precision == "16-mixed" else ""
        raise DivergedError(
            diverged.epoch,
            diverged.what,
            f"; {kept}. Try a smaller optim.lr (it was {config.optim.lr:g}){precise}.",
        )


def _say(config: Config, folder: Path, metrics: dict[str, Any], in_grid: bool) -> None:
    """Says what the run shows beside its scores, and writes its report."""
    from seedsweep.report.run_in_words import of_gap
    from seedsweep.runs.grid import GAP
    from seedsweep.runs.record import divergence_of
    from seedsweep.runs.run_result import RunResult
    from seedsweep.runs.unseen import Unseen

    if metrics.get("unseen") and not in_grid:  # of a grid it is said once, at its end
        found = Unseen(**metrics["unseen"])
        level = logging.WARNING if found.differs else logging.INFO
        log.log(level, "unseen photographs: %s", found.sentence.replace("`", ""))
    gap = (metrics.get("train_images") or {}).get("bn_gap_last", 0.0)
    if gap > GAP and not divergence_of(metrics):
        why = of_gap(RunResult(folder), gap).replace("`", "")
        what_to_do = command("task=diagnose", ("diagnose.run", folder))
        log.warning("bn_gap is %+.2f. %s To measure what it costs: %s", gap, why, what_to_do)
    if config.report.write:
        from seedsweep.cli.config.compose import command_line_of
        from seedsweep.report.write_report import write_at_end

        if path := write_at_end(folder, command_line_of):
            log.info("report: %s", path)
