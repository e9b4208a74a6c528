"""Hydra's launchers: how many jobs run at once, what a job's process does first, and why a launcher stopped."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from pathlib import Path
from typing import Any

from omegaconf import open_dict

from seedsweep import cores, streams
from seedsweep.errors import SeedsweepError

Launcher = Any  # hydra.launcher of the composed config: its keys are the plugin's

DIED = {  # raised in the place of a job whose process is gone
    "TerminatedWorkerError", "WorkerCrashedError", "OutOfMemoryError", "NodeDiedError",
    "UncompletedJobError", "FailedJobError",
}  # fmt: skip


def prepare(hydra: Any, folder: Path) -> None:
    """Tells a launcher how many jobs may be handed over together, and the user where their lines are."""
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # Ray would drop lines of jobs that look alike
    if "submitit_folder" in hydra.launcher:
        print(f"waiting for the jobs; what they print is in {folder}/.submitit/", flush=True)
    batch = batch_of(hydra.launcher)
    if batch and hydra.sweeper.get("max_batch_size", batch) is None:
        with open_dict(hydra.sweeper):
            hydra.sweeper.max_batch_size = batch


def enter(hydra: Any, place: str) -> None:
    """Takes a launcher's process to the folder of the command line, and to its share of the cores.

    Args:
        place: of the job in its grid; stands before its lines, which mix with those of other jobs.
    """
    streams.protect()
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
    for words in (
        "LeafSpec", "in eval mode at the start of training", "does not have many workers", "Checkpoint directory",
    ):  # fmt: skip
        warnings.filterwarnings("ignore", message=f".*{words}.*")
    for name in ("pytorch_lightning", "huggingface_hub", "matplotlib", "PIL", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)


def threads_of(launcher: Launcher) -> int | None:
    """Returns a job's share of the cores where several jobs run at once; None: all that it gets."""
    if (at_once := launcher.get("n_jobs")) is not None:  # joblib; -1: a job a core, as it counts them itself
        every, jobs = cores.count(), int(at_once)
        return max(1, every // (jobs if jobs > 0 else max(1, every + 1 + jobs)))
    if "cpus_per_task" in launcher:  # submitit
        return _whole(launcher.cpus_per_task)
    if "ray" in launcher:
        return _whole(launcher.ray.get("remote", {}).get("num_cpus") or 1)
    return None


def batch_of(launcher: Launcher) -> int | None:
    """Returns how many jobs may be handed over together; None: all, the launcher has a queue of its own.

    submitit's local executor has none: it starts every job that it is given.
    """
    if not str(launcher.get("_target_")).endswith("submitit_launcher.LocalLauncher"):
        return None
    return max(1, cores.count() // (_whole(launcher.cpus_per_task) or 1))


def is_requeue(launcher: Launcher, caught: BaseException) -> bool:
    """Says whether submitit ends this process only to run the job again later (out of time, or preempted)."""
    return isinstance(caught, SystemExit) and "submitit_folder" in launcher and caught.code in (-1, 144)


def why_stopped(error: BaseException) -> str:
    """Returns what a user can do about a launcher's error, in one sentence."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    text = " ".join(str(error).split())
    kind = type(error).__name__
    if "Could not find any running Ray" in text or "ConnectionError" in kind:
        return (
            "no running Ray was found: start one with 'ray start --head', take hydra/launcher=ray_local, or "
            "name its head with hydra.launcher.ray.init.address=HOST:6379 (where Ray asks for a token, also set "
            "RAY_AUTH_MODE=token)."
        )
    if '"srun"' in text:
        return (
            "this machine has no SLURM (srun, sbatch): start the grid on a login node, "
            "or take hydra/launcher=slurm_local."
        )
    if kind in DIED or "died" in text:
        return f"the process of a job was killed (by hand, or for want of memory; {kind})."
    return f"{kind}: {text[:300]}" if text else f"{kind}."


def _whole(value: Any) -> int | None:
    return max(1, int(value)) if value else None
