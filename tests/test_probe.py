"""The bn_gap probe compares two modes on one set of images."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from seedsweep.batchnorm.options import BatchNormConfig
from seedsweep.batchnorm.policy import set_batchnorm
from seedsweep.training import online


@pytest.mark.parametrize(
    ("statistics", "batch", "seen"),
    [("batch", 32, [96, 96]), ("batch", 5, [97, 97]), ("batch", 1, [97, 97]), ("stored", 32, [97])],
)
def test_both_modes_see_the_same_images(
    statistics: str, batch: int, seen: list[int], monkeypatch: pytest.MonkeyPatch
):
    """97 = 3 x 32 + 1: a last batch of one image can't be normalised with its own statistics."""
    backbone = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    set_batchnorm(backbone, BatchNormConfig("x", training_statistics=statistics))
    classifier = nn.Module()
    classifier.backbone = backbone
    calls: list[list[int]] = []

    def predict(module: object, images: object, rows: torch.Tensor, batch_size: int) -> torch.Tensor:
        calls.append(rows.tolist())
        return torch.zeros(len(rows), 2)

    monkeypatch.setattr(online, "predict", predict)
    images = SimpleNamespace(prepared=SimpleNamespace(table=SimpleNamespace(labels=np.zeros(97, np.int64))))
    module = SimpleNamespace(classifier=classifier)
    figures = online.probe_accuracies(module, images, torch.arange(97), batch)
    assert [len(rows) for rows in calls] == seen
    assert calls[0] == calls[-1]
    assert figures["bn_gap"] == 0
