"""The worker processes of a study: what they inherit, how they end, and that none is left behind."""

import ast
import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from composed import config_of
from study_stub import plan_of
from worker_stub import Stub

from seedsweep.errors import SeedsweepError
from seedsweep.study import processes
from seedsweep.study.processes import Workers

# imported first by the server: counts what is asked of a GPU's driver; a fork could ask nothing more after that
COUNTED = """
import torch
asked = []
for name in ("_cuda_getDeviceCount", "_cuda_init"):
    setattr(torch._C, name, lambda name=name: asked.append(name) or 0)
"""

MAIN = """
import os, signal, sys, time
from pathlib import Path
from seedsweep.study import processes
context, folder = processes._context(), Path.cwd()
preloaded = context.set_forkserver_preload
context.set_forkserver_preload = lambda names: preloaded(["counted", *names])
signal.signal(signal.SIGINT, lambda *_: None)
processes.preload(1)
time.sleep(1)
os.killpg(0, signal.SIGINT)  # what a terminal does at Ctrl-C, in the midst of the server's imports
from composed import config_of
from study_stub import plan_of
from worker_stub import Stub
workers = processes.Workers(plan_of(config_of(), folder, Stub, act="wait"))
workers._begin(1)
print(workers._running[1][0].pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def workers(in_tmp: Path) -> Iterator[Callable[[str], Workers]]:
    """Begins a worker that does what is asked; it is ended after the test."""
    begun = []

    def begin(act: str) -> Workers:
        begun.append(Workers(plan_of(config_of(), in_tmp, Stub, act=act)))
        begun[-1]._begin(1)
        return begun[-1]

    yield begin
    for each in begun:
        each.end()


def process_of(workers: Workers) -> Any:
    return workers._running[1][0]


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def told(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = ast.literal_eval((folder / "told.txt").read_text())
    return found


@pytest.mark.slow
def test_a_worker_has_folder_environment_and_share_of_the_threads(
    workers: Callable[[str], Workers], in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process_of(workers("tell")).join()  # the server runs from here on
    assert told(in_tmp)["variable"] is None
    (in_tmp / "there").mkdir()
    monkeypatch.chdir(in_tmp / "there")
    monkeypatch.setenv("TOLD", "later than the server")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(processes, "share", lambda _: 1)
    again = workers("tell")
    process_of(again).join()
    assert process_of(again).exitcode == 0
    found = told(in_tmp)
    assert (found["folder"], found["variable"]) == (str(in_tmp / "there"), "later than the server")
    assert (found["threads"], found["omp"], found["job"], found["own_session"]) == (1, "1", 1, True)
    # a loader of batches that was started as the server starts workers would outlive its worker
    assert found["start"] == multiprocessing.get_start_method()


def test_the_sentence_of_a_worker_becomes_the_study_s(
    workers: Callable[[str], Workers], in_tmp: Path
) -> None:
    refused = workers("refuse")
    process_of(refused).join()
    with pytest.raises(SeedsweepError, match=r"^the images can't be used\.$"):
        refused._replace_dead()
    (in_tmp / "full").symlink_to("/dev/full")
    full = workers("write")
    process_of(full).join()
    with pytest.raises(SeedsweepError, match=os.strerror(errno.ENOTDIR)):
        full._replace_dead()


def test_a_worker_that_ends_again_and_again(
    workers: Callable[[str], Workers], in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "RESTARTS", 1)
    breaks = workers("break")
    process_of(breaks).join()
    assert breaks._replace_dead(), "another one takes its place"
    process_of(breaks).join()
    with pytest.raises(SeedsweepError, match=r"status 1\): see .*001.log \(ZeroDivisionError: a defect\)"):
        breaks._replace_dead()
    assert breaks._replace_dead() is False


def test_workers_end_with_the_study(workers: Callable[[str], Workers], in_tmp: Path) -> None:
    waits = workers("wait")
    wait_until((in_tmp / "told.txt").is_file)
    waits.end()
    assert process_of(waits).exitcode == 128 + signal.SIGTERM


@pytest.mark.slow
def test_the_server_asks_nothing_of_a_gpu_and_survives_ctrl_c_but_no_worker_its_main_process(
    tmp_path: Path,
) -> None:
    (tmp_path / "counted.py").write_text(COUNTED)
    tests = str(Path(__file__).parent)
    paths = os.pathsep.join([tests, str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with (
        (tmp_path / "errors.txt").open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-c", MAIN], cwd=tmp_path, stdout=subprocess.PIPE, stderr=errors, text=True,
            start_new_session=True, env=os.environ | {"PYTHONPATH": paths},
        ) as main,
    ):  # fmt: skip
        try:
            assert main.stdout
            worker = psutil.Process(int(main.stdout.readline()))
            wait_until((tmp_path / "told.txt").is_file)
            assert main.poll() is None
            found = told(tmp_path)
            assert (found["asked"], found["preloaded"], found["server_threads"]) == ([], True, 1)
        finally:
            main.kill()
    wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    assert (tmp_path / "errors.txt").read_text() == ""
