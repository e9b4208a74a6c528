"""A terminal, pipe or file that takes nothing ends nothing, and is told of nothing."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seedsweep import streams

LOUD = """
import logging, sys
from rich.console import Console
from seedsweep import streams
streams.LONGEST_WAIT = 0.2
streams.protect()
logging.basicConfig(level="INFO", stream=sys.stdout)
sys.stdout.write("first\\n"); sys.stdout.flush()
sys.stdin.read(1)
for n in range({lines}):
    print("a line", n, flush=True)
    logging.info("logged %d", n)
    print("an error", n, file=sys.stderr)
    Console().print("rich", n)
open("done.txt", "w").write("done")
sys.exit(7)
"""


def loud(folder: Path, lines: int = 20, redirect: str = "") -> "subprocess.Popen[bytes]":
    script = folder / "loud.py"
    script.write_text(LOUD.format(lines=lines))
    return subprocess.Popen(
        ["bash", "-c", f"exec {sys.executable} loud.py {redirect}"],
        cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    process = loud(tmp_path)
    assert process.stdout
    assert process.stdin
    assert process.stderr
    assert process.stdout.readline() == b"first\n"
    process.stdout.close()
    process.stdin.write(b"x")
    process.stdin.close()
    errors = process.stderr.read().decode()
    assert process.wait(60) == 7
    assert [line for line in errors.splitlines() if "an error" not in line] == []
    assert (tmp_path / "done.txt").is_file()


@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&-", "> /dev/full", "> /dev/full 2>&1"])
def test_a_closed_or_full_stream(redirect: str, tmp_path: Path) -> None:
    process = loud(tmp_path, redirect=redirect)
    _, errors = process.communicate(b"x", timeout=60)
    assert process.returncode == 7
    assert b"Traceback" not in errors
    assert (tmp_path / "done.txt").read_text() == "done", "nothing that was printed got into it"


def test_a_letter_that_the_terminal_has_not_costs_no_line() -> None:
    code = "import sys; from seedsweep import streams; streams.protect(); print('\\udce9 ≈ x')"
    env = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    assert done.stdout.split() == [rb"\udce9", rb"\u2248", b"x"]
    assert done.stderr == b""


def test_a_reader_that_takes_nothing(tmp_path: Path) -> None:
    process = loud(tmp_path, lines=3_000)
    assert process.stdin
    process.stdin.write(b"x")
    process.stdin.close()
    assert process.wait(60) == 7, "what does not fit is left out"
    assert process.stdout
    assert process.stderr
    assert process.stdout.read().startswith(b"first\na line 0\n")
    process.stderr.close()


def test_a_terminal_that_goes_away(tmp_path: Path) -> None:
    master, slave = os.openpty()
    script = LOUD.format(lines=20)
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, stdin=subprocess.PIPE, stdout=slave, stderr=slave
    )
    os.close(slave)
    assert os.read(master, 100).startswith(b"first")
    os.close(master)
    process.communicate(b"x", timeout=60)
    assert process.returncode == 7
    assert (tmp_path / "done.txt").is_file()


def test_streams_of_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = (sys.stdout, sys.stderr)
    monkeypatch.setattr("logging.raiseExceptions", True)
    streams.protect()
    assert (sys.stdout, sys.stderr) == ours


def test_the_run_goes_on_where_head_has_gone(tmp_path: Path) -> None:
    started = time.monotonic()
    line = f"{sys.executable} -m seedsweep --help | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=tmp_path, capture_output=True, timeout=100
    )
    assert done.returncode == 0, time.monotonic() - started
    assert done.stderr == b""


def test_a_signal_has_nothing_printed_twice() -> None:
    out, into = os.pipe()
    raw = streams._Protected(into, "stdout")
    stream = io.TextIOWrapper(io.BufferedWriter(raw), write_through=True)

    long = "a" * streams.PIECE + "b"
    calls = []

    def second_fails() -> bool:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return True

    raw._takes = second_fails  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        print(long, end="", file=stream, flush=True)
    stream.flush()
    os.close(into)
    assert os.read(out, 10_000).decode() == long
    os.close(out)
    raw._gone = True
