"""``+sweep=answer``: from a folder of images to the set-up that works on them, trained, in a given time.

Each part is a command line of its own, which is printed: the audit, a grid of arms, a study of the best one, a last
grid of one run. What is there already is not done again, so ``resume=`` goes on where it stopped.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from seedsweep.cli.config.compose import CommandLine, command_line_here
from seedsweep.cli.config.schema import Config
from seedsweep.errors import SeedsweepError
from seedsweep.overrides import key_of, merged, setting, shortened
from seedsweep.runs.command import command, shown
from seedsweep.runs.duration import Clock, spoken
from seedsweep.runs.grid import ArmRow, arms, collect, median_run
from seedsweep.runs.jobs import JOB
from seedsweep.runs.run_result import RunResult
from seedsweep.whole import read_json, replacing

OF_ARMS, OF_STUDY = 0.6, 0.75  # shares of what is left of a budget: the arms' first, then the study's
SETUP = 2.0  # seconds of a trial beside its epochs
FEWEST = 2  # trials beside the arm as it stands, for which a study is begun
STUDY, PAGE = "answer", "answer.md"
OF_THIS = (
    "task", "sweep", "answer", "backbones", "budget", "forecast", "resume", "study", "experiment", "seed", "hydra",
)  # fmt: skip
ALSO_LAST = ("paths", "report", "audit")  # settings that the winner's file does not hold


@dataclass(frozen=True)
class Parts:
    """The parts of an answer."""

    line: CommandLine  # of the command line, what the parts share
    folder: Path  # of the answer
    clock: Clock  # of the whole
    forecast: str  # of the command line

    def run(
        self, title: str, words: list[str], share: float = 0.0, config_dirs: list[str] | None = None
    ) -> None:
        """Runs a part as a command line, with ``share`` of the time that is left where there is a limit."""
        from seedsweep.cli.main import run_line

        options = [part for each in config_dirs or self.line.config_dirs for part in ("--config-dir", each)]
        if share and self.clock.ends:
            words = [*words, f"budget={max(10, int(share * self.clock.left))}s"]
        if share and self.forecast != "auto":
            words = [*words, f"forecast={self.forecast}"]
        print(f"\n== {title}\n   {command(*options, *words)}", flush=True)
        run_line([*options, *words])

    def shared(self, only: tuple[str, ...] = (), also: tuple[str, ...] = ()) -> list[str]:
        """Returns the settings of the command line that hold for all parts, ``only`` or ``also`` of some sections."""
        sections = {line: key_of(line).split(".")[0] for line in self.line.overrides}
        return [
            line
            for line, section in sections.items()
            if (
                section in only
                if only
                else section not in OF_THIS or (section in also and "." in key_of(line))
            )
        ]


def run(config: Config, folder: Path, *, label: str, resume: bool) -> None:
    """Answers which set-up works on the images of the command line.

    Args:
        config: ``answer``, ``budget`` and ``data`` are read.
        folder: of the answer; ``winner/`` in it is the trained net.
    """
    clock, here, wanted = Clock.of(config.budget), command_line_here(), config.answer
    assert here is not None
    parts = Parts(here, folder.absolute(), clock, config.forecast)
    audit = setting("hydra.run.dir", str(parts.folder / "audit"))
    parts.run("the images", ["task=audit", *parts.shared(), audit])
    seeds = ",".join(map(str, range(config.seed, config.seed + wanted.seeds)))
    grid = setting("hydra.sweep.dir", str(parts.folder / "arms"))
    names = ",".join(wanted.arms)
    words = ["-m", f"+experiment={names}", f"seed={seeds}", *parts.shared(), grid]
    parts.run("the arms", words, OF_ARMS)
    rows = [row for row in arms(collect(parts.folder / "arms")) if row.mean is not None]
    if not rows:
        raise SeedsweepError(
            f"no arm came to a result (see {shown(folder)}/arms): give more time, or smaller images."
        )
    runs = [run for run in collect(parts.folder / "arms") if run.is_finished and run.label == rows[0].label]
    winner = median_run(runs)
    name, said = _studied(parts, config, rows[0], winner)
    last = [run for run in _in(parts.folder / "final") if run.is_finished] if name else []
    if name and not last:
        said += " There was no time to train it into winner/."
    winner = last[0] if last else winner
    _keep(winner, parts.folder / "winner")
    _tell(parts, winner, name if last else rows[0].full_name, said)


def _in(folder: Path) -> list[RunResult]:
    return collect(folder) if folder.is_dir() else []


def _studied(parts: Parts, config: Config, best: ArmRow, run: RunResult) -> tuple[str, str]:
    """Tunes the best arm and trains what won, where there is time.

    Returns:
        The tuned arm with its settings, empty where there is none; and a sentence about the study.
    """
    each = SETUP + run.history[-1]["seconds"] * (run.switches.trainer.max_epochs if run.switches else 1)
    if not config.answer.trials:
        return "", "No study was asked for (answer.trials=0)."
    if parts.clock.ends and (1 + FEWEST + 2) * each > OF_STUDY * parts.clock.left:
        return "", (
            f"Its settings were not searched: a trial takes about {spoken(each)}, and "
            f"{spoken(max(0.0, parts.clock.left))} of the budget were left."
        )
    switches, first = run.switches, list[str]()
    if switches is not None and 1e-5 <= switches.optim.lr <= 1e-2 and switches.head.dropout <= 0.7:
        first = [f"study.first=[[optim.lr={switches.optim.lr!r},head.dropout={switches.head.dropout!r}]]"]
    numbers = f"study.n_trials={config.answer.trials}", f"study.finalist_seeds={config.answer.seeds}"
    words = merged(
        [f"+study={STUDY}", f"+experiment={run.experiment}", *first, *numbers],
        parts.shared(also=("study",)),
        [f"study.name={STUDY}", setting("paths.outputs", str(parts.folder))],
    )
    try:
        parts.run(f"a study of {best.label}", words, OF_STUDY)
    except SeedsweepError as error:  # the arms have an answer already
        return "", f"The study came to no result: {error}"
    study = parts.folder / "studies" / STUDY
    found = read_json(study / "result.json")
    settings, mean = found["winner"]["settings"], found["winner"]["mean"]
    if found["winner"]["reference"]:
        return "", "The study found no better settings than the arm's own."
    words = ["-m", f"+experiment=best_of_{STUDY}", f"seed={config.seed}", *parts.shared(only=ALSO_LAST)]
    words.append(setting("hydra.sweep.dir", str(parts.folder / "final")))
    parts.run("the winner", words, 0.9, [str(study / "conf")])
    kept = next((each["mean"] for each in found["finalists"] if each["reference"]), None)
    gained = f" (the arm's own: {kept:.3f})" if kept is not None else ""
    tuned = ", ".join(map(shortened, settings))
    return f"`{best.label}` with {tuned}", (
        f"The study's best settings, {tuned}, have a validation accuracy of {mean:.3f}{gained}, mean of fresh seeds."
    )


def _keep(run: RunResult, folder: Path) -> None:
    """Copies a run's folder, which then is a single run."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run.folder, folder)
    (folder / JOB).unlink(missing_ok=True)  # of a grid's job: it names files beside its folder


def _tell(parts: Parts, winner: RunResult, name: str, studied: str) -> None:
    """Prints the verdict and the next command, and writes them into answer.md."""
    from seedsweep.report.blocks import percent, span
    from seedsweep.report.contents import read_material
    from seedsweep.report.sections.in_words import sentences

    verdict = " ".join(sentences(read_material(parts.folder / "arms"))[:2])
    split, answers = winner.detailed or ("val", winner.predictions["val"])
    named = {"test": "test", "val": "validation"}[split]
    kept = (
        f"In winner/ is {name}, seed {winner.seed}: {percent(winner.accuracy(split))} % of the {named} images correct "
        f"(95 % interval {span(answers.intervals['acc'])})."
    )
    place, report = shown(parts.folder / "winner"), shown(parts.folder / "arms" / "report.html")
    following = command("task=predict", ("checkpoint", place), "data.root=DIR", "predict.out=answers.csv")
    of = f" of {spoken(parts.clock.seconds)}" if parts.clock.ends else ""
    lines = [
        verdict, f"{studied} {kept}", f"report     {report}", f"next       {following}",
        f"time       took {spoken(parts.clock.took)}{of}",
    ]  # fmt: skip
    text = "\n\n".join(line.replace("`", "") for line in lines)
    print(f"\n== the answer\n{text}", flush=True)
    with replacing(parts.folder / PAGE) as part:
        part.write_text(text + "\n", encoding="utf-8")
