"""The one command that a report ends its verdict with: what is worth running next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from seedsweep.diagnosis.finding import Verdict
from seedsweep.diagnosis.remedy import proved, saved_whole
from seedsweep.errors import SeedsweepError
from seedsweep.overrides import key_of, merged
from seedsweep.report.contents import RUN, STUDY, SWEEP, Diagnosed, Material
from seedsweep.runs.command import by
from seedsweep.runs.record import INTERRUPTED, divergence_of
from seedsweep.runs.recorded import GRID, SINGLE, read_recorded

PYTHON = "python"
SINGLE_QUOTED = re.compile("='([^'\"]*)'$")
OF_GRIDS = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper", "hydra.sweep.")
SLOWER = 0.1  # times the learning rate of a run that diverged


def next_command(material: Material) -> str:
    """Returns what to run next; empty where nothing is known to be worth it."""
    if material.kind == STUDY:
        return same_command(material)
    run = material.best
    if run is None:
        return ""
    if run.metrics.get("status") == INTERRUPTED:
        return by(PYTHON, ("resume", material.folder))
    if material.kind == RUN and divergence_of(run.metrics):
        settings = saved_whole(run.folder)
        slower = [f"optim.lr={SLOWER * settings.optim.lr:g}"] if settings else []
        return _again(material, proved(slower, settings, material.command_line))
    if run.unseen is not None and run.unseen.setting and (run.unseen.differs or run.unseen.likely is None):
        return _again(material, [run.unseen.setting])
    own = next((found for found in material.diagnosed if not found.label or material.kind == RUN), None)
    if own is not None and (lines := remedies(own)):
        return _again(material, proved(lines, saved_whole(run.folder), material.command_line))
    if own is None and not material.diagnosed:
        return by(PYTHON, "task=diagnose", ("diagnose.run", material.folder))
    return by(PYTHON, "task=export", ("checkpoint", run.folder))


def remedies(found: Diagnosed) -> list[str]:
    """Returns the settings that a diagnosis advises: those it tried together, or else those of all its faults."""
    faults = [finding for finding in found.findings if finding.verdict is Verdict.FAULT]
    return list(found.advice) or list(dict.fromkeys(line for fault in faults for line in fault.remedy))


def same_command(material: Material) -> str:
    """Returns the command line that makes these results again (a study's winner); empty if it was not recorded."""
    if material.kind == STUDY:
        name = Path(str(material.result.get("best_config", ""))).stem
        return by(PYTHON, "--config-dir", str(material.folder / "conf"), ("experiment", name)) if name else ""
    return command_again(material.folder, grid=material.kind == SWEEP)


def command_again(folder: Path, lines: Sequence[str] = (), *, grid: bool = False) -> str:
    """Returns the command line, with ``lines`` added, that makes results of a folder again; empty if it was not
    recorded."""
    try:
        recorded = read_recorded(folder / (GRID if grid else SINGLE))
    except SeedsweepError:
        return ""
    overrides = [o for o in recorded.overrides if grid or not key_of(o).startswith(OF_GRIDS)]
    # single quotes would need others in a shell
    overrides = merged(overrides, [SINGLE_QUOTED.sub(r'="\1"', line) for line in lines])
    # a job of a sweep is a grid of one: its settings are there
    of_sweep = any(key_of(o) == "sweep" for o in overrides)
    return by(PYTHON, *(["-m"] if grid or of_sweep else []), *recorded.options, *overrides)


def _again(material: Material, lines: Sequence[str]) -> str:
    return command_again(material.folder, lines, grid=material.kind == SWEEP) if lines else ""


def plan_again(folder: Path, found: Diagnosed) -> str:
    """Returns the command that trains examined settings as a diagnosis advises; empty where it advises nothing."""
    lines = proved(remedies(found), saved_whole(folder), None)
    return command_again(folder, [*lines, "task=train"]) if lines else ""
