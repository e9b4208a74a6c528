"""Every policy against first principles: what normalises, what drifts, what is trained."""

import copy
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.callbacks import BaseFinetuning
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.utils.data import DataLoader

from seedsweep.batchnorm.options import BatchNormConfig
from seedsweep.batchnorm.policy import (
    depends_on_batch,
    norm_layers,
    set_batchnorm,
    statistics_untouched,
)
from seedsweep.batchnorm.statistics import recalibrate
from seedsweep.names import conf_dir

POLICIES = {
    path.stem: BatchNormConfig(**yaml.safe_load(path.read_text()))
    for path in sorted((conf_dir() / "batchnorm").glob("*.yaml"))
}

# what each must do to a layer in training: (the batch normalises, the statistics move, scale and shift are trained);
# a new policy gets a line here
EXPECTED = {
    "inference": (False, False, False),
    "batch_stats": (True, False, False),
    "update_stats": (True, True, False),
    "train": (True, True, True),
    "recalibrate": (False, False, False),
}


def pretrained_net(kind: str = "2d") -> nn.Module:
    """A small net whose stored statistics differ from those of the images it will meet."""
    torch.manual_seed(0)
    layers: dict[str, nn.Module] = {
        "1d": nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 5), nn.BatchNorm1d(5)),
        "2d": nn.Sequential(
            nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.BatchNorm2d(4)
        ),
        "act": nn.Sequential(nn.Conv2d(3, 5, 3), BatchNormAct2d(5)),
    }
    net = layers[kind]
    for _, layer in norm_layers(net):
        layer.running_mean.normal_()
        layer.running_var.uniform_(2, 3)
        nn.init.uniform_(layer.weight, 0.5, 2)
    for parameter in net.parameters():
        parameter.requires_grad = False
    return net


def images(n: int = 6) -> Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 3 + 1


def statistics(net: nn.Module) -> list[Tensor]:
    return [b.clone() for _, layer in norm_layers(net) for b in (layer.running_mean, layer.running_var)]


def by_hand(net: nn.Module, x: Tensor, *, batch: bool) -> Tensor:
    """The net computed without BatchNorm's own forward."""
    for layer in net:
        if not isinstance(layer, nn.modules.batchnorm._BatchNorm):
            x = layer(x)
            continue
        dims = [0, 2, 3] if x.ndim == 4 else [0]
        shape = (1, -1, 1, 1) if x.ndim == 4 else (1, -1)
        mean = x.mean(dims) if batch else layer.running_mean
        var = x.var(dims, unbiased=False) if batch else layer.running_var
        x = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + layer.eps)
        x = x * layer.weight.view(shape) + layer.bias.view(shape)
        if isinstance(layer, BatchNormAct2d):
            x = x.relu()
    return x


def test_the_policies_are_shipped():
    assert set(POLICIES) == set(EXPECTED)
    assert all(policy.name == name for name, policy in POLICIES.items())


@pytest.mark.parametrize("kind", ["1d", "2d", "act"])
@pytest.mark.parametrize("name", sorted(POLICIES))
def test_policy_from_first_principles(name, kind):
    policy = POLICIES[name]
    net = pretrained_net(kind)
    reference = copy.deepcopy(net)
    assert len(set_batchnorm(net, policy).layers) == len(norm_layers(net)) > 0
    x = images()
    before = statistics(net)

    net.train()
    uses_batch, moves, affine = EXPECTED[name]
    torch.testing.assert_close(net(x), by_hand(reference, x, batch=uses_batch), rtol=1e-4, atol=1e-4)

    drifted = any(not torch.equal(a, b) for a, b in zip(before, statistics(net), strict=True))
    assert drifted == moves

    net.eval()
    if not drifted:
        torch.testing.assert_close(net(x), by_hand(reference, x, batch=False), rtol=1e-4, atol=1e-4)
    assert depends_on_batch(net) == uses_batch
    for _, layer in norm_layers(net):
        assert layer.weight.requires_grad == layer.bias.requires_grad == affine


@pytest.mark.parametrize("name", ["inference", "recalibrate"])
def test_train_called_on_the_layer_itself_changes_nothing(name):
    net = pretrained_net()
    set_batchnorm(net, POLICIES[name])
    expected = net.eval()(images())
    for _, layer in norm_layers(net):
        layer.train()
    assert torch.equal(net(images()), expected)


def test_running_statistics_drift_as_momentum_says():
    net = pretrained_net()
    set_batchnorm(net, POLICIES["update_stats"])
    layer = net[1]
    before, x = layer.running_mean.clone(), images()
    expected = 0.9 * before + 0.1 * net[0](x).mean([0, 2, 3])
    net.train()(x)
    torch.testing.assert_close(layer.running_mean, expected)


def test_gradients_reach_the_affine_where_it_is_trained():
    for name, policy in POLICIES.items():
        net = pretrained_net()
        set_batchnorm(net, policy)
        x = images().requires_grad_()
        net.train()(x).square().sum().backward()
        assert (net[1].weight.grad is not None) == EXPECTED[name][2]
        assert net[0].weight.grad is None


def test_recalibrate_takes_the_statistics_of_the_images():
    net = pretrained_net()
    x = images(32)
    recalibrate(net, [x])
    first = net[0](x)
    torch.testing.assert_close(net[1].running_mean, first.mean([0, 2, 3]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net[1].running_var, first.var([0, 2, 3]), rtol=1e-4, atol=1e-4)
    assert net[1].momentum == 0.1


def test_statistics_untouched_restores_buffers_and_flags():
    net = pretrained_net()
    set_batchnorm(net, POLICIES["train"])
    net.eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with statistics_untouched(net):
        net.train()(images())
    assert not any(module.training for module in net.modules())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


class Tiny(pl.LightningModule):
    def __init__(self, policy: BatchNormConfig) -> None:
        super().__init__()
        self.net = pretrained_net()
        set_batchnorm(self.net, policy)
        self.head = nn.Linear(4, 2)
        self.seen_training_flags: set[bool] = set()

    def training_step(self, x: Tensor, _: int) -> Tensor:
        return self.head(self.net(x).mean((2, 3))).square().mean()

    def validation_step(self, x: Tensor, _: int) -> None:
        self.head(self.net(x).mean((2, 3)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], 1e-2)


def fit(module: Tiny, folder: Path, epochs: int, ckpt: str | None = None) -> pl.Trainer:
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=1,
    )  # fmt: skip
    loader = DataLoader(images(16), batch_size=4)
    trainer.fit(module, loader, loader, ckpt_path=ckpt, weights_only=False)
    return trainer


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_policy_survives_fit_validation_sanity_check_and_resume(name, tmp_path):
    module = Tiny(POLICIES[name])
    start = statistics(module.net)
    affine = module.net[1].weight.detach().clone()
    trainer = fit(module, tmp_path, 1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    resumed = Tiny(POLICIES[name])
    fit(resumed, tmp_path, 2, str(tmp_path / "one.ckpt"))

    moved = any(not torch.equal(a, b) for a, b in zip(start, statistics(resumed.net), strict=True))
    _, expected_move, trained = EXPECTED[name]
    assert moved == expected_move
    assert torch.equal(affine, resumed.net[1].weight) == (not trained)
    resumed.net.train()
    x, reference = images(), copy.deepcopy(resumed.net)
    expected = by_hand(reference, x, batch=EXPECTED[name][0])
    torch.testing.assert_close(resumed.net(x), expected, rtol=1e-4, atol=1e-4)


def test_lightnings_own_freezing_still_behaves_as_batch_stats():
    """The day this fails, Lightning has closed the trap: tell it in policy.py and the README."""
    lightning, ours = pretrained_net(), pretrained_net()
    BaseFinetuning.freeze(lightning, train_bn=False)
    set_batchnorm(ours, POLICIES["batch_stats"])
    before, x = statistics(lightning), images()
    assert torch.equal(lightning.train()(x), ours.train()(x))
    assert all(torch.equal(a, b) for a, b in zip(before, statistics(lightning), strict=True))
    assert torch.equal(lightning.eval()(x), ours.eval()(x))
    assert not torch.allclose(lightning.eval()(x), lightning.train()(x), atol=0.1)
