"""``task=proxy``: Optuna's gRPC proxy before a storage, for hundreds of workers."""

from __future__ import annotations

import logging
from pathlib import Path

from seedsweep.cli.config.schema import Config
from seedsweep.errors import SeedsweepError

log = logging.getLogger(__name__)


def run(config: Config, folder: Path, *, label: str, resume: bool) -> None:
    """Serves the storage that ``storage=`` names at ``storage.host``:``storage.port`` until it is stopped."""
    import optuna

    from seedsweep.study.storage import open_storage

    options = config.storage
    if options.name == "grpc":
        raise SeedsweepError("task=proxy stands before a storage: give storage=postgres or storage=journal.")
    storage = open_storage(options, config.studies_dir)
    log.info("storage proxy at %s:%d; Ctrl-C ends it", options.host, options.port)
    try:
        optuna.storages.run_grpc_proxy_server(storage, host=options.host, port=options.port)
    except RuntimeError as error:
        raise SeedsweepError(
            f"{options.host}:{options.port} can't be used ({error}): give storage.port=PORT."
        ) from error
