"""Shared by all tests: no test may write outside its own folder."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from absl import logging as absl_logging
from composed_once import remember
from matplotlib.figure import Figure

from seedsweep.session import Session

# OpenVINO loads absl, whose log handler closes the stderr it was loaded with (here pytest's) once Hydra sets up logging
absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__
os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes test at once; read when torch is loaded
gc.set_threshold(
    50_000, 20, 20
)  # compositions make many small objects: collected as seldom, a tenth less time


@pytest.fixture(autouse=True, scope="session")
def _compositions() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        remember(patch)
        yield


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One demo cache for the session, so that photographs are drawn once."""
    patch = pytest.MonkeyPatch()
    patch.setenv("SEEDSWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs the test from an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True, scope="session")
def _no_fsync() -> Iterator[None]:
    """A killed process loses nothing that it wrote: to wait for the disk is a seventh of a study's time here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True, scope="module")
def _one_session(request: pytest.FixtureRequest) -> Iterator[None]:
    """The runs of a module's tests share the last net, as the jobs of a grid do: to build it takes .2 s."""
    held: dict[type, object] = {}
    with pytest.MonkeyPatch.context() as patch:
        if request.module.__name__ != "test_study_processes":  # what was held can't go into another process
            patch.setattr(Session, "__init__", lambda session: setattr(session, "_held", held))
        yield


@pytest.fixture(autouse=True, scope="session")
def _memory_stays() -> Iterator[None]:
    """No garbage is collected after each job of a grid: to look through a test process's objects takes .15 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seedsweep.cli.job._give_memory_back", lambda: None)
        yield


@pytest.fixture(autouse=True, scope="module")
def _no_forecast(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing is measured before a grid or study but where that is what is tested: it takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        if request.module.__name__ != "test_forecast":
            patch.setattr("seedsweep.cli.running.measure_grid", lambda *_: None)
            patch.setattr("seedsweep.cli.study_forecast.measure_study", lambda *_, **__: None)
        yield


WITH_ENGINES = ("test_engines", "test_features", "test_prefix", "test_deploy", "test_public_features")


@pytest.fixture(autouse=True, scope="module")
def _engine(request: pytest.FixtureRequest) -> Iterator[None]:
    """PyTorch computes features unless engines are what is tested: the others convert each net for seconds."""
    with pytest.MonkeyPatch.context() as patch:
        if request.module.__name__ not in WITH_ENGINES:
            patch.setattr("seedsweep.features.openvino_engine.available", lambda: False)
        yield


COMMAND_LINE = ("test_cli", "test_text_settings", "test_typed_first", "test_yaml_files", "test_cli_fuzz")


@pytest.fixture(autouse=True)
def _no_report(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Grids with a stub in the place of training need no page about it; their reports have tests."""
    if request.module.__name__ in ("test_grid", "test_launchers", *COMMAND_LINE):
        monkeypatch.setattr("seedsweep.report.write_report.write_at_end", lambda *_, **__: None)
    if request.module.__name__ in ("test_grid", *COMMAND_LINE) and "table" not in request.node.name:
        monkeypatch.setattr("seedsweep.cli.close_grid.draw_comparison", lambda *_: None)


@pytest.fixture(autouse=True, scope="module")
def _few_pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Pictures take a run of a test half its time: most modules go without."""
    with pytest.MonkeyPatch.context() as patch:
        if request.module.__name__ not in ("test_reporting", "test_training"):
            without_pictures(patch)
        yield


@pytest.fixture(autouse=True)
def _no_pictures_but_of_fixtures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the run that is the module's fixture draws them, and one that ends after its first epoch."""
    if request.module.__name__ == "test_training" and "ctrl_c" not in request.node.name:
        without_pictures(monkeypatch)


@pytest.fixture(autouse=True, scope="module")
def _quick_pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Pictures are drawn small and without a layout, which takes half their time, but where they are what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        if request.module.__name__ not in ("test_reporting", "test_training", "test_study_pictures"):
            patch.setattr("seedsweep.drawing.DOTS", 40)
            patch.setattr("seedsweep.drawing.Figure", _without_layout)
        yield


@pytest.fixture
def full_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws pictures as users see them."""
    monkeypatch.setattr("seedsweep.drawing.DOTS", 120)
    monkeypatch.setattr("seedsweep.drawing.Figure", Figure)


def _without_layout(**options: Any) -> Figure:
    return Figure(**options | {"layout": None})


def without_pictures(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("seedsweep.report.run_pictures.draw_run", lambda _: {})
