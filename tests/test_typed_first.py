"""What people type first works, or its sentence says what does: every piece of advice is tried."""

import re
import shlex
from pathlib import Path

import pytest
from fewer import mostly_slow
from PIL import Image
from test_cli import Stub

from seedsweep.cli.config.schema import Config
from seedsweep.cli.main import main
from seedsweep.errors import SeedsweepError
from seedsweep.export.given_files import find_images
from seedsweep.training import run as training

# of each mistake, the sentence's advice that is tried; a capital word in it is filled in
ADVICE = {
    "lr=1e-4": "optim.lr",
    "epochs=5": "trainer.max_epochs",
    "batch_size=8": "data.batch_size",
    "model=vgg16": "backbone",
    "dataset=d": "data.root",
    "learning_rate=1": "optim.lr",
    "optimizer=sgd": "optim",
    "image_size=96": "data.image_size",
    "training.epochs=3": "trainer.max_epochs",
    "dataa.root=d": "data.root",
    "--epochs 5": "trainer.max_epochs=5",
    "--epochs=5": "trainer.max_epochs=5",
    "--data d": "data.root=d",
    "--batch-size 8": "data.batch_size=8",
    "--lr 1e-4": "optim.lr=1e-4",
    "--model vgg16": "backbone=vgg16",
    "--seed 3": "seed=3",
    "--experiment=frozen_bn": "experiment=frozen_bn",
    "d": "+experiment=frozen_bn data.root=d",
    "d ": "-m +sweep=demo data.root=d",
    "frozen_bn": "+experiment=frozen_bn",
    "vgg16": "backbone=vgg16",
    "study d": "+study=head +experiment=frozen_bn data.root=d",
    "augment=AutoAugment": "augment=trivial",
    "optim.scheduler=cosine": "optim.schedule",
    "ema=0.99": "trainer.ema",
    "trainer.logger=wandb": "logger",
    "mlflow=true": "logger",
    "run": "task=report report.dir=run",
    "d/x/1.png": "task=predict checkpoint=RUN data.root=d/x/1.png",
}
NOT_YET = {
    "trainer.devices=2": "one device",
    "devices=4": "one device",
    "--devices 2": "one device",
    "trainer.swa=true": "trainer.ema",
}


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, in_tmp: Path) -> Stub:
    made = Stub()
    monkeypatch.setattr(training, "train", made)
    for task in ("report", "predict", "evaluate", "export", "study", "diagnose", "cache", "dashboard"):
        monkeypatch.setattr(f"seedsweep.cli.tasks.{task}.run", made)
    for number, name in enumerate("xy"):
        (in_tmp / "d" / name).mkdir(parents=True)
        Image.new("RGB", (20, 20), (number, 9, 9)).save(in_tmp / "d" / name / "1.png")
    (in_tmp / "run" / ".hydra").mkdir(parents=True)
    (in_tmp / "run" / "metrics.json").write_text("{}")
    return made


# the advice that is followed in every suite: one of each kind of mistake
FOLLOWED = (
    "lr=1e-4", "dataset=d", "--epochs 5", "--experiment=frozen_bn", "d", "vgg16", "study d", "optim.scheduler=cosine",
    "run", "d/x/1.png",
)  # fmt: skip


@pytest.mark.parametrize("typed", [typed for typed in ADVICE if typed not in FOLLOWED])
def test_advice_is_given(typed: str, stub: Stub, capsys: pytest.CaptureFixture[str]):
    _advised(typed, capsys)


def _advised(typed: str, capsys: pytest.CaptureFixture[str]) -> str:
    advice = ADVICE[typed]
    assert main(typed.split()) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert advice.replace("=VALUE", "").replace("+sweep=demo", "+sweep=arms") in said
    return advice


@pytest.mark.parametrize("typed", mostly_slow(ADVICE, FOLLOWED))
def test_advice_works(typed: str, stub: Stub, capsys: pytest.CaptureFixture[str]):
    advice = _advised(typed, capsys)
    if "=" not in advice:
        advice = f"{advice}={typed.partition('=')[2]}"
    advice = advice.replace("VALUE", "1e-4").replace("RUN", "run")
    assert main([*shlex.split(advice), *([] if "-m" in advice else ["hydra.run.dir=here"])]) == 0
    assert stub.calls


@pytest.mark.parametrize("typed", NOT_YET)
def test_what_there_is_not_is_said(typed: str, stub: Stub, capsys: pytest.CaptureFixture[str]):
    assert main(typed.split()) == 2
    assert NOT_YET[typed] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            "pruner.options={a:1}",
            "pruner.options takes entries of its own, each with a +: +pruner.options.NAME=VALUE.",
        ),
        ("data.demo=5", "data.demo holds settings of its own: give one of them, not a value."),
        ("backbone=timm backbone=auto data.root=nope", "nope is no folder"),
    ],
)
def test_a_value_in_the_place_of_settings(
    typed: str, said: str, stub: Stub, capsys: pytest.CaptureFixture[str]
):
    assert main(typed.split()) == 2
    assert said in capsys.readouterr().err


WORK = {
    "train d": ("train", "data.root", "d"),
    "diagnose run": ("diagnose", "diagnose.run", "run"),
    "diagnose d": ("diagnose", "data.root", "d"),
    "diagnose d/x/1.png": ("diagnose", "diagnose.checkpoint", "d/x/1.png"),
    "report run": ("report", "report.dir", "run"),
    "export run": ("export", "checkpoint", "run"),
    "predict run d": ("predict", "data.root", "d"),
    "evaluate run d": ("evaluate", "data.root", "d"),
    "predict d checkpoint=run": ("predict", "checkpoint", "run"),
    "dashboard run": ("dashboard", "dashboard.dir", "run"),
    "cache clear": ("cache", "cache.action", "clear"),
    "data.root=d": ("train", "data.name", "folder"),
    "train": ("train", "data.name", "demo"),
}


@pytest.mark.parametrize("typed", WORK)
def test_words_work_where_they_mean_one_thing(typed: str, stub: Stub):
    task, key, value = WORK[typed]
    assert main([*typed.split(), "hydra.run.dir=here"]) == 0
    ((config, *_),) = stub.calls
    found: object = config
    for part in key.split("."):
        found = getattr(found, part)
    assert (config.task, found) == (task, value)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("report a b", "more than report takes"), ("train run", "resume=run"), ("resume", "resume=DIR"),
        ("train d data.root=e", "data.root is given twice"), ("predict d d checkpoint=run", "data.root is given twice"),
        ("predict run run data.root=d", "checkpoint is given twice"), ("train d task=report", "name one task"),
        ("--pretrained +experiment=frozen_bn", "backbone.weights=VALUE"), ("--lr --epochs", "optim.lr=VALUE"),
        ("diagnos d", "did you mean diagnose?"), ("proxy d", "takes no folder"), ("nonsense", "--help"),
    ],
)  # fmt: skip
def test_words_that_mean_nothing_are_told(
    typed: str, said: str, stub: Stub, capsys: pytest.CaptureFixture[str]
):
    assert main(typed.split()) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", mostly_slow(["my $dir", "it's", "a  b", 'q"x', "x,y"], ["my $dir", "x,y"]))
def test_a_printed_setting_can_be_typed_into_a_shell(
    name: str, stub: Stub, capsys: pytest.CaptureFixture[str]
):
    Path(name, "x").mkdir(parents=True)
    assert main([name]) == 2
    said = capsys.readouterr().err
    line = said[said.index("+experiment") : said.index(" trains on")]
    assert main(shlex.split(line)) == 0
    assert stub.calls[-1][0].data.root == name
    assert main(["--data", name]) == 2
    assert main(shlex.split(capsys.readouterr().err.partition("without dashes: ")[2])) == 0
    assert stub.calls[-1][0].data.root == name
    assert main([f"study.name={name},b"]) == 2
    said = capsys.readouterr().err
    line = said.partition("one text, write ")[2].rstrip()[:-1]
    assert main([*shlex.split(line), "hydra.run.dir=named"]) == 0
    assert stub.calls[-1][0].study.name == f"{name},b"


def test_a_folder_whose_name_begins_with_a_tilde(stub: Stub, capsys: pytest.CaptureFixture[str]):
    Path("~scans/x").mkdir(parents=True)
    assert main(["~scans"]) == 2
    assert 'data.root="~scans"' in capsys.readouterr().err
    assert main(["train", "~scans"]) == 0
    assert stub.calls[0][0].data.root == "~scans"


def test_any_model_of_timm_is_a_backbone(stub: Stub, capsys: pytest.CaptureFixture[str]):
    assert main(["backbone=resnet50", "hydra.run.dir=one"]) == 0
    assert main(["-m", "backbone=resnet50,vgg16,resnet18.a1_in1k"]) == 0
    found = [(config.backbone.library, config.backbone.name) for config, *_ in stub.calls]
    timm = [("timm", "resnet50"), ("timm", "resnet50"), ("own", "vgg16"), ("timm", "resnet18.a1_in1k")]
    assert found == timm
    assert main(["backbone=resnet5000"]) == 2
    assert "any model of timm" in capsys.readouterr().err
    assert main(["backbone=resnet50", "backbone.weights=none", "--cfg", "job"]) == 0


def test_the_version_is_ours(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    said = capsys.readouterr().out
    assert re.match(r"seedsweep \d+\.\d+\.\d+ \(python 3.*torch \d.*timm \d", said)
    assert said.count("\n") == 1


def test_the_demo_is_the_same_with_and_without_a_network(stub: Stub):
    assert main(["-m", "+sweep=demo"]) == 0
    assert main(["+study=demo", "+experiment=frozen_bn"]) == 0
    configs: list[Config] = [call[0] for call in stub.calls]
    assert len(configs) == 6
    assert {(config.backbone.name, config.backbone.library) for config in configs} == {
        ("efficientnet_lite0", "own")
    }
    assert main(["-m", "+sweep=demo", "backbone=vgg16", "experiment=frozen_bn"]) == 0
    assert stub.calls[-1][0].backbone.name == "vgg16", "the command line wins"


def test_one_image_is_predicted(stub: Stub):
    folder, found = find_images("d/x/1.png")
    assert (folder, found.images) == (Path("d/x"), [Path("d/x/1.png")])
    with pytest.raises(SeedsweepError, match="no folder and no image"):
        find_images("run/metrics.json")
