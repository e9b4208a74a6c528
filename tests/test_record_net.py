"""The record against the net: what it says of a run is what the net does in a pass in train mode and in eval mode.

Every experiment file, and 20 single overrides of them, are built, and looked at from outside: which statistics
normalise, which move, where gradients arrive, what black and white become, what drops out, what is augmented.
"""

import random
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from composed import config_of
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import functional

from seedsweep.batchnorm.policy import norm_layers, statistics_untouched
from seedsweep.batchnorm.statistics import recalibrate
from seedsweep.cli.config.schema import Config
from seedsweep.data.epoch import build_augment
from seedsweep.data.value_ranges import Ranges
from seedsweep.errors import SeedsweepError
from seedsweep.models.build import BuiltModel
from seedsweep.models.called import NONE
from seedsweep.models.input_scaling import Preprocess
from seedsweep.names import conf_dir
from seedsweep.runs.switches import Switches
from seedsweep.training.assemble import backbone_as_set, build_module
from seedsweep.training.effective import _preprocess_of, effective
from seedsweep.training.module import ArmModule

EXPERIMENTS = sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))
NET = ["backbone.name=test_resnet", "backbone.library=timm"]
HERE = ["backbone.weights=none", "data.image_size=[32,32]", "head.width=16"]
SIZE = 6  # images of a batch
OVERRIDES = {
    "batchnorm": ["inference", "batch_stats", "update_stats", "train", "recalibrate"],
    "batchnorm.training_statistics": ["batch", "stored"],
    "batchnorm.update_statistics": ["true", "false"],
    "batchnorm.train_affine": ["true", "false"],
    "batchnorm.recalibrate": ["true", "false"],
    "preprocess": ["auto", "rescale_only", "rescale_twice"],
    "preprocess.normalise": ["true", "false"],
    "preprocess.rescale": ["true", "false"],
    "backbone.freeze": ["true", "false"],
    "backbone.train_from": ["0.5", "0.8"],
    "augment": ["none", "light", "question"],
    "augment.rotation": ["20"],
    "augment.shift": ["[0.2,0]"],
    "augment.shear": ["30"],
    "augment.zoom": ["0.3"],
    "augment.horizontal_flip": ["true"],
    "augment.brightness": ["0.5"],
    "head.width": ["0", "24"],
    "head.dropout": ["0.25", "0.5"],
    "head.class_weights": ["balanced"],
    "head.label_smoothing": ["0.1"],
    "optim": ["adam", "adamw", "sgd"],
    "optim.momentum": ["0.5"],
    "optim.schedule": ["cosine", "one_cycle"],
    "optim.head_lr": ["0.003"],
    "optim.layer_decay": ["0.7"],
    "optim.clip_norm": ["0.5"],
    "optim.weight_decay": ["0.02"],
}


def settings(experiment: str, *overrides: str) -> Config:
    own = [] if experiment == "frozen_vgg16" else NET  # the control is a net without BatchNorm
    width = [] if any(line.startswith("head.width") for line in overrides) else HERE[-1:]
    return config_of(f"+experiment={experiment}", *own, *HERE[:-1], *width, *overrides)


def drawn(n: int, seed: int) -> list[tuple[str, str]]:
    """Returns ``n`` experiments with one override each, no key twice while there are others, none that is refused."""
    rng = random.Random(seed)
    keys = rng.sample(list(OVERRIDES), len(OVERRIDES))
    found: list[tuple[str, str]] = []
    for key in keys:
        for _ in range(8):
            pair = rng.choice(EXPERIMENTS), f"{key}={rng.choice(OVERRIDES[key])}"
            try:
                settings(*pair)
            except SeedsweepError:  # contradictory
                continue
            found.append(pair)
            break
    return found[:n]


CASES = [
    *((name, "") for name in EXPERIMENTS),
    *(("random", str(number)) for number in range(6)),
    *(pytest.param("random", str(number), marks=pytest.mark.slow) for number in range(6, 20)),
]


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str]]:
    return drawn(20, seed=21)


def photographs(n: int, seed: int) -> Tensor:
    """Returns uint8 images [n, 3, 32, 32] of different brightness."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 256, (n, 3, 32, 32), generator=generator)
    return (noise * torch.linspace(0.3, 1.0, n).view(-1, 1, 1, 1)).to(torch.uint8)


LABELS = torch.tensor([0, 0, 0, 1, 1, 2])


def built_of(config: Config) -> tuple[ArmModule, BuiltModel, bool]:
    """Returns the module, its origin, and whether the statistics were estimated anew on its way."""
    labels = LABELS.numpy()
    table = SimpleNamespace(classes=["a", "b", "c"], labels=labels, indices=lambda _: np.arange(len(labels)))
    moved = []

    def calibrate(net: nn.Module, preprocess: nn.Module) -> None:
        before = statistics(net)
        recalibrate(net, [preprocess(photographs(SIZE, 9))])
        moved.append(apart(before, statistics(net)) > 0)

    torch.manual_seed(0)
    backbone = backbone_as_set(config, calibrate)
    pixels = SimpleNamespace(how=SimpleNamespace(ranges=Ranges()))
    prepared: Any = SimpleNamespace(table=table, pixels=pixels)
    module, built = build_module(config, prepared, backbone)
    for _, layer in norm_layers(built.classifier):
        nn.init.uniform_(layer.weight, 0.5, 1.5)  # timm begins some at 0, which hides what they do
    return module, built, any(moved)


def statistics(net: nn.Module) -> list[tuple[Tensor, Tensor]]:
    return [(layer.running_mean.clone(), layer.running_var.clone()) for _, layer in norm_layers(net)]  # type: ignore[union-attr]


def apart(one: list[tuple[Tensor, Tensor]], other: list[tuple[Tensor, Tensor]]) -> int:
    """Returns in how many layers the statistics differ."""
    return sum(not all(map(torch.equal, a, b)) for a, b in zip(one, other, strict=True))


def knows_its_batch(layer: nn.Module, inputs: Tensor, *, training: bool) -> bool:
    """Says whether what a layer answers to the first image changes with the others of its batch.

    Args:
        layer: a norm layer.
        inputs: of the shape that reaches it.
        training: which mode it is put into, as ``train()`` of the whole net does.
    """
    inputs = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(5))
    others = inputs.clone()
    others[1:] = others[1:].flip(0) * 2 + 1
    with statistics_untouched(layer), torch.no_grad():
        layer.train(training)
        first = layer(inputs)[0]
        layer.train(training)
        return not torch.allclose(first, layer(others)[0], atol=1e-5)


def batchnorm_seen(module: ArmModule) -> dict[str, Any]:
    """Returns how many norm layers do what in a pass of each mode."""
    net, images = module.classifier, photographs(SIZE, 1)
    layers = norm_layers(net.backbone)
    inputs: dict[str, Tensor] = {}
    handles = [
        layer.register_forward_pre_hook(lambda _, x, name=name: inputs.update({name: x[0].detach()}))
        for name, layer in layers
    ]
    before = statistics(net)
    net.train()
    loss = functional.cross_entropy(net(images), LABELS)
    loss.backward()
    after_training = statistics(net)
    with torch.no_grad():
        net.eval()(images)
    after_eval = statistics(net)
    for handle in handles:
        handle.remove()
    reached = {name for name, p in net.backbone.named_parameters() if p.grad is not None}
    return {
        "layers": len(layers),
        "batch": [knows_its_batch(layer, inputs[name], training=True) for name, layer in layers],
        "batch_in_eval": [knows_its_batch(layer, inputs[name], training=False) for name, layer in layers],
        "moved": [not all(map(torch.equal, a, b)) for a, b in zip(before, after_training, strict=True)],
        "moved_in_eval": apart(after_training, after_eval),
        "affine": [any(f"{name}.{p}" in reached for p in ("weight", "bias")) for name, _ in layers],
        "reached": reached,
    }


def check_batchnorm(switches: Switches, seen: dict[str, Any], recalibrated: bool) -> None:
    said = switches.batchnorm
    assert said.layers == seen["layers"]
    assert not any(seen["batch_in_eval"])
    assert seen["moved_in_eval"] == 0
    if not said.layers:
        assert (said.training_statistics, said.policy) == (NONE, NONE)
        assert (said.update_statistics, said.train_affine, said.recalibrate) == (False, False, False)
        return
    held, acting = said.held_layers or 0, said.layers - (said.held_layers or 0)
    assert seen["batch"] == [False] * held + [said.training_statistics == "batch"] * acting
    assert seen["moved"] == [False] * held + [said.update_statistics] * acting
    assert seen["affine"] == [False] * held + [said.train_affine] * acting
    assert said.recalibrate == recalibrated


def check_backbone(switches: Switches, built: BuiltModel, reached: set[str]) -> None:
    said, net = switches.backbone, built.classifier.backbone
    sizes = {name: parameter.numel() for name, parameter in net.named_parameters()}
    of_norms = {f"{name}.{p}" for name, layer in norm_layers(net) for p, _ in layer.named_parameters()}
    assert said.parameters == sum(sizes.values())
    assert said.trained_parameters == sum(sizes[name] for name in reached)
    others = [name for name in sizes if name not in of_norms]
    assert said.freeze == (not reached & set(others))
    trained = [name in reached for name in others]
    if said.train_from is None:
        assert all(trained) or not any(trained)
    else:
        assert trained == sorted(trained)  # none before the cut, all from it on
        assert any(trained)
        assert not all(trained)
    with torch.no_grad(), statistics_untouched(net):
        x = built.classifier.preprocess(photographs(SIZE, 2))
        answers = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            answers.append(net.train()(x))
    assert said.dropout == (not torch.allclose(*answers, atol=1e-4))


def check_preprocess(switches: Switches, module: ArmModule) -> None:
    said, net = switches.preprocess, module.classifier
    spec: Any = net.backbone.input_spec
    met: list[Tensor] = []
    handle = net.backbone.register_forward_pre_hook(lambda _, x: met.append(x[0]))
    with torch.no_grad():
        for value in (0, 255):
            net.eval()(torch.full((1, 3, 32, 32), value, dtype=torch.uint8))
    handle.remove()
    for value, tensor, told in zip((0.0, 255.0), met, (said.black, said.white), strict=True):
        wanted = torch.full((3,), value)
        if said.normalise:
            wanted = (wanted / 255 - torch.tensor(spec.mean)) / torch.tensor(spec.std)
        if said.rescale:
            wanted = wanted / 255
        assert told is not None
        assert torch.allclose(tensor[0, :, 0, 0], wanted, atol=1e-6)
        assert torch.allclose(torch.tensor(told), wanted, atol=1e-6)


def check_head(switches: Switches, module: ArmModule) -> None:
    said, head = switches.head, module.classifier.head
    features = torch.rand(400, head.output.in_features if not said.width else head.hidden.in_features) + 0.1  # type: ignore[union-attr]
    met: list[Tensor] = []
    handles = [
        head.output.register_forward_pre_hook(lambda _, x: met.append(x[0])),  # type: ignore[union-attr]
    ]
    with torch.no_grad():
        head.eval()(features)
        head.train()(features)
    handles[0].remove()
    kept, dropped = met
    assert kept.shape[1] == (said.width or features.shape[1])
    share = float((dropped[kept != 0] == 0).float().mean())
    assert share == pytest.approx(said.dropout, abs=0.03)
    assert (share == 0) == (said.dropout == 0)
    batch = {"image": photographs(SIZE, 3), "label": LABELS}
    module.eval()
    with torch.no_grad():
        logits, loss = module(batch["image"]), module.training_step(batch, 1)
    weights = 6 / (3 * torch.tensor([3.0, 2.0, 1.0])) if said.class_weights == "balanced" else None
    wanted = functional.cross_entropy(logits, LABELS, weight=weights, label_smoothing=said.label_smoothing)
    assert float(loss) == pytest.approx(float(wanted), rel=1e-5)


def check_optimiser(switches: Switches, module: ArmModule, reached: set[str]) -> None:
    said, optimiser = switches.optim, module.configure_optimizers()
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    assert type(optimiser) is kinds[said.name]
    groups, net = optimiser.param_groups, module.classifier.backbone
    for group in groups:
        own = (group["weight_decay"], group.get("momentum"), group.get("nesterov"))
        assert own == (said.weight_decay, said.momentum, said.nesterov)
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert {rates[id(p)] for p in module.classifier.head.parameters()} == {said.head_lr or said.lr}
    of_net = sorted({rates[id(p)] for p in net.parameters() if id(p) in rates}, reverse=True)
    if said.layer_decay == 1:
        assert of_net in ([said.lr], [])
    elif of_net:  # one rate a block
        ratios = [b / a for a, b in zip([said.lr, *of_net[:-1]], of_net, strict=True)]
        assert ratios == pytest.approx([said.layer_decay] * len(ratios))
    changed = set(rates)
    assert {name for name, parameter in net.named_parameters() if id(parameter) in changed} == reached


def check_augment(switches: Switches, config: Config) -> None:
    said, images = switches.augment, photographs(SIZE, 4)
    digests = [f"{number:064x}" for number in range(1, SIZE + 1)]
    augment = build_augment(config.augment, seed=1, digests=digests)
    assert (augment is None) == (said.name == NONE)
    if augment is None:
        assert not any((said.rotation, *said.shift, said.shear, said.zoom, said.brightness))
        assert (said.horizontal_flip, said.vertical_flip) == (False, False)
        return
    drawn_from = [augment.parameters(epoch) for epoch in range(40)]
    table = torch.cat(drawn_from)
    acts = [bool(column.unique().numel() > 1) for column in table.T]
    assert acts == [
        bool(value)
        for value in (
            said.rotation, said.shift[0], said.shift[1], said.shear, said.zoom, said.zoom, said.horizontal_flip,
            said.vertical_flip, said.brightness,
        )
    ]  # fmt: skip
    assert float(table[:, 0].abs().max()) == pytest.approx(said.rotation, rel=0.1)
    changed = [augment(images, torch.arange(SIZE), epoch) for epoch in range(3)]
    assert any(not torch.allclose(made, images.float(), atol=1.0) for made in changed)


@pytest.mark.parametrize(("experiment", "number"), CASES)
def test_the_record_says_what_the_net_does(experiment: str, number: str, pairs: list[tuple[str, str]]):
    pair = pairs[int(number)] if number else (experiment,)
    config = settings(*pair)
    module, built, recalibrated = built_of(config)
    switches = effective(config, built)
    assert Switches.from_dict(asdict(switches)) == switches
    seen = batchnorm_seen(module)
    check_batchnorm(switches, seen, recalibrated)
    check_backbone(switches, built, seen["reached"])
    check_preprocess(switches, module)
    check_head(switches, module)
    check_optimiser(switches, module, seen["reached"])
    check_augment(switches, config)


def test_the_overrides_are_20_of_all_kinds(pairs: list[tuple[str, str]]):
    assert len(pairs) == 20
    sections = {line.partition("=")[0].split(".")[0] for _, line in pairs}
    assert sections == {"batchnorm", "preprocess", "backbone", "augment", "head", "optim"}


def test_what_drops_out_of_a_backbone_is_told():
    config = settings("frozen_bn")
    _, built, _ = built_of(config)
    assert effective(config, built).backbone.dropout is False
    blocks = [
        module for module in built.classifier.backbone.modules() if type(module).__name__ == "BasicBlock"
    ]
    blocks[0].drop_path = nn.Dropout2d(0.5)
    switches = effective(config, built)
    assert switches.backbone.dropout is True


@pytest.mark.filterwarnings("ignore:Accessing the data pointer")
def test_a_net_on_a_gpu_is_read_as_well():
    """Tensors of this mode have a device but no values: the pass gets as far as reading its result."""
    net = built_of(settings("frozen_bn"))[1].classifier.preprocess
    assert isinstance(net, Preprocess)
    with FakeTensorMode(allow_non_fake_inputs=True):
        net.scale, net.bias = torch.empty(1, 3, 1, 1, device="cuda"), torch.empty(1, 3, 1, 1, device="cuda")
        with pytest.raises(DataDependentOutputException):
            _preprocess_of(net)
    assert net.scale.device.type == "cuda"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["batchnorm.update_statistics=true"], "batchnorm.training_statistics=stored normalises with"),
        (["batchnorm=train", "batchnorm.training_statistics=stored"], "update_statistics=true moves them"),
        (["features=off", "features.views=4"], "features=off stores nothing"),
    ],
)
def test_switches_that_contradict_each_other_are_refused(overrides: list[str], sentence: str):
    with pytest.raises(SeedsweepError, match=sentence):
        config_of(*overrides)


def test_a_momentum_that_nothing_uses_is_refused(in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    from seedsweep.cli.main import main

    for line in (
        ["optim.momentum=0.5"],
        ["-m", "optim.momentum=0.5,0.9"],
        ["-m", "optim.momentum=0.5", "seed=1,2"],
    ):
        assert main(line) == 2
        assert "optim.momentum is given, but optim.name=adam has none" in capsys.readouterr().err
    space = "+study.space.m={key: optim.momentum, low: 0.1, high: 0.9}"
    assert main(["+study=head", "+experiment=frozen_bn", space]) == 2
    assert "study.space: optim.momentum is given, but optim.name=adam has none" in capsys.readouterr().err
    Path("mine/experiment").mkdir(parents=True)
    with_sgd = (
        "# @package _global_\ndefaults: [frozen_bn, {override /optim: sgd}]\nexperiment: {name: with_sgd}\n"
    )
    Path("mine/experiment/with_sgd.yaml").write_text(with_sgd)
    arms = "+study.space.e={key: experiment, choices: [frozen_bn, with_sgd]}"
    words = ["--config-dir", "mine", "+study=head", "+experiment=frozen_bn", space, arms, "--cfg", "job"]
    assert main(words) == 0, capsys.readouterr().err


def test_a_grid_over_a_name_alone_is_refused(in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    from seedsweep.cli.main import main

    assert main(["-m", "batchnorm.name=inference,batch_stats"]) == 2
    assert "changes what batchnorm is called, and no setting: take batchnorm=..." in capsys.readouterr().err
