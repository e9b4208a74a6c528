"""``task=dashboard``: TensorBoard and, for a study, optuna-dashboard beside it."""

from __future__ import annotations

import importlib.util
import io
import logging
import signal
import socket
import threading
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from seedsweep import signals
from seedsweep.cli.config.schema import Config
from seedsweep.errors import SeedsweepError
from seedsweep.names import path_of
from seedsweep.runs.command import command
from seedsweep.study.options import JOURNAL

HOST = "localhost"
PORTS = 20  # tried, from the one that was asked for


@dataclass(frozen=True)
class Shown:
    """What the dashboards show."""

    folder: Path  # for TensorBoard
    journal: Path | None  # of a study, for optuna-dashboard; None: there is none
    others: list[Path]  # folders of runs that TensorBoard does not show


def run(config: Config, folder: Path, *, label: str, resume: bool) -> None:
    """Serves both until Ctrl-C.

    Raises:
        SeedsweepError: there is nothing to show, no port is free, or the study's storage can't be opened.
    """
    shown = what_to_show(config)
    logging.disable(logging.INFO)  # both servers write a line for each request
    lines = [f"TensorBoard       {start_tensorboard(shown.folder, config.dashboard.port)}  ({shown.folder})"]
    database = config.storage.name != "journal"
    if not database and shown.journal is None:
        lines.append(f"no study in {shown.folder}: no optuna-dashboard beside it")
    elif importlib.util.find_spec("optuna_dashboard") is None:
        lines.append(
            "optuna-dashboard is not installed (pip install 'seedsweep[dashboard]'): TensorBoard alone"
        )
    else:
        url = start_optuna_dashboard(config, shown.journal, config.dashboard.optuna_port)
        lines.append(f"optuna-dashboard  {url}  ({config.storage.name if database else shown.journal})")
    lines += [
        f"other runs        {command('task=dashboard', ('dashboard.dir', other))}" for other in shown.others
    ]
    print("\n".join([*lines, "Ctrl-C ends this"]), flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
        if signals.number() not in (0, signal.SIGINT):
            raise  # Ctrl-C is the ordinary end, no error


def what_to_show(config: Config) -> Shown:
    """Returns ``dashboard.dir``, or else the study that was worked on last, or else all runs.

    Raises:
        SeedsweepError: there is no such folder, or nothing has been trained.
    """
    runs = [path_of(p) for p in (config.paths.outputs, config.paths.multirun) if path_of(p).is_dir()]
    if config.dashboard.dir is not None:
        folder = path_of(config.dashboard.dir)
        if not folder.is_dir():
            raise SeedsweepError(f"dashboard.dir={config.dashboard.dir} is no folder.")
        return Shown(folder, _latest(folder, config), [])
    if not runs:
        raise SeedsweepError(
            f"nothing has been trained here yet: there is neither {config.paths.outputs} nor "
            f"{config.paths.multirun}; give dashboard.dir=DIR (make dashboard DIR=...)."
        )
    journal = _latest(path_of(config.paths.outputs), config)
    if journal is not None and journal.name == JOURNAL:
        return Shown(journal.parent, journal, runs)
    return Shown(runs[0], journal, runs[1:])


def start_tensorboard(folder: Path, port: int) -> str:
    """Serves TensorBoard in a thread and returns its address."""
    from tensorboard.program import TensorBoard  # type: ignore[import-untyped]

    board, said = TensorBoard(), io.StringIO()
    free = _free_port(port, "dashboard.port")
    board.configure(argv=[None, "--logdir", str(folder), "--host", HOST, "--port", str(free)])
    try:
        with redirect_stderr(said):  # it advertises its data server
            return str(board.launch())
    except SystemExit as error:
        raise SeedsweepError(f"TensorBoard did not start: {said.getvalue().strip()}") from error


def start_optuna_dashboard(config: Config, journal: Path | None, port: int) -> str:
    """Serves optuna-dashboard in a thread and returns its address.

    It opens the storage as the workers do, with their lock, so that what a person changes there harms no running
    study.
    """
    from optuna_dashboard import wsgi  # type: ignore[import-untyped]

    from seedsweep.study.storage import open_storage

    if journal is not None:
        config.storage.path = str(journal)
    app, free = (
        wsgi(open_storage(config.storage, config.studies_dir)),
        _free_port(port, "dashboard.optuna_port"),
    )
    server = make_server(HOST, free, app, server_class=_Server, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://{HOST}:{free}/"


def _latest(folder: Path, config: Config) -> Path | None:
    """Returns the journal that was written last: of ``folder`` itself, or of a study in it."""
    if config.storage.name == "journal" and config.storage.path:
        given = path_of(config.storage.path)
        if not given.is_file():
            raise SeedsweepError(f"storage.path={config.storage.path} is no file.")
        return given
    found = [*folder.glob(JOURNAL), *folder.glob(f"*/{JOURNAL}"), *folder.glob(f"studies/*/{JOURNAL}")]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _free_port(first: int, key: str) -> int:
    """Returns the first port from ``first`` on that nobody listens at."""
    for port in range(first, min(first + PORTS, 65536)):
        with suppress(OSError), socket.create_server((HOST, port)):
            return port
    raise SeedsweepError(f"the ports from {first} on are taken: give another {key}=PORT.")


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Writes nothing: the terminal is for the addresses."""
