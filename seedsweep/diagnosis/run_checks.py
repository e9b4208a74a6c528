"""Runs every check on a subject and writes diagnosis.json."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from seedsweep import disk, signals
from seedsweep.diagnosis import checks
from seedsweep.diagnosis.costs import judge
from seedsweep.diagnosis.finding import Check, Diagnosis, Finding, Verdict, validation_fault
from seedsweep.diagnosis.remedy import proved
from seedsweep.diagnosis.subject import Subject
from seedsweep.errors import DiskError, SeedsweepError
from seedsweep.runs.jobs import reason_of
from seedsweep.whole import write_json

log = logging.getLogger(__name__)


class OfImages:
    """Holds the findings of one set of images, one split and one net, until others are asked for.

    The arms of a grid share them, see :attr:`Check.of_images`.
    """

    def __init__(self) -> None:
        self._of: Any = None
        self._found: dict[str, tuple[Path, list[Finding]]] = {}

    def findings_of(self, module: ModuleType, subject: Subject, folder: Path) -> list[Finding]:
        """Returns what :func:`findings_of` does; pictures of a check that was made before are copied."""
        name = module.CHECK.name
        try:
            of = _looked_at(subject) if module.CHECK.of_images else None
        except SeedsweepError:  # of the net: the check says so
            of = None
        if of is None:
            return findings_of(module, subject, folder)
        if of != self._of:
            self._of, self._found = of, {}
        if name not in self._found:
            self._found[name] = folder, findings_of(module, subject, folder)
        made_in, found = self._found[name]
        for finding in found:
            if finding.picture is not None and made_in != folder:
                shutil.copy(made_in / finding.picture, folder / finding.picture)
        return found


def _looked_at(subject: Subject) -> Any:
    """Returns all that a check sees of a subject that looks at its images, their split and the corrected net."""
    table, clean = subject.prepared.table, subject.clean_config
    rows = (table.paths, table.digests, table.labels.tolist(), table.splits.tolist(), table.groups)
    data = (clean.data.image_size, clean.data.split_seed, clean.data.group_regex, clean.data.group)
    net = (clean.backbone, clean.preprocess, clean.batchnorm)
    return rows, table.classes, subject.prepared.pixels.how, subject.limit, data, net


def diagnose(
    subject: Subject, folder: Path, only: list[str] | None = None, of_images: OfImages | None = None
) -> Diagnosis:
    """Examines ``subject``; writes diagnosis.json and pictures.

    Args:
        only: names of checks; default: all.
        of_images: holds what was found for the subject before; None: nothing.

    Raises:
        SeedsweepError: the images, net or weights can't be had, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    of_images = of_images or OfImages()
    started = time.perf_counter()
    findings: list[Finding] = []
    seconds: dict[str, float] = {}
    for module in found_checks():
        name = module.CHECK.name
        if only is not None and name not in only:
            continue
        before = time.perf_counter()
        at_fault = validation_fault(findings)
        if at_fault and module.CHECK.on_validation:
            text = f"Not judged: it is measured on validation, which is at fault (see {at_fault.title})."
            findings.append(module.CHECK.found(Verdict.UNKNOWN, text))
            continue
        for finding in of_images.findings_of(module, subject, folder):
            # with a remedy that changes the subject's settings, or with none
            remedy = [] if at_fault else proved(finding.remedy, subject.config, subject.said)
            findings.append(replace(finding, remedy=remedy))
        seconds[name] = round(time.perf_counter() - before, 2)
        log.info("examined: %s, %.1f s", name.replace("_", " "), seconds[name])
    diagnosis = judge(subject, findings, folder)
    content: dict[str, Any] = diagnosis.as_dict()
    content["seconds"] = seconds | {"all": round(time.perf_counter() - started, 2)}
    write_json(folder / "diagnosis.json", content)
    return diagnosis


def found_checks() -> list[ModuleType]:
    """Returns the modules of ``checks/`` in the order of their checks."""
    names = [
        module.name for module in pkgutil.iter_modules(checks.__path__) if not module.name.startswith("_")
    ]
    modules = [importlib.import_module(f"{checks.__name__}.{name}") for name in names]
    return sorted(modules, key=lambda module: (module.CHECK.order, module.CHECK.name))


def findings_of(module: ModuleType, subject: Subject, folder: Path) -> list[Finding]:
    """Returns what a check found; a check that can't be made is a finding, too, and leaves the others."""
    check: Check = module.CHECK
    try:
        found = module.check(subject, folder)
    except SeedsweepError as error:
        return [check.found(Verdict.UNKNOWN, f"Can't tell: {error}")]
    except Exception as error:  # a defect of ours: a long diagnosis is not thrown away for it
        signals.check()
        if full := disk.sentence(error, {"hydra.run.dir": folder}):
            raise DiskError(full) from error
        log.exception("the check %s failed; the others go on", check.name)
        reason = f"the check itself failed ({reason_of(error)}); the log says where."
        return [check.found(Verdict.UNKNOWN, f"Can't tell: {reason}")]
    return list(found) if isinstance(found, list) else [found]
