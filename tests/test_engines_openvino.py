"""OpenVINO beside the rest of the process."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from seedsweep.features import openvino_engine
from seedsweep.models import timm_model
from seedsweep.models.classifier import FeatureNet

TWO_ENGINES_AND_A_SIGNAL = """
import gc, os, signal
import torch
from torch import nn
from seedsweep.features import openvino_engine

def engine():
    return openvino_engine.build(nn.Conv2d(3, 4, 3), (3, 8, 8), "float32", torch.device("cpu"))

heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append("Ctrl-C"))
first = engine()
second = engine()
for name in ("first", "second"):
    del globals()[name]
    gc.collect()
os.kill(os.getpid(), signal.SIGINT)
print(*heard)
"""


needs_openvino = pytest.mark.skipif(not openvino_engine.available(), reason="needs OpenVINO")


@needs_openvino
def test_there_is_one_core() -> None:
    assert openvino_engine._core() is openvino_engine._core()


class Asking(nn.Module):
    """Goes by its input's values, as nets of tokens do: a tracer warns of it."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) if torch.sum(images) >= 0 else images.sum((2, 3))


@needs_openvino
@pytest.mark.filterwarnings("error")
def test_a_net_is_converted_without_a_warning() -> None:
    engine = openvino_engine.build(Asking(), (3, 8, 8), "float32", torch.device("cpu"))
    images = torch.rand(3, 3, 8, 8)
    assert torch.allclose(engine(images), images.mean((2, 3)), atol=1e-5)


@pytest.mark.slow
@needs_openvino
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_engines_that_come_and_go_leave_ctrl_c_alone() -> None:
    """A core for each engine left the main thread a stack for signals that was no more: a segmentation fault."""
    call = [sys.executable, "-c", TWO_ENGINES_AND_A_SIGNAL]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "Ctrl-C\n"), done.stderr


@needs_openvino
def test_a_net_of_timm_is_converted_without_warnings_of_the_tracer(recwarn: pytest.WarningsRecorder) -> None:
    backbone = timm_model.build("test_resnet")
    net = FeatureNet(nn.Identity(), backbone).eval()
    features = openvino_engine.build(net, (3, 32, 32), "float32", torch.device("cpu"))(
        torch.zeros(3, 3, 32, 32)
    )
    assert features.shape == (3, backbone.num_features)
    assert not [each for each in recwarn if "TracerWarning" in each.category.__name__]
