"""Mutated command lines and YAML files: a sentence or a run, never a traceback, a hang or a defect."""

import contextlib
import io
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seedsweep.cli.config.override_values import kinds
from seedsweep.cli.main import main

LINES = (
    "+experiment=frozen_bn optim.lr=1e-4 head.width=256",
    "-m +experiment=scratch,frozen_bn seed=1,2",
    "-m +sweep=demo data.image_size=[96,96]",
    "+study=head +experiment=frozen_bn study.n_trials=3 study.name=s",
    "+study=head_wide study.space.lr.low=1e-6 sampler=grid",
    "task=diagnose diagnose.run=r data.root=d",
    "data.root=d backbone=vgg16 augment.shift=[0.1,0.2] trainer=quick",
    "-m seed=range(1,4) batchnorm=train,inference",
    "data.group_regex='^(a b)_' experiment.name=x hydra.run.dir=out/${seed}",
    "task=report report.dir=r",
    "storage=postgres storage.url=postgresql+psycopg://a:b@c/d +study=arms",
    "resume=r",
    "-m rung=glob(0*) seed=1",
)
VALUES = (
    "",
    "null",
    "true",
    "-1",
    "1e12",
    "inf",
    "nan",
    "[]",
    "[1",
    "{a:1}",
    "a,b",
    "${seed}",
    "${nope}",
    "${",
    "'",
    '"x',
    "???",
    "range(0,1e9)",
    "choice(1,2)",
    "glob(*)",
    "interval(0,1)",
    "..",
    "/",
    "é",
    "\0",
    "\n",
    "a=b",
    "~",
    "../x",
    "0x1f",
    "${oc.env:HOME}",
    "x" * 300,
    "1" * 5000,
    "((((",
    "shuffle(1,2)",
    "sort(3,1)",
    "\udc80",
    "[[1],[2]]",
    "~/x",
    "tag(a,1)",
)
GROUPS = ("experiment", "backbone", "data", "hydra/launcher", "hydra/sweeper", "study.space.lr", "x", "")
KEYS = (*sorted(kinds()), *GROUPS)
YAML = (
    "# @package _global_\ndefaults:\n  - override /head: linear\n  - _self_\nexperiment: {name: mine}\n"
    "optim: {lr: 1.0e-4}\ndata: {image_size: [96, 96], batch_size: 4}\n",
    "# @package _global_\ntask: study\nstudy:\n  name: mine\n  n_trials: 2\n  space:\n"
    "    lr: {key: optim.lr, low: 1.0e-5, high: 1.0e-3, log: true}\n    x: {key: head.width, choices: [1, 2]}\n",
)
PIECES = (
    "\t",
    "\n",
    "- a\n",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "!!int ",
    "!!python/name:os ",
    "'",
    '"',
    ": ",
    "null",
    "???",
    "${seed}",
    "${",
    "defaults: x\n",
    "  - ",
    "1e999",
    "\0",
    "é",
    "---\n",
    "...",
    "%YAML 9\n",
    "? ",
    "<<: ",
    "# @package a.b\n",
    "| ",
    "> ",
)
FEW = settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
MANY = settings(FEW, max_examples=500)


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    words = draw(st.sampled_from(LINES)).split(" ")
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.integers(0, len(words) - 1))
        word = words[place]
        kind = draw(st.sampled_from(("value", "key", "char", "drop", "cut", "add", "prefix")))
        if kind == "value":
            words[place] = f"{word.partition('=')[0]}={draw(st.sampled_from(VALUES))}"
        elif kind == "key":
            words[place] = f"{draw(st.sampled_from(KEYS))}={word.partition('=')[2]}"
        elif kind == "char":
            at = draw(st.integers(0, len(word)))
            words[place] = word[:at] + draw(st.sampled_from("=,'\"[]{}()$~+@:./\\ é\t#%!-_0")) + word[at:]
        elif kind == "drop":
            at = draw(st.integers(0, len(word) - 1)) if word else 0
            words[place] = word[:at] + word[at + 1 :]
        elif kind == "cut":
            words[place] = word[: draw(st.integers(0, len(word)))]
        elif kind == "add":
            words.insert(place, f"{draw(st.sampled_from(KEYS))}={draw(st.sampled_from(VALUES))}")
        else:
            words[place] = draw(st.sampled_from(("+", "++", "~", "-", "--"))) + word
    return words


@st.composite
def files(draw: st.DrawFn) -> bytes:
    text = draw(st.sampled_from(YAML))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 6))
        text = text[:at] + draw(st.sampled_from(("", *PIECES))) + text[at + cut :]
    content = bytearray(text.encode())
    if draw(st.integers(0, 9)) == 0:
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is trained, and launchers of other processes start nothing."""

    def nothing(config: Any, folder: Path, **_: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "d" / "x").mkdir(parents=True)
    for task in ("train", "study", "diagnose", "report", "predict", "export", "cache", "dashboard", "proxy"):
        monkeypatch.setattr(f"seedsweep.cli.tasks.{task}.run", nothing)
    monkeypatch.setattr("seedsweep.cli.running._closed", lambda *_: 0)
    plugins = "hydra_plugins"
    for launcher in (
        f"{plugins}.hydra_joblib_launcher.joblib_launcher.JoblibLauncher.launch",
        f"{plugins}.hydra_submitit_launcher.submitit_launcher.BaseSubmititLauncher.launch",
    ):
        with contextlib.suppress(ImportError, AttributeError):
            monkeypatch.setattr(launcher, lambda *_, **__: [])
    return tmp_path


@contextlib.contextmanager
def at_most(seconds: float, words: list[str]) -> Iterator[None]:
    """Fails where the time by the clock is up: a command that waits for ever takes no CPU time."""

    def fail(*_: object) -> None:
        pytest.fail(f"not ended after {seconds} s: {words}")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def survive(words: list[str]) -> None:
    said = io.StringIO()
    began = time.process_time()
    with at_most(120, words), contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(words)
    text = said.getvalue()
    assert code in (0, 1, 2), (code, words, text)
    assert "Traceback" not in text, (words, text)
    assert code != 2 or text.strip().count("\n") == 0 or "\nseedsweep: " in text, (words, text)
    assert time.process_time() - began < 20, words
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2 * 2**20, words  # KiB


def lays(content: bytes) -> list[str]:
    group = "study" if b"space" in content else "experiment"
    folder = Path("mine") / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.yaml").write_bytes(content)
    return ["--config-dir", "mine", f"+{group}=mine"]


@FEW
@given(command_lines())
def test_mutated_command_lines(place: Path, words: list[str]):
    survive(words)


def test_a_command_that_hangs_is_noticed():
    with pytest.raises(pytest.fail.Exception, match="not ended"), at_most(0.1, []):
        time.sleep(5)


@FEW
@given(files())
def test_mutated_files(place: Path, content: bytes):
    survive(lays(content))


@pytest.mark.parametrize("part", ["sweeper", "launcher", "callbacks", "run", "job"])
def test_parts_of_hydra_are_no_values(place: Path, part: str):
    for value in ("", "x", "null"):
        for grid in ([], ["-m", "seed=1,2"]):
            survive([*grid, f"hydra.{part}={value}"])


@pytest.mark.slow
@MANY
@given(command_lines())
def test_many_mutated_command_lines(place: Path, words: list[str]):
    survive(words)


@pytest.mark.slow
@MANY
@given(files())
def test_many_mutated_files(place: Path, content: bytes):
    survive(lays(content))
