"""``python -m seedsweep`` and ``seedsweep``: one run, a grid, or what was interrupted."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from seedsweep import disk, signals, streams
from seedsweep.errors import USER_ERROR, DivergedError, GridEnd, SeedsweepError

OK, SOME_FAILED, DEFECT = 0, 1, 3
HELP = ("--help", "-h")
COMPLETION = ("--shell-completion", "-sc")
ONLY_HYDRA = ("--hydra-help", *COMPLETION)  # nothing is composed that could be checked


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: arguments without the program's name; default: the process's.

    Returns:
        0, 1 (some jobs of a grid failed, or training diverged), 2 (the user can mend it), 3 (a defect), 130 (Ctrl-C),
        143 (SIGTERM), 129 (SIGHUP).
    """
    of_process = argv is None
    with signals.heard(to_the_end=of_process) as stop:
        try:
            if of_process:
                streams.keep()
            return _main(list(sys.argv[1:] if argv is None else argv))
        except SeedsweepError as error:
            if stop.number:
                return stop.code
            lines = str(error).splitlines()
            print(f"seedsweep: {' '.join(line.strip() for line in lines)}", file=sys.stderr)
            return SOME_FAILED if isinstance(error, DivergedError) else USER_ERROR
        except KeyboardInterrupt:
            return stop.code
        except Exception as error:
            if stop.number:  # what a library made of the interruption
                return stop.code
            if not isinstance(error, OSError) or error.filename is None:
                raise
            told = disk.sentence(error, {}) or f"{error.filename}: {error.strerror}."
            print(f"seedsweep: {told}", file=sys.stderr)
            return USER_ERROR


def _main(args: list[str]) -> int:
    if any(arg in HELP for arg in args):
        from seedsweep.cli.help import print_help

        print_help(args)
        return OK
    if "--version" in args:
        from seedsweep.runs.versions import versions

        ours, *others = (f"{name} {number}" for name, number in sorted(versions().items(), key=_ours_first))
        print(f"{ours} ({', '.join(others)})")
        return OK
    from seedsweep.config.hydra_setup import register_schema

    register_schema()
    if any(arg.split("=")[0] in ONLY_HYDRA for arg in args):
        return _only_hydra(args)
    return _run(args)


def _ours_first(version: tuple[str, str]) -> bool:
    return version[0] != "seedsweep"


def _run(args: list[str]) -> int:
    """Checks, hands over to Hydra, and closes a grid with its table."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from seedsweep.cli import job
    from seedsweep.cli.arguments import arrange, parse
    from seedsweep.cli.launched import quiet
    from seedsweep.cli.launchers import why_stopped
    from seedsweep.cli.preflight import check
    from seedsweep.cli.resume import expand_resume
    from seedsweep.cli.sentences import sentence
    from seedsweep.runs.command import command, shown
    from seedsweep.runs.grid_folder import has_jobs, has_tasks
    from seedsweep.runs.job_record import write_error_log

    args = arrange(expand_resume(arrange(args)))
    parsed = parse(args)
    grid = check(parsed)
    quiet()
    state = job.reset()
    interrupted, stopped = False, None
    try:
        _hydra(args)
    except (HydraException, OmegaConfBaseException) as error:  # what the preflight could not know
        if not signals.asked():
            raise SeedsweepError(sentence(error, parsed.overrides)) from error
        interrupted = True
    except GridEnd as end:
        if state.sweep_dir is not None:
            print(f"go on      {command(f'resume={shown(state.sweep_dir)}')}", flush=True)
        raise SeedsweepError(str(end)) from end
    except KeyboardInterrupt:
        interrupted = True
    except Exception as error:  # of a launcher, or of Hydra's own files: the jobs catch their own
        if signals.asked():
            interrupted = True
        elif told := disk.sentence(error, state.places):
            raise SeedsweepError(told) from error
        elif isinstance(error, OSError) and error.filename is not None:
            stopped = f"{error.filename}: {error.strerror}."
        elif not grid:
            raise
        else:
            stopped = why_stopped(error)
            if has_jobs(state.sweep_dir):
                write_error_log(state.sweep_dir)
    if interrupted and state.sweep_dir is None:
        raise KeyboardInterrupt
    interrupted = interrupted or signals.asked()
    if stopped and not (grid and has_jobs(state.sweep_dir)):
        raise SeedsweepError(stopped)
    if grid:
        of_runs = state.task == "train" and not has_tasks(state.sweep_dir)
        code = _close_grid(state.sweep_dir, of_runs, interrupted, stopped)
        if state.report and of_runs and code in (OK, SOME_FAILED):
            _report(state.sweep_dir)
        return code
    if state.error is not None:
        raise state.error
    if state.defect is not None:
        reason, path = state.defect
        print(f"seedsweep: a defect of ours ({reason}); the details are in {path}.", file=sys.stderr)
        return DEFECT
    return OK


def _close_grid(folder: object, of_runs: bool, interrupted: bool, stopped: str | None) -> int:
    from pathlib import Path

    from seedsweep.runs.job_record import reason_of, write_error_log

    if not isinstance(folder, Path):
        print("seedsweep: the grid did not say where its jobs are, so there is no table.", file=sys.stderr)
        return DEFECT
    try:
        if of_runs:
            from seedsweep.cli.finish_grid import finish_grid as finish
        else:
            from seedsweep.cli.finish_tasks import finish_tasks as finish
        failed = finish(folder, interrupted=interrupted, stopped=stopped)
    except Exception as error:
        if told := disk.sentence(error, {"hydra.sweep.dir": folder}):
            raise SeedsweepError(told) from error
        path = write_error_log(folder)
        print(
            f"seedsweep: the jobs are done, but their table failed ({reason_of(error)}); see {path}.",
            file=sys.stderr,
        )
        return DEFECT
    if interrupted:  # the table is of the jobs so far
        raise KeyboardInterrupt
    return SOME_FAILED if failed else OK


def _report(folder: object) -> None:
    """Writes a grid's report and says where it is."""
    from pathlib import Path

    from seedsweep.report.write_report import write_at_end
    from seedsweep.runs.command import shown

    if isinstance(folder, Path) and (path := write_at_end(folder)):
        print(f"report     {shown(path)}", flush=True)


def _only_hydra(args: list[str]) -> int:
    completing = any(arg.split("=")[0] in COMPLETION for arg in args)
    try:
        _hydra(args)
    except Exception:
        if not completing:
            raise
        return SOME_FAILED  # a half-typed line: no word in the midst of the user's typing
    return OK


def _hydra(args: list[str]) -> None:
    import hydra

    from seedsweep.cli import job
    from seedsweep.names import conf_dir

    with _environment(args):
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job.run)()


@contextmanager
def _environment(args: list[str]) -> Iterator[None]:
    """Gives Hydra our arguments, and asks it for exceptions instead of texts and sys.exit."""
    before, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["seedsweep", *args]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = before
        os.environ.pop("HYDRA_FULL_ERROR")
        if full is not None:
            os.environ["HYDRA_FULL_ERROR"] = full
