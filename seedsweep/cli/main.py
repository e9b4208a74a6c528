"""``python -m seedsweep`` and ``seedsweep``: one run, a grid, or what was interrupted."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence

from seedsweep.config.location import conf_dir
from seedsweep.config.store import register_schema
from seedsweep.errors import SeedsweepError

OK, SOME_FAILED, USER_ERROR, DEFECT, INTERRUPTED = 0, 1, 2, 3, 130
GROUPS_TO_APPEND = ("experiment=", "sweep=")  # not in conf/config.yaml's defaults, so Hydra wants a +
HYDRAS_OWN = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--version", "--shell-completion", "-sc")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: arguments without the program's name; default: the process's.

    Returns:
        0, 1 (some jobs of a grid failed), 2 (the user can mend it), 3 (a defect), 130 (Ctrl-C).
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if "--help" in args or "-h" in args:
        from seedsweep.cli.help import print_help

        print_help(args)
        return OK
    args = [
        f"+{arg}" if arg.startswith(GROUPS_TO_APPEND) and "." not in arg.split("=")[0] else arg
        for arg in args
    ]
    register_schema()
    try:
        if not any(arg.split("=")[0] in HYDRAS_OWN for arg in args):
            from seedsweep.cli.preflight import check
            from seedsweep.cli.resume import expand_resume

            args = expand_resume(args)
            check(args)
        return _run(args)
    except SeedsweepError as error:
        print(f"seedsweep: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(args: list[str]) -> int:
    """Hands over to Hydra, and closes a grid with its table."""
    import hydra

    from seedsweep.sweep import job

    _quiet()
    job.reset()
    before = sys.argv
    sys.argv = ["seedsweep", *args]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job.run)()
    except KeyboardInterrupt:
        if job.sweep_dir() is None:
            raise
    finally:
        sys.argv = before
    if (folder := job.sweep_dir()) is not None:
        from seedsweep.sweep.finish import finish_grid

        failed = finish_grid(folder, interrupted=job.interrupted())
        return INTERRUPTED if job.interrupted() else SOME_FAILED if failed else OK
    if (error := job.error()) is not None:
        raise error
    return OK if job.defect() is None else DEFECT


def _quiet() -> None:
    """Drops other libraries' notes that a user can do nothing about."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*Checkpoint directory.*")
    for name in ("pytorch_lightning", "huggingface_hub", "matplotlib", "PIL", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
