"""The processes of a crew: what they inherit, what the server must leave alone, and that none is left behind."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from optuna import load_study
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from seedsweep.cli import main as cli
from seedsweep.cli.main import main
from seedsweep.study import lead, process
from seedsweep.study.process import begin

# imported first by the server: counts what is asked of a GPU's driver; a fork could ask nothing more after that
COUNTED = """
import torch
asked = []
for name in ("_cuda_getDeviceCount", "_cuda_init"):
    setattr(torch._C, name, lambda name=name: asked.append(name) or 0)
"""

TELLER = """
import os, sys
def tell():
    there = "seedsweep.training.run" in sys.modules
    print(sys.modules["counted"].asked, there, len(os.listdir(f"/proc/{os.getppid()}/task")), flush=True)
"""

LEADER = """
import os, signal, time
from pathlib import Path
import teller
from seedsweep.study import process
process.PRELOADED = ("counted", *process.PRELOADED)
signal.signal(signal.SIGINT, lambda *_: None)
process.prepare(1)
time.sleep(1)
os.killpg(0, signal.SIGINT)  # what a terminal does at Ctrl-C, in the midst of the server's imports
worker = process.begin(["task=dashboard", "dashboard.dir=."], Path("log.txt"), 1)
print(worker.pid, flush=True)
process._context.Process(target=teller.tell).start()
time.sleep(600)
"""


@pytest.mark.slow
def test_a_process_has_folder_environment_and_threads_of_its_leader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.txt"
    begin(["--cfg", "job", "paths.cache=${oc.env:TOLD}"], log, 1).join()  # the server runs from here on
    assert "TOLD" in log.read_text(), "an unset variable is told of"
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    monkeypatch.setenv("TOLD", "later than the server")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    settings = ["paths.cache=${oc.env:TOLD}", "paths.outputs=${oc.env:OMP_NUM_THREADS}"]
    told = begin(["--cfg", "job", "--resolve", *settings], log, 1)
    told.join()
    assert told.exitcode == 0
    assert "cache: later than the server" in log.read_text()
    assert "outputs: '1'" in log.read_text()
    wrong = begin(["task=cache", "paths.cache=.", "features.batch_sise=1"], log, 1)
    wrong.join()
    assert wrong.exitcode == 2
    assert "features.batch_sise is not a setting" in log.read_text()


@pytest.mark.slow
def test_the_server_asks_nothing_of_a_gpu_and_survives_ctrl_c_but_no_worker_its_leader(
    tmp_path: Path,
) -> None:
    (tmp_path / "counted.py").write_text(COUNTED)
    (tmp_path / "teller.py").write_text(TELLER)
    command = [sys.executable, "-c", LEADER]
    with (
        (tmp_path / "errors.txt").open("w") as errors,
        subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        ) as leader,
    ):
        try:
            assert leader.stdout
            worker = psutil.Process(int(leader.stdout.readline()))
            wait_until(lambda: os.getsid(worker.pid) == worker.pid)  # Ctrl-C does not reach it
            assert leader.poll() is None
            assert worker.is_running()
            assert leader.stdout.readline() == "[] True 1\n", "asked, imported, threads of the server"
        finally:
            leader.kill()
    wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    assert (tmp_path / "errors.txt").read_text() == ""


def test_a_held_worker_waits_for_the_word(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    get_ready = partial(done.append, "ready")
    process.wait_to_go(get_ready)
    assert not done, "nobody holds this one"
    held, go = multiprocessing.Pipe(duplex=False)
    monkeypatch.setattr(process, "_held", held)
    waiting = threading.Thread(target=process.wait_to_go, args=[get_ready], daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    assert done == ["ready"]
    go.send_bytes(b"go")
    waiting.join(20)
    assert not waiting.is_alive()
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    go.close()
    process.wait_to_go(get_ready)
    assert ended == [1], "no word will come"


def test_a_held_worker_takes_no_trial(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        "+study=head", "+experiment=frozen_bn", "backbone=efficientnet_lite0", "data.image_size=[64,64]",
        "data.demo.n_images=70", "trainer.max_epochs=1", "study.name=s", "study.n_trials=1", "paths.cache=cache",
    ]  # fmt: skip

    def lay_down_and_stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lead, "_check_images", lay_down_and_stop)
    assert main(words) == 130
    study = load_study(
        study_name="s", storage=JournalStorage(JournalFileBackend("outputs/studies/s/study.journal"))
    )
    waits = lambda: study.get_trials(deepcopy=False)[0].state == TrialState.WAITING  # noqa: E731
    held, go = multiprocessing.Pipe(duplex=False)
    worker = begin([*words, "study.job=1"], in_tmp / "log.txt", 1, held)
    try:
        wait_until(Path("cache/readable.txt").is_file)
        assert waits(), "it finds the images before it takes a trial"
        go.send_bytes(b"go")
        wait_until(lambda: not waits())
    finally:
        worker.kill()
        worker.join()


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_process_starts_others_as_it_would_alone(tmp_path: Path) -> None:
    """A loader of batches that was started as the server starts workers would outlive its worker."""
    log = tmp_path / "log.txt"
    started = multiprocessing.get_context("forkserver").Process(target=tell_start_method, args=(log,))
    started.start()
    started.join()
    assert log.read_text().split() == [multiprocessing.get_start_method(), "True"]


def tell_start_method(log: Path) -> None:
    cli.main = lambda _, *, checked: print(multiprocessing.get_start_method(), checked)  # type: ignore[assignment]
    process._run([], log, 1, Path.cwd(), dict(os.environ))
