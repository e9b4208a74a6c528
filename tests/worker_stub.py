"""A study whose workers do one thing, in the place of their work."""

import multiprocessing
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch

from seedsweep.errors import SeedsweepError
from seedsweep.study import processes
from seedsweep.study.plan import Plan


@dataclass
class Stub(Plan):
    """A plan.

    Attributes:
        act: what a worker does.
    """

    act: str = ""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrives in a worker."""
        self.__dict__.update(state)
        processes.join_study = serve  # type: ignore[assignment]


def serve(plan: Stub) -> None:
    """Does what the plan says."""
    if plan.act == "refuse":
        raise SeedsweepError("the images can't be used.")
    if plan.act == "write":
        (plan.folder / "full" / "x").write_bytes(bytes(2**22))
    if plan.act == "break":
        raise ZeroDivisionError("a defect")
    told = {
        "folder": os.getcwd(), "variable": os.environ.get("TOLD"), "threads": torch.get_num_threads(),
        "omp": os.environ["OMP_NUM_THREADS"], "start": multiprocessing.get_start_method(),
        "own_session": os.getsid(0) == os.getpid(), "job": plan.study.job,
        "asked": getattr(sys.modules.get("counted"), "asked", None),
        "server_threads": len(os.listdir(f"/proc/{os.getppid()}/task")),
        "preloaded": "seedsweep.training.run" in sys.modules,
    }  # fmt: skip
    (plan.folder / "told.txt").write_text(repr(told))
    if plan.act == "wait":
        time.sleep(600)
