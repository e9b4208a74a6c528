"""A study in PostgreSQL that a Ray cluster's jobs share, or workers through the gRPC proxy; one is killed -9."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import optuna
import pytest
from kill_campaign import TINY

HAS_RAY = find_spec("ray") is not None and find_spec("hydra_plugins.hydra_ray_launcher") is not None
INITDB = shutil.which("initdb") or next(
    map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None
)
WORKERS, TRIALS = 8, 200
STUDY = [
    *TINY, f"study.n_trials={TRIALS}", "trainer.max_epochs=2", "pruner=none", "study.heartbeat=2", "study.grace=20",
]  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(INITDB is None, reason="PostgreSQL is not installed"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def url() -> Iterator[str]:
    """A PostgreSQL server of this test's own, on loopback."""
    assert INITDB is not None
    folder = Path(tempfile.mkdtemp(prefix="seedsweep-postgres-"))
    other = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # it refuses to run as root
    if other:
        shutil.chown(folder, "postgres")
    port, control = free_port(), str(Path(INITDB).with_name("pg_ctl"))
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    data = str(folder / "data")

    def run(*command: str) -> None:
        subprocess.run([*other, *command], cwd=folder, check=True, capture_output=True, timeout=60)

    run(INITDB, "-D", data, "-U", "postgres", "--auth=trust")
    run(control, "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    finally:
        run(control, "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture
def ray_cluster() -> Iterator[None]:
    ray = str(Path(sys.executable).with_name("ray"))
    start = [
        ray,
        "start",
        "--head",
        f"--port={free_port()}",
        f"--num-cpus={WORKERS}",
        "--include-dashboard=false",
    ]
    subprocess.run(start, check=True, capture_output=True, timeout=120)
    try:
        yield
    finally:
        subprocess.run([ray, "stop", "--force"], capture_output=True, timeout=120, check=False)


def kill_one(process: subprocess.Popen[bytes], load: Callable[[], optuna.Study]) -> int:
    """Kills the worker of the first trial seen running after the fortieth; returns its process id."""
    while process.poll() is None:
        try:
            running = load().get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
        except KeyError:
            running = []
        for trial in running:
            worker = trial.user_attrs.get("worker")
            if trial.user_attrs["slot"] >= 40 and worker:
                os.kill(worker["pid"], signal.SIGKILL)
                return int(worker["pid"])
        time.sleep(0.2)
    return 0


def assert_whole(load: Callable[[], optuna.Study], folder: Path, killed: int) -> None:
    trials = load().trials
    assert sorted(t.user_attrs["slot"] for t in trials) == list(range(TRIALS)), "none lost, none doubled"
    assert {t.state.name for t in trials} == {"COMPLETE"}
    assert sum(t.user_attrs.get("deaths", 0) for t in trials) <= 1
    workers = {t.user_attrs["worker"]["pid"] for t in trials}
    assert len(workers) >= WORKERS
    assert killed
    result = json.loads((folder / "outputs/studies/s/result.json").read_text())
    assert result["trials"] == {"complete": TRIALS}


@pytest.mark.skipif(not HAS_RAY, reason="the extra 'ray' is not installed")
def test_ray_jobs_share_a_study_in_postgres(url: str, ray_cluster: None, tmp_path: Path) -> None:
    def load() -> optuna.Study:
        return optuna.load_study(study_name="s", storage=optuna.storages.RDBStorage(url))

    jobs = f"study.job=range(0,{WORKERS})"
    where = ["storage=postgres", f"storage.url={url}", "hydra/launcher=ray_cluster"]
    command = [sys.executable, "-m", "seedsweep", "-m", *STUDY, jobs, *where]
    with (tmp_path / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
        killed = kill_one(process, load)
        code = process.wait(timeout=900)
    assert code == 0, (tmp_path / "log.txt").read_text()[-3000:]
    assert_whole(load, tmp_path, killed)


def test_workers_share_a_study_through_the_proxy(url: str, tmp_path: Path) -> None:
    port = free_port()
    where = ["storage=postgres", f"storage.url={url}", f"storage.port={port}"]
    proxy = subprocess.Popen([sys.executable, "-m", "seedsweep", "task=proxy", *where], cwd=tmp_path)

    def load() -> optuna.Study:
        return optuna.load_study(study_name="s", storage=optuna.storages.RDBStorage(url))

    through = ["storage=grpc", f"storage.port={port}", f"study.workers={WORKERS}"]
    try:
        with (tmp_path / "log.txt").open("wb") as log:
            command = [sys.executable, "-m", "seedsweep", *STUDY, *through]
            process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
            killed = kill_one(process, load)
            assert process.wait(timeout=900) == 0, (tmp_path / "log.txt").read_text()[-3000:]
    finally:
        proxy.send_signal(signal.SIGTERM)
        proxy.wait(timeout=30)
    assert_whole(load, tmp_path, killed)
