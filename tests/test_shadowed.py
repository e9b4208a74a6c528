"""A choice of a group that an experiment's file leaves without effect is refused, with settings that take effect."""

import shlex
from pathlib import Path

import pytest
from fewer import mostly_slow
from omegaconf import OmegaConf

from seedsweep.cli.main import main

BEST = """# @package _global_
experiment: {name: best_of_x1}
augment: {name: none, rotation: 0.0, shift: [0.0, 0.0], zoom: 0.0, horizontal_flip: false, vertical_flip: false}
batchnorm: {name: inference, training_statistics: stored, update_statistics: false, train_affine: false}
optim: {name: adam, lr: 0.001, weight_decay: 0.0}
preprocess: {name: auto, normalise: true, rescale: false}
backbone: {name: efficientnet_lite0, library: own, weights: auto}
trainer: {max_epochs: 9, patience: 2}
"""


def shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main([*words, "--cfg", "job"])
    said = capsys.readouterr()
    return code, said.err or said.out


@pytest.mark.parametrize(
    "choice",
    mostly_slow(
        ["augment=light", "batchnorm=batch_stats", "optim=sgd", "preprocess=rescale_twice", "backbone=resnet18",
         "trainer=quick"],
        ["batchnorm=batch_stats", "trainer=quick"],
    ),
)  # fmt: skip
def test_a_choice_without_effect_is_refused(choice: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    folder = in_tmp / "mine/experiment"
    folder.mkdir(parents=True)
    (folder / "best_of_x1.yaml").write_text(BEST)
    words = ["--config-dir", "mine", "+experiment=best_of_x1"]
    code, said = shown([*words, choice], capsys)
    assert code == 2
    assert said.startswith(f"seedsweep: +experiment=best_of_x1 sets {choice.split('=')[0]}.")
    assert f"so {choice} can't change that: instead of {choice} write " in said
    code, page = shown([*words, *shlex.split(said.rpartition(" write ")[2])], capsys)
    assert code == 0, "what is printed works"
    group, _, name = choice.partition("=")
    now, alone = OmegaConf.create(page)[group], OmegaConf.create(shown([choice], capsys)[1])[group]
    for key, value in alone.items():
        assert now[key] == value or (group == "trainer" and key == "progress_bar"), (name, key)
    assert main(["-m", *words, choice, "seed=1,2"]) == 2
    assert "can't change that" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["frozen_bn", "batchnorm=batch_stats"], ["frozen_bn", "data=folder"], ["finetune_bn", "optim=adamw"],
        ["frozen_vgg16", "backbone=vgg16"], ["scratch", "backbone=efficientnet_lite0"], ["as_asked", "augment=light"],
        ["frozen_bn", "trainer=quick", "head=linear", "preprocess=rescale_only", "optim=sgd"],
    ],
)  # fmt: skip
def test_a_choice_with_effect_is_not(words: list[str], in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    code, said = shown([f"+experiment={words[0]}", *words[1:]], capsys)
    assert code == 0, said


def test_the_control_keeps_its_net(in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    code, said = shown(["+experiment=frozen_vgg16", "backbone=efficientnet_lite0"], capsys)
    assert code == 2
    assert "+experiment=frozen_vgg16 sets backbone.name=vgg16 itself" in said
    assert "write backbone.name=efficientnet_lite0" in said
    code, page = shown(["+experiment=frozen_vgg16", "backbone.name=efficientnet_lite0"], capsys)
    assert code == 0, page
    assert OmegaConf.create(page).backbone.name == "efficientnet_lite0"


@pytest.mark.parametrize("arm", [[], ["+experiment=frozen_bn"]])
def test_a_choice_without_effect_beside_a_backbones_recipe(
    arm: list[str], in_tmp: Path, capsys: pytest.CaptureFixture[str]
):
    folder = in_tmp / "mine/backbone"
    folder.mkdir(parents=True)
    recipe = "# @package _global_\nbackbone: {name: vgg16, library: own}\noptim: {name: adamw, lr: 3.0e-4}\n"
    (folder / "own.yaml").write_text(recipe)
    words = ["--config-dir", "mine", "backbone=own", *arm]
    code, said = shown([*words, "optim=sgd"], capsys)
    assert code == 2
    assert said.startswith(
        "seedsweep: backbone=own sets optim.name=adamw optim.lr=0.0003 itself, so optim=sgd can't"
    )
    code, said = shown([*words, *said.partition(" write ")[2].split()], capsys)
    assert (code, OmegaConf.create(said).optim.name) == (0, "sgd")
