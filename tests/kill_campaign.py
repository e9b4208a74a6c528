"""Tasks that are killed at a random moment and called again, and what must be equal then."""

import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import psutil

from seedsweep.study.options import StorageConfig
from seedsweep.study.storage import open_storage

NET = [
    "+experiment=frozen_bn", "backbone=efficientnet_lite0", "data.image_size=[32,32]", "data.demo.n_images=70",
    "trainer.accelerator=cpu", "features.engine=torch",
]  # fmt: skip
QUIET = ["report.write=false"]
TINY = ["+study=head", *NET, "study.name=s", "study.finalists=2", "study.finalist_seeds=2"]
STUDY = [*TINY, "study.n_trials=10", "trainer.max_epochs=8", *QUIET]
ELSEWHERE = Path("/dev/shm")  # another file system than that of pytest's folders
PATIENCE = 900.0  # seconds for a call to end
TICKS = 0.02


@dataclass(frozen=True)
class Area:
    """A task.

    Attributes:
        command: its words; ``{run}`` stands for the folder of a finished run.
        result: what a finished call must leave, equal each time.
        folder: that ``resume=`` takes; empty: the same command goes on, or begins anew.
        workers: processes that may be killed in the place of the first one.
    """

    command: list[str]
    result: Callable[[Path], Any]
    folder: str = ""
    workers: bool = False


def of_run(folder: Path) -> Any:
    metrics = json.loads((folder / "metrics.json").read_text())
    history = (folder / "history.csv").read_text().splitlines()
    return (
        {key: metrics[key] for key in ("status", "seed", "epochs", "best_epoch", "train", "val", "test")},
        [line.rsplit(",", 1)[0] for line in history],  # the last column is seconds
        _local((folder / "predictions.csv").read_text(), folder),
        not (folder / "failure.json").exists(),
    )


def of_grid(folder: Path) -> Any:
    jobs = sorted(path.parent for path in folder.glob("*/metrics.json"))
    rows = (folder / "results.csv").read_text().splitlines()
    return [job.name for job in jobs], [of_run(job) for job in jobs], len(rows)


def of_study(folder: Path) -> Any:
    """Returns trials and finals by slot; with one worker also in order."""
    found = json.loads((folder / "result.json").read_text())
    told = []
    for name in ("s", "s/finalists"):
        study = optuna.load_study(study_name=name, storage=open_storage(StorageConfig("journal"), folder))
        told.append(
            sorted(
                (t.user_attrs["slot"], t.state.name, t.value, t.params, t.intermediate_values)
                for t in study.trials
            )
        )
    return told, {key: found[key] for key in ("trials", "finalists", "winner")}


def check_study(folder: Path) -> None:
    """Checks a study that may have drawn other values: no trial lost or doubled, and the winner is the best."""
    found = json.loads((folder / "result.json").read_text())
    storage = open_storage(StorageConfig("journal"), folder)
    trials = optuna.load_study(study_name="s", storage=storage).trials
    assert sorted(trial.user_attrs["slot"] for trial in trials) == list(range(10))
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    finals = optuna.load_study(study_name="s/finalists", storage=storage).trials
    assert len({trial.user_attrs["slot"] for trial in finals}) == len(finals)
    assert all(len(each["values"]) == 2 for each in found["finalists"])
    assert found["winner"]["mean"] == max(each["mean"] for each in found["finalists"])


def is_undecided(folder: Path) -> bool:
    """Says whether a study was stopped in the midst of a draw, or of a pruner's decision.

    What remains to be drawn then gets other values, and a trial may go on that would have been pruned.
    """
    if not (folder / "study.journal").is_file():
        return False
    study = optuna.load_study(study_name="s", storage=open_storage(StorageConfig("journal"), folder))
    open_ones = [trial for trial in study.trials if not trial.state.is_finished()]
    if any(0 < len(trial.params) < 3 for trial in open_ones):
        return True
    lines = (folder / "study.journal").read_text(errors="replace").splitlines()
    last = {
        word: max((n for n, line in enumerate(lines) if f'"{word}' in line), default=-1)
        for word in ("completed_rung", "intermediate_value")
    }
    noted = any(key.startswith("completed_rung") for trial in open_ones for key in trial.system_attrs)
    return noted and last["completed_rung"] > last["intermediate_value"]


def of_diagnosis(folder: Path) -> Any:
    content = json.loads((folder / "diagnosis/diagnosis.json").read_text())
    content.pop("seconds")
    return _local(json.dumps(content, sort_keys=True), folder)


def of_file(folder: Path) -> Any:
    partial = list(folder.parent.glob("*_partial*")) + list(folder.parent.glob("*.part"))
    return folder.read_bytes(), partial


AREAS = {
    "run": Area([*NET, "trainer.max_epochs=4", *QUIET, "hydra.run.dir=run"], of_run, "run"),
    "online run": Area(
        [*NET, "features=off", "trainer.max_epochs=4", *QUIET, "hydra.run.dir=run"], of_run, "run"
    ),
    "grid": Area(
        ["-m", *NET, "features=off", "seed=1,2", "trainer.max_epochs=2", *QUIET, "hydra.sweep.dir=run"],
        of_grid, "run",
    ),
    "study, 1 worker": Area([*STUDY, "pruner=hyperband"], of_study),
    "study, 2 workers": Area(
        [*STUDY, "study.workers=2", "sampler=random", "pruner=none"], of_study, workers=True
    ),
    "diagnose": Area(["task=diagnose", "diagnose.run=run", *QUIET], of_diagnosis),
    "export": Area(
        ["task=export", "checkpoint={run}", "export.format=onnx", "export.out=model"], of_file
    ),
    "predict": Area(
        ["task=predict", "checkpoint={run}", "data.root={images}", "predict.out=answers.csv", "features.engine=torch"],
        of_file,
    ),
}  # fmt: skip
LEFT = {
    "study, 1 worker": "outputs/studies/s", "study, 2 workers": "outputs/studies/s", "export": "model.onnx",
    "predict": "answers.csv",
}  # fmt: skip


@dataclass
class Campaign:
    """Undisturbed results, made once each, and the tally of tries.

    Args:
        folder: of everything.
    """

    folder: Path
    whole: dict[str, tuple[Any, float]] = field(default_factory=dict)
    tries: dict[str, list[bool]] = field(default_factory=dict)

    def undisturbed(self, name: str) -> tuple[Any, float]:
        """Returns what an area leaves if nobody kills it, and the seconds that it takes."""
        if name not in self.whole:
            place = self.place(name, "whole")
            started = time.monotonic()
            assert self.start(name, place).wait(PATIENCE) == 0, said(place)
            self.whole[name] = AREAS[name].result(place / LEFT.get(name, "run")), time.monotonic() - started
        return self.whole[name]

    def place(self, name: str, what: str) -> Path:
        """Makes a folder with the photographs alone in its cache, and a finished run where one is examined."""
        place = self.folder / f"{name.replace(', ', '_').replace(' ', '_')}_{what}"
        place.mkdir()
        if (self.folder / "images").is_dir():
            shutil.copytree(self.folder / "images", place / "cache/demo")
        if name == "diagnose":
            shutil.copytree(self.run(), place / "run")
        return place

    def run(self) -> Path:
        """Returns a finished run."""
        self.undisturbed("run")
        if not (self.folder / "images").is_dir():
            shutil.copytree(self.folder / "run_whole/cache/demo", self.folder / "images")
        return self.folder / "run_whole/run"

    def start(self, name: str, place: Path, *, resume: bool = False, elsewhere: bool = False) -> psutil.Popen:
        """Begins the task in a session of its own."""
        area = AREAS[name]
        words = area.command
        if "{run}" in " ".join(words):
            run = self.run()
            images = next((self.folder / "images").iterdir())
            words = [word.replace("{run}", str(run)).replace("{images}", str(images)) for word in words]
        notes = [place / area.folder / name for name in (".hydra/hydra.yaml", "multirun.yaml")]
        if resume and area.folder and any(note.is_file() for note in notes):
            words = [f"resume={area.folder}"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "SEEDSWEEP_CACHE": str(place / "cache")}
        if elsewhere:
            environment["TMPDIR"] = str(ELSEWHERE)
        with (place / "log.txt").open("ab") as log:
            return psutil.Popen(
                [sys.executable, "-m", "seedsweep", *words],
                cwd=place, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def attempt(self, name: str, number: int, sent: signal.Signals, *, elsewhere: bool) -> None:
        """Kills a task once or twice, calls it again, and compares."""
        draw = random.Random(f"{name} {number} {sent.name}")
        self.tries.setdefault(name, []).append(False)
        expected, seconds = self.undisturbed(name)
        place = self.place(name, f"{sent.name}_{number}")
        left = place / LEFT.get(name, "run")
        undecided = False
        for again in range(draw.choice((1, 1, 2))):
            process = self.start(name, place, resume=bool(again), elsewhere=elsewhere)
            self._strike(process, AREAS[name], sent, draw, draw.uniform(0, seconds), place)
            undecided |= name.startswith("study") and is_undecided(left)
        process = self.start(name, place, resume=True, elsewhere=elsewhere)
        assert process.wait(PATIENCE) == 0, said(place)
        if undecided:
            check_study(left)
        else:
            assert AREAS[name].result(left) == expected
        assert "Traceback" not in said(place), said(place)
        self.tries[name][-1] = True
        shutil.rmtree(place)

    def _strike(
        self,
        process: psutil.Popen,
        area: Area,
        sent: signal.Signals,
        draw: random.Random,
        after: float,
        place: Path,
    ) -> None:
        """Sends the signal after so many seconds, to the process, to all of its group, or to one of its workers."""
        target = draw.choice(("process", "group", *(["worker"] if area.workers else [])))
        end = time.monotonic() + after
        while process.poll() is None and time.monotonic() < end:
            time.sleep(TICKS)
        children = process.children(recursive=True) if process.poll() is None else []
        workers = [child for child in children if _is_worker(child)]
        if process.poll() is None:
            if target == "worker" and workers:
                draw.choice(workers).send_signal(sent)
                assert process.wait(PATIENCE) == 0, said(place)
            elif target == "group":
                os.killpg(process.pid, sent)
            else:
                process.send_signal(sent)
        code = process.wait(PATIENCE)
        # 0: it was through; -15: Python itself had not begun
        assert code in ((-9, 0) if sent == signal.SIGKILL else (143, -15, 0)), (code, said(place))
        _, alive = psutil.wait_procs(children, timeout=300)
        assert not alive, f"left behind: {alive}"

    def table(self) -> str:
        """Returns area, tries and survived, a line each."""
        rows = [(name, len(tries), sum(tries)) for name, tries in self.tries.items()]
        rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
        lines = [f"| {name} | {tries} | {survived} |" for name, tries, survived in rows]
        return "\n".join(["| area | tries | survived |", "|---|---|---|", *lines])


def plan(kills: int, terms: int) -> Iterator[tuple[str, int, signal.Signals, bool]]:
    """Yields area, number, signal and whether TMPDIR is elsewhere: the areas in turn, every third try elsewhere."""
    names = list(AREAS)
    for n in range(kills + terms):
        sent = signal.SIGKILL if n < kills else signal.SIGTERM
        yield names[n % len(names)], n, sent, n % 3 == 0


def said(place: Path) -> str:
    return (place / "log.txt").read_text(errors="replace")[-4000:]


def _is_worker(child: psutil.Process) -> bool:
    try:
        return os.getsid(child.pid) == child.pid
    except OSError:
        return False


def _local(text: str, folder: Path) -> str:
    """Takes the try's own folder out of paths."""
    top = next((parent for parent in folder.parents if (parent / "log.txt").is_file()), folder)
    return re.sub(re.escape(str(top)), "", text)
