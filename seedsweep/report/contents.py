"""What a report is made of: the runs of a folder, whatever kind it is, read once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from seedsweep.diagnosis.finding import Finding
from seedsweep.diagnosis.remedy import CommandLine
from seedsweep.errors import DamagedError, SeedsweepError
from seedsweep.report.why_behind import WhyBehind, why_behind
from seedsweep.runs.grid import ArmRow, arms, collect, median_run
from seedsweep.runs.jobs import AUDIT, audit_of
from seedsweep.runs.run_result import RunResult, read_run
from seedsweep.whole import read_json

log = logging.getLogger(__name__)

CommandLineOf = Callable[[Path], CommandLine | None]
RUN, SWEEP, STUDY = "run", "sweep", "study"
GRADCAM = 8  # mistakes that are shown, and explained where the settings don't say otherwise


@dataclass(frozen=True)
class Diagnosed:
    """A diagnosis that was found."""

    label: str  # of the arm; empty: it is of what the report is about
    folder: Path  # of its files
    headline: str  # what it comes to, in a sentence; may be empty
    findings: list[Finding]  # the worst first
    picture: str | None  # name of the picture of all faults; None: there is none
    advice: Sequence[str] = ()  # settings that were tried together, and gain accuracy; empty: none
    standing: str = ""  # how good the net is, a sentence; empty: not told


@dataclass(frozen=True)
class Material:
    """A folder's results."""

    kind: str  # run | sweep | study
    folder: Path  # absolute
    runs: list[RunResult]  # all that finished; of a study those of its best trials, trained again
    rows: list[ArmRow] = field(default_factory=list)  # the arms of a sweep, best first, with their standing
    # the run shown in detail: the run itself; of a sweep the median seed of the best arm (of the first data
    # set, where there are several); of a study the first run of the winner
    best: RunResult | None = None
    result: dict[str, Any] = field(default_factory=dict)  # of a study, its result.json
    gradcam: int | None = None  # photographs to explain; None: what the run's settings say
    command_line: CommandLine | None = None  # of a run; None: not known
    # of a sweep, all: those that finished, diverged and failed
    jobs: list[RunResult] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What the report is about."""
        if self.kind == RUN and self.best is not None:
            return f"{self.best.label}, {self.best.which}"
        if self.kind == STUDY:
            return f"Study {self.result.get('study', self.folder.name)}"
        counts = (len(self.rows), "arm"), (len(self.runs), "run")
        return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts)

    @cached_property
    def settings_text(self) -> str:
        """Settings of the run shown in detail, as YAML; empty where they are missing."""
        if self.best is None or self.best.config_text:
            return self.best.config_text if self.best is not None else ""
        path = Path(str(self.result.get("best_config", "")))  # of a study, whose trials have none
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    @property
    def n_gradcam(self) -> int:
        """Number of photographs to explain."""
        if self.gradcam is not None:
            return self.gradcam
        try:
            return int(yaml.safe_load(self.settings_text)["report"]["gradcam"])
        except (yaml.YAMLError, KeyError, TypeError, ValueError):
            return GRADCAM

    def of_arm(self, label: str) -> list[RunResult]:
        """Returns an arm's runs."""
        return [run for run in self.runs if run.label == label]

    def of_row(self, row: ArmRow) -> list[RunResult]:
        """Returns the runs behind a row: of the arm, judged by the row's images."""
        return [run for run in self.of_arm(row.label) if run.held_out == row.held_out]

    @cached_property
    def ladder(self) -> dict[str, Any]:
        """What the sweep's ladder.json holds; empty where it is no ladder."""
        return _read(self.folder / "ladder.json", "the ladder")

    @property
    def audit_folder(self) -> Path | None:
        """Where the audit of the images is; None: there are no results."""
        if self.kind == STUDY:
            return audit_of(self.folder)
        return None if self.best is None else audit_of(self.best.folder)

    @cached_property
    def audit(self) -> dict[str, Any]:
        """What audit.json holds; empty where the images were not audited."""
        return _read(self.audit_folder / AUDIT, "the audit") if self.audit_folder else {}

    @cached_property
    def behind(self) -> list[WhyBehind]:
        """What is told of the arms that are behind the best; nothing of a ladder, whose steps say it."""
        return [] if self.ladder else why_behind(self.rows, self.jobs)

    @cached_property
    def diagnosed(self) -> list[Diagnosed]:
        """Every diagnosis with findings: of the folder itself, then of its runs."""
        runs = [(run.label, run.folder) for run in self.jobs or self.runs if run.folder != self.folder]
        found = (read_diagnosis(folder / "diagnosis", label) for label, folder in [("", self.folder), *runs])
        return [each for each in found if each is not None]


def read_material(
    folder: Path, command_line_of: CommandLineOf | None = None, gradcam: int | None = None
) -> Material:
    """Reads a run, sweep or study.

    Args:
        command_line_of: finds the command line of a run, on which advice is proved; None: no advice is proved.
        gradcam: photographs to explain; None: what the run's settings say.

    Raises:
        SeedsweepError: there is no such folder, or nothing finished in it.
    """
    if not folder.is_dir():
        raise SeedsweepError(f"report.dir={folder} is no folder; give that of a run, a sweep or a study.")
    folder = folder.absolute()
    if (folder / "result.json").is_file() and (folder / "trials.csv").is_file():
        return _study(folder, gradcam)
    if (run := read_run(folder)) is not None:
        line = command_line_of(folder) if command_line_of else None
        return Material(RUN, folder, [run], best=run, gradcam=gradcam, command_line=line)
    if results := collect(folder):
        return of_grid(folder, results, gradcam)
    raise SeedsweepError(
        f"report.dir={folder} holds no finished run, sweep or study; give the folder that was printed at its end."
    )


def of_grid(folder: Path, results: list[RunResult], gradcam: int | None = None) -> Material:
    """Puts the jobs of a grid's folder, at least one, side by side."""
    runs, rows = [result for result in results if result.is_finished], arms(results)
    of_best = [run for run in runs if (run.label, run.held_out) == (rows[0].label, rows[0].held_out)]
    best = median_run(of_best) if of_best else None
    return Material(SWEEP, folder, runs, rows, best, gradcam=gradcam, jobs=results)


def _study(folder: Path, gradcam: int | None) -> Material:
    result = read_json(folder / "result.json")
    try:
        _ = result["winner"]["runs"], [(each["trial"], each["runs"]) for each in result["finalists"]]
    except (KeyError, TypeError) as error:
        raise DamagedError(
            f"{folder}/result.json is damaged (it lacks {error}): call the study again, which writes it anew."
        ) from error
    runs = [
        replace(run, called=f"trial {finalist['trial']}")
        for finalist in result["finalists"]
        for name in finalist["runs"]
        if (run := read_run(folder / name)) is not None
    ]
    winner = [folder / name for name in result["winner"]["runs"]]
    best = next((run for run in runs if run.folder in winner), None)
    return Material(STUDY, folder, runs, best=best, result=result, gradcam=gradcam)


def _read(path: Path, what: str) -> dict[str, Any]:
    """Returns what a JSON file holds; empty if there is none, or it is damaged, which is said."""
    try:
        return read_json(path)
    except DamagedError as error:
        log.warning("the report goes without %s: %s", what, error)
        return {}


def read_diagnosis(folder: Path, label: str = "") -> Diagnosed | None:
    """Reads a diagnosis; None if there is none with findings."""
    content = _read(folder / "diagnosis.json", "a diagnosis")
    findings = _findings(content)
    if not findings:
        return None
    headline, standing = (str(content.get(key) or "") for key in ("headline", "standing"))
    advice = list((content.get("advice") or {}).get("lines") or [])
    return Diagnosed(label, folder, headline, findings, content.get("picture"), advice, standing)


def _findings(content: dict[str, Any]) -> list[Finding]:
    """Returns the findings of a diagnosis.json, less those that can't be read."""
    found = []
    for each in content.get("findings", []):
        with suppress(KeyError, ValueError, TypeError):
            found.append(Finding.from_dict(each))
    return found
