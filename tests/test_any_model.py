"""``ss.diagnose``: a model of any origin, by two loaders."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import seedsweep as ss
from seedsweep.diagnosis.finding import Finding, Verdict
from seedsweep.models.backbone import IMAGENET

COLOURS = torch.tensor([[1.0, 0.1, 0.1], [0.1, 1.0, 0.1], [0.1, 0.1, 1.0], [0.9, 0.9, 0.1]])

MEAN, STD = (torch.tensor(each).view(1, 3, 1, 1) for each in (IMAGENET.mean, IMAGENET.std))


def images(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns images [n, 3, 8, 8], normalised as those of ImageNet, whose class is their colour."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % len(COLOURS)
    x = COLOURS[y][:, :, None, None] * 0.4 + 0.6 * torch.rand(n, 3, 8, 8, generator=generator)
    return (x - MEAN) / STD, y


def trained(norm: bool = False) -> nn.Module:
    """Returns a net that tells the colours apart; with ``norm`` its BatchNorm has statistics of other images."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16)] if norm else [nn.Conv2d(3, 16, 3)]
    net = nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))
    x, y = images(200, 0)
    optimizer = torch.optim.Adam(net.parameters(), 0.03)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    if norm:
        net[1].running_mean += 5 * torch.randn(16)
    return net.eval()


def loaders(
    change: Callable[[Tensor], Tensor] = lambda x: x, order: list[int] | None = None
) -> list[DataLoader]:
    made = []
    for seed in (1, 2):
        x, y = images(160, seed)
        made.append(DataLoader(TensorDataset(change(x), y if order is None else torch.tensor(order)[y]), 32))
    return made


def by_check(found: list[Finding]) -> dict[str, Finding]:
    return {each.check: each for each in found}


def test_a_model_that_is_in_order() -> None:
    net = trained()
    found = ss.diagnose(net, *loaders())
    assert found.kind == "model"
    assert found.healthy
    assert {each.check for each in found.findings} == {
        "batchnorm",
        "inputs",
        "class_order",
        "head",
        "overfitting",
    }
    assert all(each.verdict is Verdict.FINE for each in found.findings)
    assert found.headline.startswith("No check found a fault. The model classifies 100% (98% to 100%) of 160")
    assert found.numbers["val_acc"] == 1.0


WRONG: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "channels": (lambda x: x.flip(1), "with red and blue swapped"),
    "raw": (lambda x: (x * STD + MEAN) * 255, "divided by 255, then normalised"),
    "not normalised": (lambda x: x * STD + MEAN, "normalised with mean and standard deviation"),
}


@pytest.mark.parametrize("name", WRONG)
def test_inputs_that_are_not_what_the_model_was_trained_on(name: str) -> None:
    change, said = WRONG[name]
    found = ss.diagnose(trained(), *loaders(change))
    first = found.findings[0]
    assert (first.check, first.verdict) == ("inputs", Verdict.FAULT)
    assert said in first.sentence
    assert found.headline.startswith("Inputs: ")
    assert float(first.evidence[said]) > float(first.evidence["as_they_are"])  # type: ignore[arg-type]
    assert by_check(found.findings)["overfitting"].verdict is Verdict.UNKNOWN


def test_classes_in_another_order() -> None:
    found = ss.diagnose(trained(), *loaders(order=[1, 2, 3, 0]), classes=["red", "green", "blue", "yellow"])
    first = found.findings[0]
    assert (first.check, first.verdict) == ("class_order", Verdict.FAULT)
    assert "green where the model says red" in first.sentence


def test_statistics_that_do_not_fit_and_what_new_ones_give() -> None:
    net = trained(norm=True)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    found = ss.diagnose(net, *loaders())
    first = found.findings[0]
    assert (first.check, first.verdict) == ("batchnorm", Verdict.FAULT)
    train, val = loaders()
    ss.recalibrate(net, train)
    net.eval()
    acc = np.mean(torch.cat([net(x).argmax(1) == y for x, y in val]).numpy())
    assert first.evidence["val_acc_recalibrated"] == pytest.approx(acc)
    net.load_state_dict(before)
    ss.diagnose(net, *loaders())
    for key, value in net.state_dict().items():  # left as it was
        assert torch.equal(value, before[key])


def test_a_head_that_falls_short_of_its_features() -> None:
    net = trained()
    with torch.no_grad():
        net[-1].weight[1] = net[-1].weight[0]
        net[-1].bias[1] = net[-1].bias[0] - 1
    found = by_check(ss.diagnose(net, *loaders()).findings)["head"]
    assert found.verdict is Verdict.SUSPECT
    assert found.evidence["probe"] == 1.0


def test_a_net_that_knows_nothing_is_not_mended_by_chance() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4))
    x, y = torch.rand(200, 3, 8, 8), torch.randint(0, 4, (200,))
    loader = DataLoader(TensorDataset(x, y), 50)
    assert ss.diagnose(net, loader, loader).healthy


def test_what_can_not_be_diagnosed_is_refused() -> None:
    net = trained(norm=True)
    x, y = images(160, 3)
    shuffled = DataLoader(TensorDataset(x, y), 32, shuffle=True)
    with pytest.raises(ss.SeedsweepError, match="shuffle=False"):
        ss.diagnose(net, loaders()[0], shuffled)
    with pytest.raises(ss.SeedsweepError, match="no batches"):
        ss.diagnose(net, loaders()[0], [])
    with pytest.raises(ss.SeedsweepError, match="3 names of classes"):
        ss.diagnose(net, *loaders(), classes=["a", "b", "c"])
    with pytest.raises(ss.SeedsweepError, match="logits"):
        ss.diagnose(nn.Conv2d(3, 4, 1), *loaders())
