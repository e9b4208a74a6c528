"""Recipes of the optimiser: schedules, warm-up, clipping, accumulation, rates by block; stored features as online."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from composed import config_of
from test_heads import N_TRAIN, data, head
from tiny_net import tiny_net
from torch import nn
from torch.nn import functional
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from seedsweep.cli.main import main
from seedsweep.data.epoch import epoch_order, epoch_seed
from seedsweep.errors import SeedsweepError
from seedsweep.models.checkpoint import read_checkpoint
from seedsweep.runs.csv_files import read_history
from seedsweep.training import online
from seedsweep.training.assemble import backbone_as_set
from seedsweep.training.heads import HeadFit, HeadSchedule
from seedsweep.training.module import ArmModule
from seedsweep.training.online import probe_accuracies
from seedsweep.training.optimiser import LearningRates, build_optimizer, parameter_groups
from seedsweep.training.options import OptimConfig
from seedsweep.training.run import train

BATCHES, EPOCHS = 7, 6
SMALL = [
    "data.demo.n_images=70", "data.image_size=[32,32]", "data.batch_size=8", "head.width=8",
    "trainer.accelerator=cpu", "trainer.progress_bar=false", "features.engine=torch", "trainer.probe_images=16",
]  # fmt: skip


def schedule_of_torch(optim: OptimConfig, optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
    total, warmup = steps * EPOCHS, round(optim.warmup * steps)
    if optim.schedule == "one_cycle":
        return OneCycleLR(optimizer, optim.lr, total_steps=total, cycle_momentum=False)
    if optim.schedule == "cosine":
        then: LRScheduler = CosineAnnealingLR(optimizer, T_max=total - warmup)
    else:
        then = ConstantLR(optimizer, factor=1.0)
    if not warmup:
        return then
    rises = LinearLR(optimizer, start_factor=0.01, total_iters=warmup)
    return SequentialLR(optimizer, [rises, then], milestones=[warmup])


RECIPES = {
    "warmup": OptimConfig("adam", 1e-2, warmup=1.5),
    "cosine": OptimConfig("adam", 1e-2, schedule="cosine"),
    "cosine with warm-up": OptimConfig("adamw", 1e-2, 0.1, schedule="cosine", warmup=1),
    "one cycle": OptimConfig("sgd", 1e-2, nesterov=True, schedule="one_cycle"),
    "clipped": OptimConfig("sgd", 0.5, clip_norm=0.3),
    "accumulated": OptimConfig("adam", 1e-2, accumulate=3, schedule="cosine", clip_norm=1.0),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_head_s_recipe_is_that_of_torch(name: str) -> None:
    optim, size = RECIPES[name], math.ceil(N_TRAIN / BATCHES)
    task, expected, found = data(), head(8, 0.2), head(8, 0.2)
    optimizer = build_optimizer(list(expected.parameters()), optim)
    steps = math.ceil(BATCHES / optim.accumulate)
    schedule = schedule_of_torch(optim, optimizer, steps)
    fit = HeadFit(found, task, optim, HeadSchedule(EPOCHS, 0, size, seed=6))
    for epoch in range(EPOCHS):
        x, rates = task.train(epoch), []
        torch.manual_seed(epoch_seed(6, epoch))
        batches = epoch_order(N_TRAIN, size, 6, epoch).split(size)
        assert len(batches) == BATCHES
        optimizer.zero_grad()
        for number, rows in enumerate(batches, 1):
            loss = functional.cross_entropy(expected(x[rows]), task.train_labels[rows])
            (loss / optim.accumulate).backward()
            if number % optim.accumulate == 0 or number == BATCHES:
                if optim.clip_norm:
                    nn.utils.clip_grad_norm_(expected.parameters(), optim.clip_norm)
                rates.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
        fit.epoch()
        assert fit.lr == pytest.approx(rates[-1], rel=1e-6)
    for a, b in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_plateau_is_that_of_torch_and_goes_on_from_its_state() -> None:
    optim = OptimConfig("sgd", 0.1, schedule="plateau")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    theirs = ReduceLROnPlateau(optimizer, mode="max", factor=0.1, patience=2, threshold=0.0)
    ours, rates = LearningRates(optim, BATCHES, 20), []
    for epoch, acc in enumerate([0.5, 0.6, 0.6, 0.6, 0.5, 0.7, 0.6, 0.6, 0.7, 0.1, 0.9]):
        assert ours.of(epoch, 3) == pytest.approx(optimizer.param_groups[0]["lr"])
        rates.append(ours.of(epoch, 3))
        theirs.step(acc)
        ours.epoch_ended(acc)
        ours = LearningRates(optim, BATCHES, 20, ours.state_dict())  # as a run that resumes
    assert len(set(rates)) == 3


def test_rates_fall_from_the_head_to_the_first_block() -> None:
    config = config_of(
        "+experiment=finetune_layer_decay", "optim.head_lr=0.01", "optim.lr=0.001", "optim.layer_decay=0.5",
        "backbone=efficientnet_lite0", "backbone.weights=none",
    )  # fmt: skip
    backbone = backbone_as_set(config)
    net = nn.Module()
    net.backbone, net.head = backbone.net, nn.Linear(backbone.net.num_features, 2)
    groups = parameter_groups(net, config.optim)  # type: ignore[arg-type]
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert len(rate) == len(list(net.parameters()))
    named = {name: rate[id(p)] for name, p in net.named_parameters()}
    assert named["head.weight"] == named["head.bias"] == 0.01
    in_order = list(dict.fromkeys(named[name] for name in named if name.startswith("backbone")))
    assert in_order == [pytest.approx(0.001 * 0.5**n) for n in range(len(in_order), 0, -1)]
    assert len(in_order) > 10


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("optim.schedule=step", "one of: constant, cosine, one_cycle, plateau"),
        ("optim.layer_decay=1.2", "optim.layer_decay is 1.2"),
        ("optim.layer_decay=0.8", "only the head is trained"),
        ("optim.head_lr=0.1", "only the head is trained"),
        ("trainer.head_epochs=3", "only the head is trained"),
        ("optim.nesterov=true", "optim.nesterov is given, but optim.name=adam has none"),
        ("optim.accumulate=0", "optim.accumulate is 0"),
        ("optim.clip_norm=nan", "optim.clip_norm is nan"),
    ],
)
def test_what_means_nothing_is_refused(
    wrong: str, said: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["+experiment=frozen_bn", wrong]) == 2
    assert said in capsys.readouterr().err


def test_a_warm_up_without_a_use_is_refused(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["+experiment=frozen_bn", "optim.warmup=1", "optim.schedule=plateau"]) == 2
    assert "optim.warmup is given, but optim.schedule=plateau has none" in capsys.readouterr().err


def test_the_head_that_is_trained_first_is_that_of_the_frozen_arm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = ["optim=adam", "optim.lr=1e-2", "optim.schedule=constant", "optim.warmup=0", "optim.layer_decay=1"]
    first = [*rest, "trainer.head_epochs=3", "trainer.max_epochs=1"]
    began: dict[str, torch.Tensor] = {}
    start = ArmModule.on_train_start

    def note(self: ArmModule) -> None:
        began.update({key: value.clone() for key, value in self.classifier.head.state_dict().items()})
        start(self)

    monkeypatch.setattr(ArmModule, "on_train_start", note)
    frozen = ["batchnorm=inference", "optim.lr=1e-2", "trainer.max_epochs=3"]
    made = train(config_of("+experiment=finetune_two_phase", *tiny_net(), *SMALL, *first), tmp_path / "two")
    train(config_of("+experiment=frozen_bn", *tiny_net(), *SMALL, *frozen), tmp_path / "frozen")
    state = torch.load(tmp_path / "frozen" / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert began
    for key, value in began.items():
        torch.testing.assert_close(value, state[f"classifier.head.{key}"])
    assert made["switches"]["trainer"]["head_epochs"] == 3
    log = (tmp_path / "two" / "run.log").read_text()
    alone = float(re.search(r"the head alone first, on stored features: val acc ([.\d]+)", log)[1])  # type: ignore[index]
    assert ("the head alone was better" in log) == (alone > round(made["val"]["acc"], 3))
    assert made["features"]["stored"] is False


def test_nesterov_needs_a_momentum() -> None:
    with pytest.raises(SeedsweepError, match="above 0"):
        OptimConfig("sgd", momentum=0.0, nesterov=True)


EMA = [
    "+experiment=finetune_bn", "optim.lr=1e-2", "trainer.ema=0.9", "trainer.max_epochs=2", "trainer.patience=0",
]  # fmt: skip


def test_the_weights_that_are_kept_are_the_moving_average(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    probed: list[torch.Tensor] = []

    def note(self: ArmModule, *_: object) -> None:
        seen.append({key: value.detach().clone() for key, value in self.classifier.state_dict().items()})

    def probe(module: ArmModule, *rest: Any) -> dict[str, float]:
        probed.append(module.classifier.head.state_dict()["0.weight"].clone())
        return probe_accuracies(module, *rest)

    monkeypatch.setattr(ArmModule, "on_train_batch_end", note)
    monkeypatch.setattr(online, "probe_accuracies", probe)
    made = train(config_of(*EMA, *tiny_net(), *SMALL), tmp_path / "run")
    assert made["switches"]["trainer"]["ema"] == 0.9
    last = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["state_dict"]
    layers = [next(k for k in seen[0] if k.endswith(end)) for end in ("running_mean", "conv1.0.weight")]
    for key in ("head.0.weight", *layers):
        average = seen[0][key].double()
        for n, state in enumerate(seen[1:], 1):
            decay = min(0.9, (1 + n) / (10 + n))
            average = decay * average + (1 - decay) * state[key]
        torch.testing.assert_close(last[f"classifier.{key}"].double(), average, rtol=1e-3, atol=1e-5)
        assert not torch.allclose(last[f"classifier.{key}"], seen[-1][key])
    rows = read_history(tmp_path / "run" / "history.csv")
    assert made["val"]["acc"] == max(
        row["val/acc"] for row in rows
    )  # the net that was validated is the one kept
    torch.testing.assert_close(probed[-1], last["classifier.head.0.weight"])  # bn_gap is the average's, too


@pytest.mark.slow
def test_a_moving_average_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(*EMA, *tiny_net(), *SMALL)
    train(config, tmp_path / "whole")
    step = ArmModule.training_step

    def interrupted(self: ArmModule, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(ArmModule, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "parts")
    train(config, tmp_path / "parts", resume=True)
    states = [
        read_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt")["state_dict"]
        for name in ("whole", "parts")
    ]
    for key, value in states[0].items():
        torch.testing.assert_close(value, states[1][key])
