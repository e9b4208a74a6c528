"""SIGTERM, SIGHUP and Ctrl-C end every task alike; a second signal ends at once; none is swallowed."""

# ruff: noqa: F811
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import HydraException
from test_grid import Trainer, trainer  # noqa: F401

from seedsweep import signals
from seedsweep.cli import job
from seedsweep.cli.main import main


def raised(number: int) -> None:
    signal.raise_signal(number)
    time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_the_first_raises_and_the_next_ends_at_once(
    number: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    before = signal.getsignal(number)
    with signals.heard() as stop:
        assert not signals.asked()
        signals.check()
        with pytest.raises(signals.Stopped):
            raised(number)
        assert (signals.number(), stop.code) == (number, code)
        with pytest.raises(KeyboardInterrupt):
            signals.check()
        raised(number)
        assert not ended, "the same wish: a closing terminal sends SIGHUP twice"
        stop._since -= signals.TOGETHER
        raised(number)
        assert ended == [code]
    assert signal.getsignal(number) == before
    assert not signals.asked()


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with signals.heard():
            raised(signal.SIGHUP)
            assert not signals.asked()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_exception_lost_in_a_destructor_is_raised_again() -> None:
    class Falls:
        def __del__(self) -> None:
            raised(signal.SIGTERM)

    with signals.heard():
        Falls()
        with pytest.raises(signals.Stopped):
            time.sleep(10)


def test_a_fork_leaves_it_to_its_parent() -> None:
    with signals.heard():
        child = os.fork()
        if child == 0:
            code = 1
            try:
                raised(signal.SIGINT)
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0


def test_a_grid_begins_no_next_job(
    trainer: Trainer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trainer.act = lambda config: signal.raise_signal(signal.SIGTERM)
    assert main(["-m", "+experiment=scratch,frozen_bn", "hydra.sweep.dir=g"]) == 143
    assert len(trainer.calls) == 1
    out = capsys.readouterr().out
    assert "1 stopped on the way, 1 not begun" in out
    assert "resume=g" in out
    trainer.act = lambda config: None
    assert main(["resume=g"]) == 0
    assert len(trainer.calls) == 3


def test_what_a_library_makes_of_it_is_no_failure(
    trainer: Trainer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def converts(config: Any) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(1)
        except KeyboardInterrupt:
            raise RuntimeError("a process that reads images is gone") from None

    trainer.act = converts
    assert main(["-m", "+experiment=scratch,frozen_bn", "hydra.sweep.dir=g"]) == 143
    assert len(trainer.calls) == 1
    capsys.readouterr()
    assert main(["+experiment=scratch", "hydra.run.dir=r"]) == 143
    out, err = capsys.readouterr()
    assert "stopped; go on with: " in out
    assert "/r\n" in out.split("resume=")[1]
    assert "a defect" not in err
    assert not list(Path().rglob("failure.json")) + list(Path().rglob("error.log"))


@pytest.mark.parametrize("error", [HydraException("odd"), RuntimeError("odd")])
def test_what_a_launcher_makes_of_it_leaves_the_table(
    error: Exception, trainer: Trainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def converts(*_: Any) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise error from None

    monkeypatch.setattr(job, "_give_memory_back", converts)
    assert main(["-m", "+experiment=scratch,frozen_bn", "hydra.sweep.dir=g"]) == 143
    out = capsys.readouterr().out
    assert "resume=g" in out
    assert "1 not begun" in out


def test_a_grid_stopped_while_pytorch_is_imported_can_be_gone_on_with(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer.act = lambda config: signal.raise_signal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "seedsweep.cli.close_grid", None)  # its import raises ImportError
        assert main(["-m", "+experiment=scratch,frozen_bn", "hydra.sweep.dir=g"]) == 143
    said = capsys.readouterr()
    assert "go on with: " in said.out
    assert "resume=" in said.out
    assert "defect" not in said.out + said.err
    trainer.act = lambda config: None
    assert main(["resume=g"]) == 0


def test_the_handler_of_the_first_call_is_not_the_second_ones(trainer: Trainer) -> None:
    trainer.act = lambda config: signal.raise_signal(signal.SIGTERM)
    assert main(["+experiment=scratch", "hydra.run.dir=r"]) == 143
    trainer.act = lambda config: None
    assert main(["resume=r"]) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_in_the_first_second_there_is_no_traceback(number: int, tmp_path: Path) -> None:
    script = "import os, seedsweep.cli.main as cli; os.write(1, b'x'); raise SystemExit(cli.main())"
    command = [sys.executable, "-c", script, "+experiment=scratch", "trainer.max_epochs=1"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.read(1)
        time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(60) == 128 + number
        assert process.stderr.read() == b""
