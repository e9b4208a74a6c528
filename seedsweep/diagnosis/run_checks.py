"""Runs every check on a subject and writes diagnosis.json."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from seedsweep import disk, signals
from seedsweep.diagnosis import checks
from seedsweep.diagnosis.finding import Finding, Verdict
from seedsweep.diagnosis.remedy import proved
from seedsweep.diagnosis.subject import Subject
from seedsweep.diagnosis.verdict import Diagnosis, judge
from seedsweep.errors import DiskError, SeedsweepError
from seedsweep.runs.job_record import reason_of
from seedsweep.whole import write_json

log = logging.getLogger(__name__)


def diagnose(subject: Subject, folder: Path, only: list[str] | None = None) -> Diagnosis:
    """Examines ``subject``; writes diagnosis.json and pictures.

    Args:
        subject: what is diagnosed.
        folder: where they are written; made if missing.
        only: names of checks; default: all.

    Raises:
        SeedsweepError: the images, net or weights can't be had, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    findings: list[Finding] = []
    seconds: dict[str, float] = {}
    for module in found_checks():
        name = module.__name__.rsplit(".", 1)[1]
        if only is not None and name not in only:
            continue
        before = time.perf_counter()
        findings += [_proved(finding, subject) for finding in _findings(module, name, subject, folder)]
        seconds[name] = round(time.perf_counter() - before, 2)
        log.info("examined: %s, %.1f s", name.replace("_", " "), seconds[name])
    diagnosis = judge(subject, findings, folder)
    content: dict[str, Any] = diagnosis.as_dict()
    content["seconds"] = seconds | {"all": round(time.perf_counter() - started, 2)}
    write_json(folder / "diagnosis.json", content)
    return diagnosis


def found_checks() -> list[ModuleType]:
    """Returns the modules of ``checks/`` by their ORDER."""
    names = [
        module.name for module in pkgutil.iter_modules(checks.__path__) if not module.name.startswith("_")
    ]
    modules = [importlib.import_module(f"{checks.__name__}.{name}") for name in names]
    return sorted(modules, key=lambda module: (module.ORDER, module.__name__))


def _findings(module: ModuleType, name: str, subject: Subject, folder: Path) -> list[Finding]:
    try:
        found = module.check(subject, folder)
    except SeedsweepError as error:  # one check that can't be made leaves the others
        return [_unknown(module, name, str(error))]
    except Exception as error:  # a defect of ours: a long diagnosis is not thrown away for it
        signals.check()
        if told := disk.sentence(error, {"hydra.run.dir": folder}):
            raise DiskError(told) from error
        log.exception("the check %s failed; the others go on", name)
        return [_unknown(module, name, f"the check itself failed ({reason_of(error)}); the log says where.")]
    return list(found) if isinstance(found, list) else [found]


def _proved(finding: Finding, subject: Subject) -> Finding:
    """Returns ``finding`` with a remedy that changes the subject's settings, or with none."""
    return replace(finding, remedy=proved(finding.remedy, subject.config, subject.said))


def _unknown(module: ModuleType, name: str, reason: str) -> Finding:
    measured = (module.__doc__ or name).splitlines()[0]
    return Finding(name, name.replace("_", " "), Verdict.UNKNOWN, measured, f"Can't tell: {reason}")
