"""Opens the place where trials are kept: an embedded journal, a database, or Optuna's gRPC proxy before one."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.storages.journal._file import BaseJournalFileLock

from seedsweep import disk
from seedsweep.config.location import path_of
from seedsweep.config.study_schema import StorageConfig
from seedsweep.errors import DiskError, SeedsweepError

log = logging.getLogger(__name__)

JOURNAL = "study.journal"
CONNECT_SECONDS = 15


class _Flock(BaseJournalFileLock):
    """The operating system's file lock: it ends with its process, so that a killed worker holds nobody up.

    Its file is not called ``.lock``: Optuna's own lock takes a file of that name for a writer, and whoever writes to
    the journal without seedsweep (a notebook, say) would wait out its 30 seconds of grace. The two don't exclude one
    another, nor need they: both append whole lines, at once.
    """

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path.with_name(path.name + ".flock"), thread_local=False)

    def acquire(self) -> bool:
        """Waits for the lock."""
        self._lock.acquire()
        return True

    def release(self) -> None:
        """Gives it back."""
        self._lock.release()


class _Journal(JournalFileBackend):
    """Optuna's journal, of which a full disk leaves no half line: the next one, of another worker, would join it."""

    def __init__(self, path: Path, lock: _Flock) -> None:
        super().__init__(str(path), lock_obj=lock)
        self._path, self._flock = path, lock

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Adds lines, or raises OSError, which names the file."""
        self._flock.acquire()  # it may be acquired again below
        try:
            super().append_logs(logs)
        except OSError as error:
            _cut_off_half_a_line(self._path)
            error.filename = error.filename or str(self._path)
            raise
        finally:
            self._flock.release()


def open_storage(config: StorageConfig, folder: Path) -> optuna.storages.BaseStorage:
    """Opens the storage that ``storage=`` names.

    Args:
        config: its settings.
        folder: of the study, for the journal.

    Raises:
        SeedsweepError: it can't be reached, or a package is missing.
    """
    if config.name == "journal":
        return _journal(path_of(config.path) if config.path else folder / JOURNAL)
    if config.name == "grpc":
        return _grpc(config)
    return _rdb(str(config.url))


def _journal(path: Path) -> JournalStorage:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _Flock(path)
        _mend(path, lock)
        return JournalStorage(_Journal(path, lock))
    except (OSError, ValueError, KeyError) as error:
        if told := disk.sentence(error, {"storage.path": path.parent}):
            raise DiskError(told) from error
        raise SeedsweepError(
            f"the study's journal {path} can't be used ({type(error).__name__}: {error}): "
            "give another storage.path, or move the damaged file away to start anew."
        ) from error


def _mend(path: Path, lock: _Flock) -> None:
    """Cuts off a last line that a killed process left unfinished."""
    if not path.is_file():
        return
    lock.acquire()
    try:
        if _cut_off_half_a_line(path):
            log.warning("%s: an unfinished last line was cut off", path)
    finally:
        lock.release()


def _cut_off_half_a_line(path: Path) -> bool:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole == len(content):
        return False
    with path.open("r+b") as file:
        file.truncate(whole)
    return True


def _rdb(url: str) -> optuna.storages.BaseStorage:
    if url.startswith("sqlite"):
        raise SeedsweepError(
            "storage.url is SQLite, which loses trials when several workers write: take storage=journal, "
            "or PostgreSQL."
        )
    shown = url.rpartition("@")[2]  # never the password
    options = {"pool_pre_ping": True, "connect_args": {"connect_timeout": CONNECT_SECONDS}}
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs=options)
    except ImportError as error:
        raise SeedsweepError(
            f"the driver of storage.url is not installed ({error}): pip install 'seedsweep[postgres]', "
            "and write the url as postgresql+psycopg://USER@HOST/DATABASE."
        ) from error
    except Exception as error:  # SQLAlchemy's and the driver's own kinds
        raise SeedsweepError(
            f"the database {shown} can't be used ({str(error).splitlines()[0]}): check storage.url."
        ) from error


def _grpc(config: StorageConfig) -> optuna.storages.BaseStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        proxy = optuna.storages.GrpcStorageProxy(host=config.host, port=config.port)
    try:
        proxy.wait_server_ready(timeout=CONNECT_SECONDS)
    except ConnectionError as error:
        raise SeedsweepError(
            f"no storage proxy answers at {config.host}:{config.port}: start one with "
            f"python -m seedsweep task=proxy storage=postgres storage.port={config.port}"
        ) from error
    return proxy
