"""The public BatchNorm functions, on models that are none of ours."""

import copy
import math
import pickle

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BackboneFinetuning
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import seedsweep as ss
from seedsweep.batchnorm.policy import follows_stored, norm_layers
from seedsweep.errors import SeedsweepError

POLICIES = ("inference", "batch_stats", "update_stats", "train", "recalibrate")
QUIET = {
    "accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False,
}  # fmt: skip


class Conv(nn.Module):
    """Convolution or dense layer, norm layer, head."""

    def __init__(self, kind: type[nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        torch.manual_seed(0)
        space = {nn.BatchNorm1d: 1, nn.BatchNorm2d: 2, nn.BatchNorm3d: 3, nn.SyncBatchNorm: 2}[kind]
        conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[space]
        self.shape = (3, *[6] * space)
        self.backbone = nn.Sequential(conv(3, 4, 3), kind(4), nn.ReLU(), conv(4, 4, 3), kind(4))
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)
        for layer in (self.backbone[1], self.backbone[4]):
            layer.running_mean.normal_()
            layer.running_var.uniform_(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.backbone(x).flatten(2).mean(2)))

    def images(self, n: int = 8) -> Tensor:
        return torch.randn(n, *self.shape, generator=torch.Generator().manual_seed(1)) * 3 + 1


KINDS = [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm]


def state_of(model: nn.Module) -> list[object]:
    """All that a policy may touch, and all that a measurement must leave alone."""
    return [
        [(name, module.training, len(module._forward_pre_hooks)) for name, module in model.named_modules()],
        [
            (n, layer.momentum, layer.track_running_stats, sorted(vars(layer)))
            for n, layer in norm_layers(model)
        ],
        [(name, parameter.requires_grad) for name, parameter in model.named_parameters()],
        {key: value.tolist() for key, value in model.state_dict().items()},
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_holds_after_train_and_eval_and_is_taken_back(policy, kind):
    model = Conv(kind)
    model.backbone[1].weight.requires_grad = False
    plain = copy.deepcopy(model)
    before, keys = state_of(model), list(model.state_dict())
    handle = ss.set_batchnorm(model, policy)
    assert list(handle.layers) == ["backbone.1", "backbone.4"]
    assert list(model.state_dict()) == keys
    x = model.images()
    statistics = [b.clone() for b in model.backbone.buffers()]
    model.eval().train()
    got = model.backbone(x)
    stored = policy in {"inference", "recalibrate"}
    expected = (plain.eval() if stored else plain.train()).backbone(x)
    torch.testing.assert_close(got, expected)
    moved = any(not torch.equal(a, b) for a, b in zip(statistics, model.backbone.buffers(), strict=True))
    assert moved == (policy in {"train", "update_stats"})
    trained = {p.requires_grad for _, layer in norm_layers(model) for p in layer.parameters()}
    assert trained == {policy == "train"}
    model.load_state_dict(Conv(kind).state_dict())  # the statistics themselves are not the handle's
    handle.remove()
    handle.remove()
    assert state_of(model) == before


def test_remove_leaves_the_mode_that_was_set_last():
    model = Conv().train()
    handle = ss.set_batchnorm(model, "inference")
    model(model.images())
    model.eval()
    handle.remove()
    assert not any(module.training for module in model.modules())
    handle = ss.set_batchnorm(model, "inference")
    model.train()(model.images())
    handle.remove()
    assert all(module.training for module in model.modules())
    model.backbone[1].eval()  # somebody's own freezing of one layer
    with ss.set_batchnorm(model, "batch_stats"):
        model.train()
    assert not model.backbone[1].training
    assert model.backbone[4].training


def test_a_single_layer_gets_its_own_mode_back():
    layer = nn.BatchNorm1d(3)
    with ss.set_batchnorm(layer, "inference"):
        layer(torch.randn(4, 3))
        assert not layer.training
    assert layer.training


def test_the_last_policy_wins_and_any_order_of_removal_ends_at_the_start():
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        model = Conv()
        before = state_of(model)
        handles = [ss.set_batchnorm(model, policy) for policy in ("inference", "train", "batch_stats")]
        layer = model.backbone[1]
        assert not follows_stored(layer)
        assert not layer.track_running_stats
        for index in order:
            handles[index].remove()
        assert state_of(model) == before
    model = Conv()
    ss.set_batchnorm(model, "inference")
    with ss.set_batchnorm(model, "train"):
        assert model.backbone[1].weight.requires_grad
        assert not follows_stored(model.backbone[1])
    assert not model.backbone[1].weight.requires_grad
    assert follows_stored(model.backbone[1])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_has_the_policy_and_can_get_another(copied):
    model = Conv()
    handle = ss.set_batchnorm(model, "inference")
    twin = copied(model).train()
    handle.remove()
    x = model.images()
    assert torch.equal(twin.backbone(x), model.eval().backbone(x))
    ss.set_batchnorm(twin, "batch_stats")
    assert torch.equal(twin.train().backbone(x), model.train().backbone(x))
    model, handle = copied((twin, ss.set_batchnorm(twin, "inference")))
    handle.remove()  # the copied handle is the copy's
    assert torch.equal(model.train().backbone(x), Conv().train().backbone(x))
    assert follows_stored(twin.backbone[1])


def test_modules_chooses_layers_by_the_names_of_submodules():
    model = Conv()
    handle = ss.set_batchnorm(model, "inference", modules=["backbone.4"])
    assert list(handle.layers) == ["backbone.4"]
    assert not follows_stored(model.backbone[1])
    with pytest.raises(
        SeedsweepError, match=r"no submodule 'trunk': its direct submodules are backbone, drop, head"
    ):
        ss.set_batchnorm(model, "inference", modules=["trunk"])
    with pytest.raises(
        SeedsweepError, match="no BatchNorm policy 'frozen': choose one of batch_stats, inference"
    ):
        ss.set_batchnorm(model, "frozen")


def test_a_layer_without_running_statistics_is_refused_where_they_are_needed():
    model = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False))
    for policy in ("inference", "update_stats", "train"):
        with pytest.raises(SeedsweepError, match="BatchNorm layer 0 was made with track_running_stats=False"):
            ss.set_batchnorm(model, policy)
    ss.set_batchnorm(model, "batch_stats").remove()


def test_a_model_without_batchnorm_has_no_layers_to_set():
    assert ss.set_batchnorm(nn.Linear(2, 2), "inference").layers == {}


@pytest.mark.parametrize("policy", [None, *POLICIES])
def test_recalibrate_averages_over_batches_under_any_policy(policy):
    model = Conv().train()
    if policy:
        ss.set_batchnorm(model, policy)
    model.backbone[1].momentum = 0.3
    x = model.images(12)
    first = model.backbone[0](x)
    before = state_of(model)
    ss.recalibrate(model, DataLoader(TensorDataset(x, torch.zeros(12)), batch_size=4))
    means = torch.stack([part.mean((0, 2, 3)) for part in first.split(4)]).mean(0)
    variances = torch.stack([part.var((0, 2, 3)) for part in first.split(4)]).mean(0)
    torch.testing.assert_close(model.backbone[1].running_mean, means)
    torch.testing.assert_close(model.backbone[1].running_var, variances)
    assert state_of(model)[:3] == before[:3]
    changed = {key for key, value in before[3].items() if value != model.state_dict()[key].tolist()}
    assert changed
    assert all("running" in key or "num_batches" in key for key in changed)


def test_recalibrate_leaves_everything_where_it_cannot_serve():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    model(torch.randn(8, 3))
    before = state_of(model)
    with pytest.raises(SeedsweepError, match="no batches"):
        ss.recalibrate(model, [])
    with pytest.raises(SeedsweepError, match="Batch 2 of the loader gives a BatchNorm layer a single value"):
        ss.recalibrate(model, DataLoader(torch.randn(5, 3), batch_size=4))
    with pytest.raises(SeedsweepError, match="batches of type dict"):
        ss.recalibrate(model, [{"x": torch.randn(4, 3)}])
    assert state_of(model) == before
    ss.recalibrate(nn.Linear(2, 2), [])  # without BatchNorm there is nothing to estimate


@pytest.mark.parametrize("policy", [None, *POLICIES])
@pytest.mark.parametrize("training", [True, False])
def test_bn_gap_by_hand_and_nothing_is_changed(policy, training):
    model = Conv()
    if policy:
        ss.set_batchnorm(model, policy)
    model.train(training)
    model.drop.eval()
    x, y = model.images(64), torch.randint(0, 2, (64,), generator=torch.Generator().manual_seed(2))
    before, random = state_of(model), torch.get_rng_state()
    found = ss.bn_gap(model, DataLoader(TensorDataset(x, y, y), batch_size=16, shuffle=True))
    assert state_of(model) == before
    assert torch.equal(torch.get_rng_state(), random)

    whole = ss.bn_gap(model, [(x, y)])
    twin = copy.deepcopy(model).train()
    twin.drop.eval()
    in_train = (twin(x).argmax(1) == y).double()
    in_eval = (copy.deepcopy(model).eval()(x).argmax(1) == y).double()
    assert whole.train_mode == in_train.mean()
    assert whole.eval_mode == found.eval_mode == in_eval.mean()
    assert whole.gap == pytest.approx(whole.train_mode - whole.eval_mode)
    error = np.std((in_train - in_eval).numpy(), ddof=1) / 8
    assert whole.standard_error == pytest.approx(error)
    assert (error > 0) == (policy not in {"inference", "recalibrate"})


class Frozen(Conv):
    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        self.backbone.eval()
        return self


def test_bn_gap_is_none_where_the_model_itself_keeps_its_layers_in_eval_mode():
    model = Frozen()
    found = ss.bn_gap(model, [(model.images(), torch.zeros(8, dtype=torch.long))])
    assert found.gap == found.standard_error == 0


def test_bn_gap_says_what_is_wrong():
    model = Conv()
    x, y = model.images(), torch.zeros(8, dtype=torch.long)
    with pytest.raises(SeedsweepError, match="no batches"):
        ss.bn_gap(model, [])
    for loader in ([x], [(x, y.float())], [(x, y[:3])]):
        with pytest.raises(SeedsweepError, match=r"tuples \(inputs, labels, ...\) with a class number"):
            ss.bn_gap(model, loader)
    with pytest.raises(
        SeedsweepError, match=r"must give logits \[B, N\] for 8 inputs, but gave \[8, 4, 2, 2\]"
    ):
        ss.bn_gap(model.backbone, [(x, y)])
    dense = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).train()
    with pytest.raises(SeedsweepError, match="Batch 1 of the loader"):
        ss.bn_gap(dense, [(torch.randn(1, 3), y[:1])])
    assert dense[1].track_running_stats
    assert math.isnan(ss.bn_gap(model, [(x[:1], y[:1])]).standard_error)


class Theirs(pl.LightningModule):
    """Somebody else's module: knows nothing of seedsweep."""

    def __init__(self, late: bool = False) -> None:
        super().__init__()
        self.learning_rate = 1e-2
        if not late:
            self.configure_model()

    def configure_model(self) -> None:
        if hasattr(self, "backbone"):
            return
        net = Conv()
        self.backbone, self.head = net.backbone, net.head

    def training_step(self, x: Tensor, _: int) -> Tensor:
        return self.head(self.backbone(x).mean((2, 3))).square().mean()

    def validation_step(self, x: Tensor, _: int) -> None:
        self.head(self.backbone(x).mean((2, 3)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], self.learning_rate)


def fit(module: pl.LightningModule, folder, callbacks, epochs=2, ckpt=None, **more) -> pl.Trainer:
    trainer = pl.Trainer(
        max_epochs=epochs,
        callbacks=callbacks,
        default_root_dir=folder,
        num_sanity_val_steps=1,
        **QUIET,
        **more,
    )
    loader = DataLoader(Conv().images(16), batch_size=4)
    trainer.fit(module, loader, loader, ckpt_path=ckpt, weights_only=False)
    return trainer


class Watch(pl.Callback):
    """What each training batch is normalised with."""

    def __init__(self) -> None:
        self.stored: list[bool] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        layer = pl_module.backbone[1]
        x = pl_module.backbone[0](batch)
        mean = layer.running_mean if layer.running_mean is not None else 0
        kept = (x - mean.view(1, -1, 1, 1)) / (layer.running_var + layer.eps).sqrt().view(1, -1, 1, 1)
        kept = kept * layer.weight.view(1, -1, 1, 1) + layer.bias.view(1, -1, 1, 1)
        with torch.no_grad():
            self.stored.append(torch.allclose(copy.deepcopy(layer)(x), kept, atol=1e-4))


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("policy", ["inference", "batch_stats", "train"])
def test_the_callback_holds_through_fit_and_resume(policy, late, tmp_path):
    watch, module = Watch(), Theirs(late)
    start = [b.clone() for b in Conv().backbone.buffers()]
    trainer = fit(module, tmp_path, [ss.BatchNormCallback(policy, "backbone"), watch], epochs=1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    resumed = Theirs(late)
    fit(resumed, tmp_path, [ss.BatchNormCallback(policy, "backbone"), watch], 2, str(tmp_path / "one.ckpt"))
    assert watch.stored == [policy == "inference"] * 8
    moved = any(not torch.equal(a, b) for a, b in zip(start, resumed.backbone.buffers(), strict=True))
    assert moved == (policy == "train")
    same = torch.equal(resumed.backbone[1].weight, Conv().backbone[1].weight)
    assert same == (policy != "train")
    assert not resumed.backbone[1]._forward_pre_hooks
    assert all(layer.track_running_stats for _, layer in norm_layers(resumed))
    assert all(parameter.requires_grad for parameter in resumed.parameters())


def test_the_callback_has_the_last_word_over_lightnings_unfreezing(tmp_path):
    watch = Watch()
    thaw = BackboneFinetuning(unfreeze_backbone_at_epoch=1, train_bn=False, verbose=False)
    start = Conv().backbone
    module = Theirs()
    fit(module, tmp_path, [ss.BatchNormCallback("inference", "backbone"), thaw, watch], epochs=3)
    assert watch.stored == [True] * 12
    assert torch.equal(module.backbone[1].running_mean, start[1].running_mean)
    assert torch.equal(module.backbone[1].weight, start[1].weight)
    assert not torch.equal(module.backbone[0].weight, start[0].weight)


def test_the_callback_says_what_it_does_not_find(tmp_path, caplog):
    with pytest.raises(SeedsweepError, match="Theirs has no submodule 'body', but backbone, head"):
        fit(Theirs(), tmp_path, [ss.BatchNormCallback("inference", "body")])
    with pytest.raises(SeedsweepError, match="no BatchNorm policy 'freeze'"):
        ss.BatchNormCallback("freeze")
    fit(Theirs(), tmp_path, [ss.BatchNormCallback("inference", "head")], epochs=1)
    assert "there are no BatchNorm layers in head" in caplog.text


def test_the_callback_follows_layers_that_become_syncbatchnorm():
    """As ``Trainer(sync_batchnorm=True)`` does after ``setup``."""
    module, callback = Theirs(), ss.BatchNormCallback("batch_stats", "backbone")
    callback.setup(None, module, "fit")
    assert not module.backbone[1].track_running_stats
    nn.SyncBatchNorm.convert_sync_batchnorm(module)
    callback.on_fit_start(None, module)
    layer = module.backbone[1]
    assert isinstance(layer, nn.SyncBatchNorm)
    assert not layer.track_running_stats
    assert not layer.weight.requires_grad
    callback.teardown(None, module, "fit")
    assert layer.track_running_stats
    assert layer.weight.requires_grad


@pytest.mark.slow
def test_the_callback_holds_in_two_processes(tmp_path):
    """DDP with gloo on the CPU; the first process writes what both saw."""
    module = Theirs()
    before = module.backbone[1].running_mean.clone()
    trainer = pl.Trainer(
        max_epochs=2, callbacks=[ss.BatchNormCallback("inference", "backbone"), Told(tmp_path)], devices=2,
        strategy="ddp_spawn", default_root_dir=tmp_path, **QUIET,
    )  # fmt: skip
    trainer.fit(module, DataLoader(Conv().images(16), batch_size=4))
    for rank in range(2):
        told = torch.load(tmp_path / f"{rank}.pt")
        assert told["world"] == 2
        assert torch.equal(told["mean"], before)
        assert told["stored"] == [True] * 4


class Told(Watch):
    def __init__(self, folder) -> None:
        super().__init__()
        self.folder = folder

    def on_train_end(self, trainer, pl_module) -> None:
        seen = {
            "world": trainer.world_size,
            "mean": pl_module.backbone[1].running_mean,
            "stored": self.stored,
        }
        torch.save(seen, self.folder / f"{trainer.global_rank}.pt")


def test_bn_gap_refuses_what_no_accuracy_can_be_told_from():
    model = Conv()
    x, y = model.images(), torch.zeros(8, dtype=torch.long)
    with pytest.raises(SeedsweepError, match="NaN or infinite logits"):
        ss.bn_gap(model, [(x * math.nan, y)])
    for wrong in (y - 1, y + 1000):
        with pytest.raises(SeedsweepError, match="Class numbers must be 0 to"):
            ss.bn_gap(model, [(x, wrong)])
