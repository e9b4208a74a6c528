"""Heads on stored features: the gradients are autograd's, and company changes nothing."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from seedsweep.data.order import epoch_order, epoch_seed
from seedsweep.models.classifier import Head
from seedsweep.models.dropout import Dropout
from seedsweep.models.options import HeadConfig
from seedsweep.training.heads.blocks import weights_of_a_block
from seedsweep.training.heads.company import Company, Setup, pays
from seedsweep.training.heads.data import HeadData, HeadSchedule
from seedsweep.training.heads.fit import HeadFit
from seedsweep.training.heads.objective import Objective
from seedsweep.training.heads.precision import takes_bfloat16
from seedsweep.training.heads.product import WIDE, product
from seedsweep.training.heads.stack import HeadStack
from seedsweep.training.optimizer import FusedSteps, build_optimizer
from seedsweep.training.options import OptimConfig
from seedsweep.training.sums import divergence

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


def setups(names: tuple[str, ...] = ("adam", "adamw", "sgd")) -> list[Setup]:
    first, second, third = (
        OptimConfig(name=name, lr=lr, weight_decay=decay)
        for name, lr, decay in zip(names, (3e-3, 1e-2, 1e-2), (0.0, 0.1, 0.01), strict=True)
    )
    return [
        Setup(head(16, 0.0, seed=1), first),
        Setup(head(7, 0.4, seed=2), second, WEIGHTS),
        Setup(head(0, 0.3, seed=3), third, None, 0.1),
        Setup(head(33, 0.6, seed=4), first, WEIGHTS, 0.2),
        Setup(head(1, 0.0, seed=6), first),
        Setup(head(0, 0.0, seed=5), second),
    ]


@pytest.fixture(params=[20, 200, 440, 10**6], ids=["unit by unit", "cut", "shared", "whole"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many weights a block holds.

    One unit; a fourth of the widest head; half of it, and the other half shares a block with a head of one unit; all.
    """
    monkeypatch.setattr("seedsweep.training.heads.blocks.WEIGHTS", request.param)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    return request.param


def loss_of(setup: Setup, logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(
        logits, labels, weight=setup.class_weights, label_smoothing=setup.label_smoothing
    )


def test_gradients_equal_those_of_autograd(blocks: int) -> None:
    members = setups()
    heads = [setup.head for setup in members]
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(11, FEATURES, generator=generator)
    y = torch.randint(0, len(CLASSES), (11,), generator=generator)
    expected = []
    for setup in members:
        torch.manual_seed(77)
        loss = loss_of(setup, setup.head(x), y)
        loss.backward()
        expected.append((loss.detach(), {key: p.grad for key, p in setup.head.named_parameters()}))
    with torch.no_grad():
        stack = HeadStack(heads)
        objective = Objective(
            [s.class_weights for s in members], [s.label_smoothing for s in members], 5, x.device
        )
        before = [{key: p.clone() for key, p in h.named_parameters()} for h in heads]
        falls = OptimConfig("sgd", lr=1.0, weight_decay=0.0, momentum=0.0)  # by the gradient itself
        steps = [FusedSteps(stack.parameters(number), falls) for number in range(len(heads))]
        stack.reseed(77)
        stack.batch(11).copy_(x)
        stack.enter(11)
        logits, shares = stack.forward(11), objective.shares(y, 11)
        stack.backward(11, objective.gradient(logits, y, shares))
        losses = objective.losses(logits, y, shares).sum(0)
        stack.update(11, steps)
    assert max(len(stack.parameters(number)) for number in range(len(heads))) == 3 + {
        20: 33,
        200: 4,
        440: 2,
    }.get(blocks, 1)
    for number, (loss, gradients) in enumerate(expected):
        torch.testing.assert_close(losses[number], loss)
        for key, parameter in heads[number].named_parameters():
            fell = before[number][key] - parameter.detach()
            torch.testing.assert_close(fell, gradients[key], rtol=1e-5, atol=1e-6, msg=f"{number} {key}")


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
    optimizer, steps = build_optimizer(theirs, config), FusedSteps(ours, config)
    for _ in range(4):
        gradients = [torch.randn(5, 3), torch.randn(5)]
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
        steps.step(gradients)
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
@pytest.mark.parametrize("blocks", [200], indirect=True)
@pytest.mark.usefixtures("blocks")
def test_a_fit_is_the_plain_loop(number: int, batch_size: int) -> None:
    schedule = HeadSchedule(3, 0, batch_size, seed=6)
    expected_setup, setup = setups()[number], setups()[number]
    expected = plain_loop(expected_setup, data(), schedule)
    fit = HeadFit(setup.head, data(), setup.optim, schedule, setup.class_weights, setup.label_smoothing)
    found = []
    while not fit.done:
        found.append(fit.epoch()["train/loss"])
    assert found == pytest.approx(expected, rel=1e-5)
    for a, b in zip(setup.head.parameters(), expected_setup.head.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("names", [("adam",) * 3, ("adamw",) * 3, ("sgd",) * 3, ("adam", "adamw", "sgd")])
@pytest.mark.parametrize("blocks", [20, 440], indirect=True)
@pytest.mark.usefixtures("blocks")
def test_company_equals_alone(names: tuple[str, ...]) -> None:
    schedule = HeadSchedule(6, 3, 8, seed=6)
    together, apart = setups(names), setups(names)
    company = Company(together, data(), schedule)
    fits = [HeadFit(s.head, data(), s.optim, schedule, s.class_weights, s.label_smoothing) for s in apart]
    pruned, left = 1, set()
    while not company.done:
        for number, row in enumerate(company.epoch()):
            if not row:
                assert fits[number].done or number == pruned
                left.add(number)
                continue
            expected = fits[number].epoch()
            assert row.keys() == expected.keys()
            assert row == pytest.approx(expected, rel=1e-5, abs=1e-6), number
            assert company.members[number].left == fits[number].done
        if company.next_epoch == 3:
            company.drop(pruned)
            assert company.members[pruned].left
    assert pruned in left
    assert all(fit.done or number == pruned for number, fit in enumerate(fits))
    assert fits[pruned].next_epoch == 3
    for number, (member, fit) in enumerate(zip(company.members, fits, strict=True)):
        assert member.best_epoch == fit.best_epoch >= 0
        for key, value in fit.best_state.items():
            torch.testing.assert_close(member.best_state[key], value, rtol=1e-4, atol=1e-5)
        for a, b in zip(together[number].head.parameters(), apart[number].head.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_early_stopping_takes_a_head_out_of_the_company() -> None:
    slow, quick = setups()[0], setups()[0]
    slow.optim = OptimConfig("sgd", 1e-12)  # never better than in the first epoch
    company = Company([slow, quick], data(), HeadSchedule(9, 2, 8, seed=1))
    rows = []
    while not company.done:
        rows.append(company.epoch())
    assert [bool(row[0]) for row in rows[:4]] == [True, True, True, False]
    assert len(rows) > 4
    assert company.members[0].best_epoch == 0


def test_a_head_that_diverges_leaves_the_others_alone() -> None:
    wild = Setup(head(9, 0.2), OptimConfig("sgd", 1e30))
    calm, alone = setups()[3], setups()[3]
    schedule = HeadSchedule(3, 0, 8, seed=2)
    company = Company([wild, calm], data(), schedule)
    fit = HeadFit(alone.head, data(), alone.optim, schedule, alone.class_weights, alone.label_smoothing)
    lost = []
    while not company.done:
        one, row = company.epoch()
        lost.append(one)
        assert row == pytest.approx(fit.epoch(), rel=1e-5, abs=1e-6)
    assert [bool(divergence(one)) for one in lost] == [True, False, False]
    assert lost[1:] == [{}, {}], "it is trained no more"
    assert company.members[0].best_state == {}


def test_features_on_disk_give_the_same() -> None:
    schedule = HeadSchedule(2, 0, 8, seed=6)
    rows = []
    for wrap in (lambda x: x, OnDisk):
        company = Company(setups(), data(wrap), schedule)
        rows.append([company.epoch(), company.epoch()])
    assert rows[0] == rows[1]


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("wrap", [lambda x: x, OnDisk], ids=["memory", "disk"])
def test_bfloat16_is_nearly_the_same(wrap: Callable[[Tensor], Any]) -> None:
    exact, rounded = setups(), setups()
    for members, bfloat16 in ((exact, False), (rounded, True)):
        company = Company(members, data(wrap), HeadSchedule(3, 0, 8, 6, bfloat16))
        while not company.done:
            rows = company.epoch()
        if not bfloat16:
            expected = rows
    for row, other in zip(rows, expected, strict=True):
        assert row["train/loss"] == pytest.approx(other["train/loss"], rel=1e-2)
        assert row["train/loss"] != other["train/loss"]
    assert all(p.dtype == torch.float32 for setup in rounded for p in setup.head.parameters())


def test_a_head_keeps_no_memory_of_the_company() -> None:
    members = setups()
    company = Company(members, data(), HeadSchedule(1, 0, 8, seed=6))
    company.epoch()
    sizes = []
    for source in (members[1].head, head(7, 0.4)):
        file = io.BytesIO()
        torch.save(source.state_dict(), file)
        sizes.append(file.tell())
    assert sizes[0] == sizes[1]


def test_a_company_takes_our_heads_alone() -> None:
    with pytest.raises(TypeError, match="not Linear"):
        Company([Setup(nn.Linear(FEATURES, 5), OptimConfig("adam"))], data(), HeadSchedule(1, 0, 8, 1))


@pytest.mark.parametrize("p", [0.3, 0.99])
def test_dropout(p: float) -> None:
    layer = Dropout(p)
    x = torch.ones(700, 301)
    torch.manual_seed(3)
    first, second = layer(x), layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)
    error = 4 * (p * (1 - p) / x.numel()) ** 0.5
    assert float((first == 0).double().mean()) == pytest.approx(p, abs=error)
    assert float(first.max()) == pytest.approx(1 / (1 - p), rel=2e-3)
    for lines in (first, first.t()):  # no pattern along rows, columns or neighbours
        dropped = (lines == 0).double()
        assert float(dropped.mean(1).std()) == pytest.approx((p * (1 - p) / lines.shape[1]) ** 0.5, rel=0.2)
        both = float((dropped[:, 1:] * dropped[:, :-1]).mean())
        assert both == pytest.approx(p * p, abs=8e-3)
    assert torch.equal(layer.eval()(x), x)


def test_bfloat16_is_taken_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert takes_bfloat16("bfloat16", cpu, 4)
    assert not takes_bfloat16("float32", cpu, 256)
    for able, batch_size, expected in (
        ({"avx512_bf16": True}, 32, True),
        ({"amx_bf16": True}, 256, True),
        ({"avx512_bf16": True}, 4, False),
        ({"avx2": True, "avx512_bf16": False}, 256, False),  # it would be emulated
        ({}, 256, False),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        assert takes_bfloat16("auto", cpu, batch_size) is expected
    assert not takes_bfloat16("auto", torch.device("mps"), 256)


def test_a_block_grows_with_threads_and_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    alone = weights_of_a_block(cpu, 4)
    assert weights_of_a_block(cpu, 32) == alone
    assert weights_of_a_block(cpu, 256) == 8 * alone
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert weights_of_a_block(cpu, 32) == 3 * alone
    assert weights_of_a_block(torch.device("cuda"), 32) == float("inf")


def test_where_company_pays() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert pays([32, 64, 0, 48], 1280, 7, cpu)
    assert not pays([32, 64, 48], 1280, 7, cpu), "too few"
    assert not pays([32, 64, 48, 512], 1280, 7, cpu), "one too large"
    assert pays([2048, 2048], 2048, 7, cuda)
    assert not pays([2048], 2048, 7, cuda)


@pytest.mark.parametrize("units", [7, WIDE, WIDE + 1, 1933])
def test_a_wide_product_in_parts_is_the_whole(units: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # several threads take no parts
    draw = torch.Generator().manual_seed(0)
    bias, x, weight = (torch.randn(size, generator=draw) for size in ((units,), (5, 64), (units, 64)))
    among = torch.full((5, units + 3), 7.0)
    place = among[:, 1 : units + 1]
    assert product(bias, x, weight, place) is place
    torch.testing.assert_close(place, x @ weight.t() + bias, rtol=1e-5, atol=1e-5)
    assert (among[:, [0, -2, -1]] == 7).all(), "what stands beside it"
