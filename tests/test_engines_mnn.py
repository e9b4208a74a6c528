"""MNN's engine: how exact it is, what it refuses, and by which exporter a net gets there."""

import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from test_engines import CPU, photos, worst
from torch import Tensor, nn

from seedsweep.config.schema import FeaturesConfig
from seedsweep.engines import mnn_engine, select
from seedsweep.errors import SeedsweepError

pytestmark = pytest.mark.skipif(not mnn_engine.available(), reason="needs MNN")


def test_mnn_takes_small_tiles_where_large_ones_round_too_much(monkeypatch: pytest.MonkeyPatch):
    layers = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1)).eval()
    size = (3, 36, 36)
    images = photos(3, size)
    with torch.no_grad():
        truth = layers(images.float()).flatten(1)
    errors = {}
    for allowed in (1.0, 0.0):
        monkeypatch.setattr(mnn_engine, "ROUNDING", allowed)
        errors[allowed] = worst(mnn_engine.MnnEngine(layers, size)(images).flatten(1), truth)
    assert errors[0.0] < errors[1.0] < 1e-4
    monkeypatch.setattr(mnn_engine, "BROKEN", 0.0)
    for here, other in ((True, "openvino"), (False, "torch")):
        monkeypatch.setattr(select._engines()["openvino"], "available", lambda here=here: here)
        with pytest.raises(
            SeedsweepError, match=rf"would be .* from PyTorch's.*; take features.engine={other}"
        ):
            select.build_engine(layers, size, FeaturesConfig(engine="mnn"), CPU)


@pytest.mark.parametrize(("value", "fine"), [(float("nan"), False), (0.0, True)])
def test_mnn_is_refused_where_it_answers_nothing(value: float, fine: bool, monkeypatch: pytest.MonkeyPatch):
    conv = nn.Conv2d(3, 4, 3).eval()
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # all features are 0: no difference may be divided by that
    session = mnn_engine._Session.__call__
    monkeypatch.setattr(mnn_engine._Session, "__call__", lambda self, pixels: session(self, pixels) + value)
    build = lambda: select.build_engine(conv, (3, 8, 8), FeaturesConfig(engine="mnn"), CPU)  # noqa: E731
    if fine:
        build()
        return
    with pytest.raises(SeedsweepError, match="from PyTorch's"):
        build()


def test_mnn_says_what_its_converter_says(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setattr(mnn_engine, "CONVERT", "raise SystemExit('no such operator')")
    layers = nn.Sequential(nn.Conv2d(3, 4, 3)).eval()
    with pytest.raises(SeedsweepError, match="MNN's converter: no such operator"):
        select.build_engine(layers, (3, 8, 8), FeaturesConfig(engine="mnn"), CPU)
    monkeypatch.undo()
    select.build_engine(layers, (3, 8, 8), FeaturesConfig(engine="mnn"), CPU)
    mnn_engine._flush_c()  # what waits in C's buffer would come out at the end of the process
    assert capfd.readouterr().out == "", "MNN's greetings are kept from standard output"
    assert "MNN.tools" not in sys.modules, "it would call its makers"


def test_an_interrupted_conversion_leaves_no_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Interrupted(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise KeyboardInterrupt

    monkeypatch.setattr(mnn_engine, "CONVERT", "import time; time.sleep(600)")
    monkeypatch.setattr(mnn_engine, "_write_onnx", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        mnn_engine._convert(Interrupted(), (3, 8, 8), tmp_path, torch.zeros(2, 3, 8, 8))
    left = [" ".join(child.cmdline()) for child in psutil.Process().children()]
    assert not [command for command in left if "sleep(600)" in command]


def test_what_the_older_exporter_cannot_the_newer_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    export, asked = torch.onnx.export, []

    def without_the_older(*args: Any, **named: Any) -> Any:
        asked.append(named["dynamo"])
        if not named["dynamo"]:
            raise RuntimeError("it is gone")
        return export(*args, **named)

    monkeypatch.setattr(torch.onnx, "export", without_the_older)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    images = photos(3, (3, 8, 8))
    with torch.no_grad():
        truth = layers(images.float()).flatten(1)
    assert worst(mnn_engine.MnnEngine(layers, (3, 8, 8))(images).flatten(1), truth) < 1e-4
    assert asked == [False, True]


class Turning(nn.Module):
    """Answers white images in another way than those that an engine is tried with."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if x.mean() > 250 else -self.conv(x)


def test_a_net_whose_way_depends_on_the_values_is_refused() -> None:
    with pytest.raises(SeedsweepError, match=r"features.engine=mnn can't run this net"):
        select.build_engine(Turning().eval(), (3, 8, 8), FeaturesConfig(engine="mnn"), CPU)
