"""What a job's process must do first where a launcher has started it, on this machine or another."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from typing import Any

from seedsweep import cores, streams
from seedsweep.cli.launchers import threads_of
from seedsweep.errors import SeedsweepError


def enter(hydra: Any, place: str) -> None:
    """Takes a worker to the folder of the command line, and to its share of the cores.

    Args:
        hydra: HydraConfig of the job.
        place: of the job in its grid; stands before its lines, which mix with those of other jobs.

    Raises:
        SeedsweepError: the folder is not on this machine.
    """
    streams.keep()
    for handler in logging.getLogger().handlers:
        handler.setFormatter(logging.Formatter(f"[{place}] %(message)s"))
    quiet()
    if threads := threads_of(hydra.launcher):
        cores.limit(threads)
    try:
        os.chdir(hydra.runtime.cwd)  # relative paths of the command line start there
    except OSError as error:
        raise SeedsweepError(
            f"{hydra.runtime.cwd} can't be reached on {socket.gethostname()} ({error.strerror}): "
            "all machines need the folder of the command line under the same path."
        ) from error


def quiet() -> None:
    """Drops other libraries' notes that a user can do nothing about."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*Checkpoint directory.*")
    for name in ("pytorch_lightning", "huggingface_hub", "matplotlib", "PIL", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
