"""Real studies in processes that are killed with -9: nothing is lost, nothing doubled, nothing different."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from test_study_leases import open_storage

from seedsweep.config.study_schema import StorageConfig

TINY = [
    "+study=head", "+experiment=frozen_bn", "backbone=efficientnet_lite0", "data.image_size=[32,32]",
    "data.demo.n_images=70", "features.engine=torch", "study.name=s", "study.finalists=2", "study.finalist_seeds=2",
]  # fmt: skip


def start(folder: Path, *overrides: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "seedsweep", *TINY, *overrides]
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )


def finish(folder: Path, *overrides: str) -> None:
    assert start(folder, *overrides).wait(timeout=900) == 0, (folder / "log.txt").read_text()[-3000:]


def study(folder: Path, name: str = "s") -> optuna.Study:
    storage = open_storage(StorageConfig("journal"), folder / "outputs/studies/s")
    return optuna.load_study(study_name=name, storage=storage)


def told(folder: Path) -> list[Any]:
    return [
        (t.number, t.user_attrs["slot"], t.state.name, t.value, t.params, t.intermediate_values)
        for t in study(folder).trials
    ]


def result(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "outputs/studies/s/result.json").read_text())
    return {key: found[key] for key in ("trials", "finalists", "winner")}


def kill_when(folder: Path, process: subprocess.Popen[bytes], ended: int) -> None:
    """Kills -9 soon after ``ended`` trials are over; at once if the process is through."""
    while process.poll() is None:
        try:
            if sum(t.state.is_finished() for t in study(folder).trials) >= ended:
                break
        except KeyError:
            pass
        time.sleep(0.05)
    time.sleep(random.uniform(0, 0.15))
    os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
    process.wait()


@pytest.mark.slow
def test_two_workers_one_killed(tmp_path: Path) -> None:
    overrides = ["study.n_trials=12", "trainer.max_epochs=3", "study.workers=2", "study.seed=1"]
    process = start(tmp_path, *overrides)
    killed = 0
    while process.poll() is None and not killed:
        time.sleep(0.05)
        try:
            running = [t for t in study(tmp_path).trials if t.user_attrs.get("worker") and t.number >= 3]
        except KeyError:
            continue
        for trial in running[:1]:
            killed = trial.user_attrs["worker"]["pid"]
            if killed != process.pid:
                os.kill(killed, signal.SIGKILL)
    assert process.wait(timeout=300) == 0, (tmp_path / "log.txt").read_text()[-3000:]
    assert killed
    trials = study(tmp_path).trials
    assert [t.user_attrs["slot"] for t in trials] == list(range(12))
    assert {t.state.name for t in trials} <= {"COMPLETE", "PRUNED"}
    finals = study(tmp_path, "s/finalists").trials
    assert {t.state.name for t in finals} == {"COMPLETE"}
    assert len(finals) == len({t.user_attrs["slot"] for t in finals})
    assert len(result(tmp_path)["winner"]["test"]["seeds"]) == 2
    for log in tmp_path.glob("outputs/studies/s/trials/*/run.log"):
        assert "features: all 70 images are in" in log.read_text(), "the leader has extracted them beforehand"


@pytest.mark.slow
def test_killed_twenty_times_equals_undisturbed(tmp_path: Path) -> None:
    overrides = ["study.n_trials=40", "trainer.max_epochs=12", "pruner=hyperband"]
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    finish(tmp_path / "whole", *overrides)
    for number in range(20):
        kill_when(tmp_path / "killed", start(tmp_path / "killed", *overrides), 2 * number)
    finish(tmp_path / "killed", *overrides)
    assert told(tmp_path / "killed") == told(tmp_path / "whole")
    assert result(tmp_path / "killed") == result(tmp_path / "whole")
