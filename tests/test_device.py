"""Which device ``trainer.accelerator`` means on the stored route."""

from pathlib import Path

import pytest
import torch

from seedsweep.cli.config.schema import Config
from seedsweep.errors import SeedsweepError
from seedsweep.training.assemble import device_of
from seedsweep.training.online import _trainer
from seedsweep.training.options import TrainerConfig

CASES = [("auto", False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu"), ("gpu", True, "cuda")]


@pytest.mark.parametrize(("wanted", "cuda", "kind"), CASES)
def test_device(wanted: str, cuda: bool, kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert device_of(Config(trainer=TrainerConfig(accelerator=wanted))).type == kind


@pytest.mark.parametrize("wanted", ["cuda", "gpu", "mps"])
def test_what_is_asked_for_and_lacks_is_no_silent_cpu(wanted: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(SeedsweepError, match=f"accelerator={wanted}"):
        device_of(Config(trainer=TrainerConfig(accelerator=wanted)))


def test_half_precision_is_not_replaced_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = Config(trainer=TrainerConfig(accelerator="cpu", precision="16-mixed"))
    with pytest.raises(SeedsweepError, match="needs a GPU: on a CPU take bf16-mixed"):
        _trainer(config, tmp_path, [])
