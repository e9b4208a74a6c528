"""``python -m seedsweep`` and ``seedsweep``: one run, a grid, or what was interrupted."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence

from seedsweep import cores, disk, signals, streams
from seedsweep.errors import USER_ERROR, DivergedError, SeedsweepError

OK, SOME_FAILED, DEFECT = 0, 1, 3
HELP = ("--help", "-h")
COMPLETION = ("--shell-completion", "-sc")
ONLY_HYDRA = ("--hydra-help", *COMPLETION)  # nothing is composed that could be checked


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: arguments without the program's name; default: the process's.

    Returns:
        0, 1 (some jobs of a grid failed, or training diverged), 2 (the user can fix it), 3 (a defect), 130 (Ctrl-C),
        143 (SIGTERM), 129 (SIGHUP).
    """
    of_process = argv is None
    with signals.heard(to_the_end=of_process) as stop:
        try:
            if of_process:
                streams.protect()
                cores.wait_asleep()
            return _main(list(sys.argv[1:] if argv is None else argv))
        except KeyboardInterrupt:
            return stop.code
        except Exception as error:
            if stop.number:  # what a library made of the interruption
                return stop.code
            if isinstance(error, SeedsweepError):
                text = str(error)
            elif isinstance(error, OSError) and error.filename is not None:
                text = disk.sentence(error, {}) or f"{error.filename}: {error.strerror}."
            elif of_process:
                return _say_defect(error)
            else:
                raise
            lines = (line.strip() for line in text.splitlines())
            print(f"seedsweep: {' '.join(lines)}", file=sys.stderr)
            return SOME_FAILED if isinstance(error, DivergedError) else USER_ERROR


def _say_defect(error: Exception) -> int:
    """Writes the traceback of an error that no folder is there for into a file of its own."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="seedsweep-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
    ) as file:
        traceback.print_exception(error, file=file)
    text = f"a defect of ours ({type(error).__name__}: {error}); the details are in {file.name}."
    print(f"seedsweep: {' '.join(text.split())}", file=sys.stderr)
    return DEFECT


def _main(args: list[str]) -> int:
    if any(arg in HELP for arg in args):
        from seedsweep.cli.help import print_help

        print_help(args)
        return OK
    if "--version" in args:
        from seedsweep.runs.record import versions

        numbers = versions()
        others = ", ".join(f"{name} {numbers[name]}" for name in numbers if name != "seedsweep")
        print(f"seedsweep {numbers['seedsweep']} ({others})")
        return OK
    from seedsweep.cli.config.hydra_setup import register_schema

    register_schema()
    if any(arg.split("=")[0] in ONLY_HYDRA for arg in args):
        try:
            _let_hydra(args)
        except Exception:
            if not any(arg.split("=")[0] in COMPLETION for arg in args):
                raise
            return SOME_FAILED  # a half-typed line: no word in the midst of the user's typing
        return OK
    return run_line(args)


def run_line(args: list[str]) -> int:
    """Checks what a command line asks for, and does it; returns its exit status."""
    from seedsweep.cli import running
    from seedsweep.cli.arguments import interpret, parse
    from seedsweep.cli.composing import composing
    from seedsweep.cli.job import DefectError
    from seedsweep.cli.launchers import quiet
    from seedsweep.cli.preflight import check

    args = interpret(args)
    parsed = parse(args)
    with composing(parsed) as compose:
        checked = check(parsed, compose)
        if not (parsed.cfg or parsed.info):
            quiet()
            try:
                if checked.config is None:
                    return SOME_FAILED if running.grid(checked.composed, compose) else OK
                running.single(checked.composed)
            except DefectError as error:
                print(f"seedsweep: {error}", file=sys.stderr)
                return DEFECT
            return OK
    _let_hydra(args)
    return OK


def _let_hydra(args: list[str]) -> None:
    """Lets Hydra's own command line print a configuration, its help, or a completion."""
    import hydra

    from seedsweep.names import conf_dir

    def no_task(_: object) -> None:
        """Is never called: nothing is run."""

    before, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["seedsweep", *args]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions in the place of texts and sys.exit
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(no_task)()
    finally:
        sys.argv = before
        os.environ.pop("HYDRA_FULL_ERROR")
        if full is not None:
            os.environ["HYDRA_FULL_ERROR"] = full
