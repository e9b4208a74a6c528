"""Heads on stored features: the gradients are autograd's, and a training is the plain loop's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from seedsweep.data.epoch import epoch_order, epoch_seed
from seedsweep.models.classifier import Head
from seedsweep.models.options import HeadConfig
from seedsweep.training import head_step, heads
from seedsweep.training.head_step import HeadLoss, HeadStep, optimizer_step
from seedsweep.training.heads import (
    ONE_THREAD,
    HeadData,
    HeadFit,
    HeadSchedule,
    divergence,
)
from seedsweep.training.optimiser import build_optimizer
from seedsweep.training.options import OptimConfig

CLASSES = list("abcde")
FEATURES, N_TRAIN = 24, 90
WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 0.1, 1.5])


class OnDisk:
    """Features that are read by row, as memory-mapped ones are."""

    def __init__(self, features: Tensor) -> None:
        self.features = features

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.features[rows]


def data(wrap: Callable[[Tensor], Any] = lambda x: x) -> HeadData:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, len(CLASSES), (N_TRAIN + 40,), generator=generator)
    centres = torch.randn(len(CLASSES), FEATURES, generator=generator)
    x = centres[labels] + 2 * torch.randn(len(labels), FEATURES, generator=generator)
    train, val = slice(N_TRAIN), slice(N_TRAIN, None)
    return HeadData(
        lambda epoch: wrap(x[train] + epoch / 100),  # another view in every epoch
        labels[train],
        x[val],
        labels[val],
        x[:30],
        labels[:30],
        CLASSES,
    )


def head(width: int, dropout: float, seed: int = 0) -> Head:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Head(FEATURES, len(CLASSES), HeadConfig(width=width, dropout=dropout))


@dataclass
class Setup:
    """A head and how it is trained."""

    head: Head
    optim: OptimConfig
    class_weights: Tensor | None = None
    label_smoothing: float = 0.0

    def fit(self, task: HeadData, schedule: HeadSchedule) -> HeadFit:
        return HeadFit(self.head, task, self.optim, schedule, self.class_weights, self.label_smoothing)


def setups() -> list[Setup]:
    first, second, third = (
        OptimConfig("adam", 3e-3),
        OptimConfig("adamw", 1e-2, 0.1),
        OptimConfig("sgd", 1e-2, 0.01),
    )
    return [
        Setup(head(16, 0.0, seed=1), first),
        Setup(head(7, 0.4, seed=2), second, WEIGHTS),
        Setup(head(0, 0.3, seed=3), third, None, 0.1),
        Setup(head(33, 0.6, seed=4), first, WEIGHTS, 0.2),
        Setup(head(1, 0.0, seed=6), first),
        Setup(head(0, 0.0, seed=5), second),
    ]


def loss_of(setup: Setup, logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(
        logits, labels, weight=setup.class_weights, label_smoothing=setup.label_smoothing
    )


@pytest.mark.parametrize("number", range(6))
def test_gradients_equal_those_of_autograd(number: int) -> None:
    setup = setups()[number]
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(11, FEATURES, generator=generator)
    y = torch.randint(0, len(CLASSES), (11,), generator=generator)
    torch.manual_seed(77)
    expected = loss_of(setup, setup.head(x), y)
    expected.backward()
    gradients = {key: p.grad for key, p in setup.head.named_parameters()}
    before = {key: p.detach().clone() for key, p in setup.head.named_parameters()}
    falls = OptimConfig("sgd", lr=1.0, weight_decay=0.0, momentum=0.0)  # by the gradient itself
    with torch.no_grad():
        loss = HeadLoss(5, setup.class_weights, setup.label_smoothing, x.device)
        step = HeadStep(setup.head, falls, torch.float32)
        step.reseed(77)
        logits = step.forward(x, torch.arange(11))
        shares = loss.shares(y, 11)
        step.backward(loss.gradient(logits, *loss.factors(y, shares)), lr=1.0)
        found = loss.sums(logits, y, shares, 11)
    assert found.tolist() == pytest.approx([11 * expected.item(), (logits.argmax(1) == y).sum().item()])
    for key, parameter in setup.head.named_parameters():
        torch.testing.assert_close(before[key] - parameter, gradients[key], rtol=1e-5, atol=1e-6, msg=key)


OPTIMISERS = [
    OptimConfig("adam", 1e-2, 0.1),
    OptimConfig("adamw", 1e-2, 0.1),
    OptimConfig("sgd", 1e-2, 0.1),
    OptimConfig("sgd", 1e-2, 0.0, 0.0),
]


@pytest.mark.parametrize("config", OPTIMISERS, ids=["adam", "adamw", "sgd", "no_momentum"])
def test_a_step_is_that_of_the_optimiser(config: OptimConfig) -> None:
    torch.manual_seed(0)
    start = [torch.randn(5, 3), torch.randn(5)]
    theirs = [nn.Parameter(tensor.clone()) for tensor in start]
    ours = [tensor.clone() for tensor in start]
    optimizer, step = build_optimizer(theirs, config), optimizer_step(ours, config)
    for _ in range(4):
        gradients = [torch.randn(5, 3), torch.randn(5)]
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
        step(gradients, config.lr)
    for a, b, before in zip(ours, theirs, start, strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=1e-6, atol=1e-7)
        assert not torch.equal(a, before)


def plain_loop(setup: Setup, task: HeadData, schedule: HeadSchedule) -> list[float]:
    """Mean training loss an epoch, with autograd and the optimiser's object."""
    optimizer = build_optimizer(list(setup.head.parameters()), setup.optim)
    losses = []
    for epoch in range(schedule.max_epochs):
        order = epoch_order(N_TRAIN, schedule.batch_size, schedule.seed, epoch)
        x, total = task.train(epoch), 0.0
        torch.manual_seed(epoch_seed(schedule.seed, epoch))
        for rows in order.split(schedule.batch_size):
            loss = loss_of(setup, setup.head(x[rows]), task.train_labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / len(order))
    return losses


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("batch_size", [1, 8, 200])
@pytest.mark.parametrize("kept", [1, 2**22], ids=["each batch summed", "an epoch summed"])
def test_a_fit_is_the_plain_loop(
    number: int, batch_size: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "KEPT", kept)
    schedule = HeadSchedule(3, 0, batch_size, seed=6)
    expected_setup, setup = setups()[number], setups()[number]
    expected = plain_loop(expected_setup, data(), schedule)
    fit = setup.fit(data(), schedule)
    found = []
    while not fit.done:
        found.append(fit.epoch()["train/loss"])
    assert found == pytest.approx(expected, rel=1e-5)
    for a, b in zip(setup.head.parameters(), expected_setup.head.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("number", range(6))
def test_scores_are_those_of_the_head(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_step, "SCORED", 50)  # a few images at a time
    setup, task = setups()[number], data()
    row = setup.fit(task, HeadSchedule(1, 0, 8, seed=6)).epoch()
    logits = setup.head.eval()(task.val)
    assert row["val/loss"] == pytest.approx(
        functional.cross_entropy(logits, task.val_labels).item(), rel=1e-5
    )
    assert row["val/acc"] == pytest.approx((logits.argmax(1) == task.val_labels).double().mean().item())
    probe = (setup.head(task.probe).argmax(1) == task.probe_labels).double().mean().item()
    assert row["train_images/acc_eval_mode"] == row["train_images/acc_train_mode"] == pytest.approx(probe)


def test_a_fit_stops_after_epochs_without_a_better_one() -> None:
    slow, quick = setups()[0], setups()[0]
    slow.optim = OptimConfig("sgd", 1e-12)  # never better than in the first epoch
    fits = [each.fit(data(), HeadSchedule(9, 2, 8, seed=1)) for each in (slow, quick)]
    for fit in fits:
        while not fit.done:
            fit.epoch()
    assert (fits[0].next_epoch, fits[0].best_epoch) == (3, 0)
    assert fits[1].next_epoch > 4


def test_the_best_epoch_s_weights_are_kept() -> None:
    setup = setups()[1]
    fit = setup.fit(data(), HeadSchedule(6, 0, 8, seed=6))
    accuracies, states = [], []
    while not fit.done:
        accuracies.append(fit.epoch()["val/acc"])
        states.append({key: value.clone() for key, value in setup.head.state_dict().items()})
    assert fit.best_epoch == accuracies.index(max(accuracies))
    assert all(torch.equal(fit.best_state[key], value) for key, value in states[fit.best_epoch].items())


def test_a_head_that_diverges_is_trained_no_more() -> None:
    fit = Setup(head(9, 0.2), OptimConfig("sgd", 1e30)).fit(data(), HeadSchedule(3, 0, 8, seed=2))
    assert divergence(fit.epoch())
    assert fit.done
    assert fit.best_state == {}


@pytest.mark.parametrize("number", range(6))
def test_features_on_disk_give_the_same(number: int) -> None:
    schedule = HeadSchedule(2, 0, 8, seed=6)
    rows = []
    for wrap in (lambda x: x, OnDisk):
        fit = setups()[number].fit(data(wrap), schedule)
        rows.append([fit.epoch(), fit.epoch()])
    assert rows[0] == rows[1]


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("wrap", [lambda x: x, OnDisk], ids=["memory", "disk"])
def test_bfloat16_is_nearly_the_same(wrap: Callable[[Tensor], Any], number: int) -> None:
    losses = []
    for bfloat16 in (False, True):
        setup = setups()[number]
        fit = setup.fit(data(wrap), HeadSchedule(3, 0, 8, 6, bfloat16))
        while not fit.done:
            row = fit.epoch()
        losses.append(row["train/loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    assert (losses[0] == losses[1]) == (setup.head.hidden is None), "a linear head has no large product"
    assert all(parameter.dtype == torch.float32 for parameter in setup.head.parameters())


def test_a_fit_takes_our_heads_alone() -> None:
    with pytest.raises(TypeError, match="not Linear"):
        HeadFit(nn.Linear(FEATURES, 5), data(), OptimConfig("adam"), HeadSchedule(1, 0, 8, 1))


@pytest.mark.parametrize(("allowed", "threads"), [(ONE_THREAD, 1), (1, 2)], ids=["small", "large"])
def test_a_small_head_is_trained_on_one_thread(
    allowed: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "ONE_THREAD", allowed)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    seen = []

    class Watched(OnDisk):
        def __getitem__(self, rows: Tensor) -> Tensor:
            seen.append(torch.get_num_threads())
            return super().__getitem__(rows)

    try:
        setups()[0].fit(data(Watched), HeadSchedule(1, 0, 8, seed=6)).epoch()
        assert torch.get_num_threads() == 2, "as before"
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {threads}
