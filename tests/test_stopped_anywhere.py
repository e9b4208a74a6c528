"""Ctrl-C at any line of a run: never swallowed, and the resumed run equals the undisturbed one."""

import json
import random
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import seedsweep
from seedsweep.cli.main import main
from seedsweep.runs.jobs import is_finished
from seedsweep.training.recorder import Recorder

PACKAGE = str(Path(seedsweep.__file__).parent)
WATCHED = tuple(f"{PACKAGE}/{name}" for name in ("training/", "sweep/job.py", "tasks/train.py", "whole.py"))
ROUTES = {
    "stored": ["features.engine=torch"],
    "online": ["features=off", "trainer.probe_images=8"],
}
RUN = [
    "+experiment=frozen_bn", "backbone=timm", "backbone.name=test_resnet", "backbone.weights=none",
    "data.image_size=[32,32]", "data.demo.n_images=70",
    "trainer.max_epochs=2", "report.write=false", "trainer.accelerator=cpu",
]  # fmt: skip


class Lines:
    """Counts the lines that a run executes, and presses Ctrl-C at one of them.

    Args:
        at: that line's number; 0: never.
    """

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self.n = 0
        self.place = ""

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(WATCHED):
            return None
        if event == "line":
            self.n += 1
            if self.n == self.at:
                self.place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                signal.raise_signal(signal.SIGINT)
        return self


@contextmanager
def traced(lines: Lines) -> Iterator[None]:
    before = sys.gettrace()
    sys.settrace(lines)
    try:
        yield
    finally:
        sys.settrace(before)


def run(folder: str, route: str) -> int:
    return main([*RUN, *ROUTES[route], f"hydra.run.dir={folder}"])


def results(folder: str) -> tuple[Any, ...]:
    """Returns what must be equal: no times, no paths."""
    metrics = json.loads((Path(folder) / "metrics.json").read_text())
    history = [
        re.sub(r",[^,]*$", "", line) for line in (Path(folder) / "history.csv").read_text().splitlines()
    ]
    scores = {key: metrics[key] for key in ("status", "epochs", "best_epoch", "train", "val", "test")}
    return scores, history, (Path(folder) / "predictions.csv").read_text()


def press_at(n: int, route: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Presses Ctrl-C at the n-th line, goes on, and compares; returns the line."""
    folder = f"{route}_{n}"
    lines = Lines(n)
    with traced(lines):
        code = run(folder, route)
    out = capsys.readouterr()
    if code != 0:
        assert code == 130, lines.place
        assert "Traceback" not in out.out + out.err, lines.place
        if not (Path(folder) / ".hydra/hydra.yaml").is_file():  # nothing was begun
            assert run(folder, route) == 0, lines.place
            return ""
        said = (
            "the run itself is finished" if is_finished(Path(folder)) else f"resume={Path(folder).absolute()}"
        )
        assert said in out.out, lines.place
        assert main([f"resume={folder}"]) == 0, lines.place
    else:
        assert results(folder)[0]["status"] == "finished", lines.place
    assert results(folder) == results(f"{route}_whole"), lines.place
    return lines.place if code == 0 else ""


def whole(route: str) -> int:
    """Runs undisturbed; returns how many lines that takes."""
    lines = Lines()
    with traced(lines):
        assert run(f"{route}_whole", route) == 0
    return lines.n


def test_between_the_first_row_and_its_checkpoint(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = Recorder.record

    def pressed(self: Recorder, *arguments: Any) -> None:
        record(self, *arguments)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "record", pressed)
        assert run("pressed", "online") == 130
    assert f"resume={in_tmp / 'pressed'}" in capsys.readouterr().out
    assert main(["resume=pressed"]) == 0
    assert run("whole", "online") == 0
    assert results("pressed") == results("whole")


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES)
def test_at_many_lines(route: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    n = whole(route)
    for at in random.Random(21).sample(range(1, n + 1), 30):
        assert not press_at(at, route, capsys)
