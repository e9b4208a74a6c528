"""Shared by all tests: no test may write outside its own folder."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from absl import logging as absl_logging
from composed_once import remember

# OpenVINO loads absl, whose log handler closes the stderr it was loaded with (here pytest's) once Hydra sets up logging
absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__
os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes test at once; read when torch is loaded


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


@pytest.fixture(autouse=True)
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch computes features unless engines are what is tested: the others convert each net for seconds."""
    if request.module.__name__ not in ("test_engines", "test_features", "test_prefix", "test_deploy"):
        monkeypatch.setattr("seedsweep.engines.openvino_engine.available", lambda: False)
        monkeypatch.setattr("seedsweep.engines.mnn_engine.available", lambda: False)


@pytest.fixture(autouse=True)
def _no_report(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Grids and studies with a stub in the place of training need no page about it; their reports have tests."""
    if request.module.__name__ in (
        "test_grid",
        "test_launchers",
        "test_cli",
        "test_study",
        "test_study_company",
    ):
        monkeypatch.setattr("seedsweep.report.write.write_at_end", lambda *_, **__: None)


@pytest.fixture(autouse=True)
def _few_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard's pictures take a run of a test half its time: most go without."""
    module, name = request.module.__name__, request.node.name
    if module == "test_reporting":  # which reads them back
        return
    board = "seedsweep.tracking.tensorboard.RunTensorBoard"
    if "graph" not in name:
        monkeypatch.setattr(f"{board}.graph", lambda *_: None)
    if module != "test_report" and not name.startswith("test_every_experiment_runs"):
        for picture in ("mistakes", "confusion"):
            monkeypatch.setattr(f"{board}.{picture}", lambda *_, **__: None)
