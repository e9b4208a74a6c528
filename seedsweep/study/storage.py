"""Opens the place where trials are kept: an embedded journal, a database, or Optuna's gRPC proxy before one."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import optuna

from seedsweep import disk
from seedsweep.errors import DiskError, SeedsweepError
from seedsweep.names import path_of
from seedsweep.study.journal import open_journal
from seedsweep.study.options import JOURNAL, StorageConfig
from seedsweep.study.password import HOW, scrubbed, with_password

log = logging.getLogger(__name__)

CONNECT_SECONDS = 15


def open_storage(config: StorageConfig, folder: Path) -> optuna.storages.BaseStorage:
    """Opens the storage that ``storage=`` names.

    Raises:
        SeedsweepError: it can't be reached, or a package is missing.
    """
    if config.name == "journal":
        return _journal(path_of(config.path) if config.path else folder / JOURNAL)
    if config.name == "grpc":
        return _grpc(config)
    return _rdb(str(config.url))


def storage_of(study: optuna.Study) -> optuna.storages.BaseStorage:
    """Returns where a study is kept. Optuna has no public name for it (see tests/test_study_optuna.py)."""
    return study._storage


def _journal(path: Path) -> optuna.storages.BaseStorage:
    try:
        return open_journal(path)
    except OSError as error:
        if full := disk.sentence(error, {"storage.path": path.parent}):
            raise DiskError(full) from error
        raise SeedsweepError(
            f"the study's journal {path} can't be used ({error.strerror or error}): give another storage.path."
        ) from error


def _rdb(url: str) -> optuna.storages.BaseStorage:
    if url.startswith("sqlite"):
        raise SeedsweepError(
            "storage.url is SQLite, which loses trials when several workers write: take storage=journal, "
            "or PostgreSQL."
        )
    shown = url.rpartition("@")[2]  # never the password
    url = with_password(url)
    options = {"pool_pre_ping": True, "connect_args": {"connect_timeout": CONNECT_SECONDS}}
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs=options)
    except ImportError as error:
        raise SeedsweepError(
            f"the driver of storage.url is not installed ({scrubbed(str(error), url)}): pip install "
            "'seedsweep[postgres]', and write the url as postgresql+psycopg://USER@HOST/DATABASE."
        ) from None
    except Exception as error:  # SQLAlchemy's and the driver's own kinds; their texts may hold the url
        lines = scrubbed(str(error), url).splitlines() or [type(error).__name__]
        raise SeedsweepError(
            f"the database {shown} can't be used ({lines[0]}): check storage.url. "
            f"Its password is kept in no file: {HOW}."
        ) from None


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
