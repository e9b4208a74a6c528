"""Files of the user's own below --config-dir: whatever is wrong with them is one sentence with file and line."""

import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from test_cli import Stub

from seedsweep.cli.config import hydra_setup
from seedsweep.cli.config.yaml_file import read_yaml
from seedsweep.cli.main import main
from seedsweep.errors import SeedsweepError
from seedsweep.training import run as training

GLOBAL = "# @package _global_\n"
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
)
BROKEN: dict[str, tuple[str | bytes, str]] = {
    "tab": ("head:\n\twidth: 1\n", "line 3: a tab"),
    "quote": ("head: {width: 1}\nseed: 'a\n", "line 3: the quote that begins here"),
    "bracket": ("head: {width: 1\n", "line 3: it is not YAML"),
    "twice": ("seed: 1\nhead: {width: 1}\nseed: 2\n", "line 4: this key stands there twice: seed"),
    "latin": ("experiment: {name: größe}\n".encode("latin-1"), "line 2: the file is not UTF-8"),
    "binary": (bytes(range(256)), "the file is not UTF-8"),
    "nul": ("seed: 1\nhead: \0\n", "line 3: a character"),
    "list": ("- seed\n- 1\n", "line 2: a file of settings"),
    "word": ("seed\n", "line 2: a file of settings"),
    "two": ("seed: 1\n---\nseed: 2\n", "line 3: it is not YAML"),
    "defaults_word": ("defaults: head\n", "line 2: defaults is a list"),
    "defaults_map": ("defaults: {head: linear}\n", "line 2: defaults is a list"),
    "defaults_pair": ("defaults:\n  - {head: linear, optim: sgd}\n", "line 3: in defaults"),
    "defaults_deep": ("defaults:\n  - head: {width: 1}\n", "line 3: in defaults"),
    "defaults_gone": ("defaults:\n  - override /head: gone\n", "head=gone is unknown"),
    "defaults_no_group": ("defaults:\n  - override /nope: linear\n", "nope"),
    "defaults_self": ("defaults:\n  - defaults_self\n", "circle"),
    "circle": ("seed: ${head.width}\nhead: {width: '${seed}'}\n", "circle"),
    "refers": ("head: {width: '${head.gone}'}\n", "line 2"),
    "bomb": (BOMB, "values"),
    "itself": ("head: &a {width: *a}\n", "itself"),
    "deep": ("seed: " + "[" * 3000 + "\n", "nested too deeply"),
    "kind": ("seed: 1\noptim: {lr: high}\n", "must be a number. It stands in mine/experiment/kind.yaml, line 3"),
    "unknown": ("seed: 1\noptim:\n  lrr: 1\n", "optim.lr? It stands in mine/experiment/unknown.yaml, line 4"),
    "top": ("sed: 2\n", "did you mean seed?"),
    "bounds": ("head: {width: -1}\n", "head.width is -1"),
    "nothing": ("head: null\n", "head"),
    "list_for_map": ("head: [1]\n", "head"),
    "map_for_number": ("seed: {a: 1}\n", "seed"),
    "tag": ("seed: !!python/object:os.system x\n", "line 2: it is not YAML"),
    "int_tag": ("seed: !!int x\n", "can't be read"),
    "key": ("? [1, 2]\n: 3\n", "line 2: a key must be a word"),
    "number_key": ("1: 2\n", "1"),
    "grammar": ("experiment: {name: '${'}\n", "experiment.name"),
    "size": ("data: {image_size: [100000, 100000]}\n", "at most 4,096"),
    "short": ("data: {image_size: [96]}\n", "two numbers"),
}  # fmt: skip


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, in_tmp: Path) -> Stub:
    made = Stub()
    monkeypatch.setattr(training, "train", made)
    return made


def lay(name: str, content: str | bytes, group: str = "experiment", header: str = GLOBAL) -> None:
    folder = Path("mine") / group
    folder.mkdir(parents=True, exist_ok=True)
    content = content if isinstance(content, bytes) else content.encode()
    (folder / f"{name}.yaml").write_bytes(header.encode() + content)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_sentence(name: str, stub: Stub, capsys: pytest.CaptureFixture[str]):
    content, wanted = BROKEN[name]
    lay(name, content)
    began = time.perf_counter()
    assert main(["--config-dir", "mine", f"+experiment={name}"]) == 2
    assert time.perf_counter() - began < 20
    said = capsys.readouterr()
    assert wanted in said.err
    assert "Traceback" not in said.err + said.out
    assert said.err.count("\n") == 1
    if ", line" in wanted or wanted.startswith("line"):
        assert f"mine/experiment/{name}.yaml" in said.err
    assert not Path("outputs").exists()


def test_a_users_backbone_comes_before_timms(stub: Stub, monkeypatch: pytest.MonkeyPatch):
    lay("resnet50", "name: vgg16\nlibrary: own\nweights: none\n", "backbone", "")
    asked = []
    monkeypatch.setattr(hydra_setup, "is_timm", lambda name: bool(asked.append(name)))
    assert main(["--config-dir", "mine", "backbone=resnet50"]) == 0
    assert stub.calls[0][0].backbone.name == "vgg16"
    assert asked == [], "to ask timm takes seconds"


def test_what_is_not_used_harms_nothing(stub: Stub):
    lay("broken", "\t")
    lay("good", "experiment: {name: good}\n")
    assert main(["--config-dir", "mine", "+experiment=good"]) == 0


def test_a_folder_called_like_a_file_is_no_choice(stub: Stub, capsys: pytest.CaptureFixture[str]):
    Path("mine/experiment/x.yaml").mkdir(parents=True)
    assert main(["--config-dir", "mine", "+experiment=x"]) == 2
    assert "experiment=x is unknown" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "# nothing\n", "\ufeffname: x\n", "---\nname: x\n...\n"])
def test_what_is_merely_unusual_is_read(content: str, stub: Stub):
    lay("x", content, header="")
    assert main(["--config-dir", "mine", "--cfg", "job", "+experiment=x"]) == 0


def test_help_passes_over_a_broken_experiment(in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    lay("x", "\t")
    lay("y", "- a\n")
    assert main(["--config-dir", "mine", "--help"]) == 0
    assert "mine/experiment/x.yaml, line 2: a tab" in capsys.readouterr().out


def test_texts_in_files_stay_texts(stub: Stub, in_tmp: Path):
    for name in ("2024_10", "1e5"):
        (in_tmp / name / "x").mkdir(parents=True)
    lay("x", "data: {root: 2024_10, name: folder}\nexperiment: {name: true}\n")
    lay("ours", "name: folder\nroot: 1e5\nimage_size: [32, 32]\n", "data", "")
    assert main(["--config-dir", "mine", "+experiment=x", "hydra.run.dir=a"]) == 0
    assert main(["--config-dir", "mine", "data=ours", "hydra.run.dir=b"]) == 0
    assert [call[0].data.root for call in stub.calls] == ["2024_10", "1e5"]
    assert stub.calls[0][0].experiment.name == "true"
    assert OmegaConf.load("a/.hydra/config.yaml").data.root == "2024_10"


def test_choices_of_text_in_files_stay_texts(tmp_path: Path):
    path = tmp_path / "s.yaml"
    path.write_text(GLOBAL + "study:\n  space:\n    r: {key: data.root, choices: [2024_10, true]}\n"
                    "    w: {key: head.width, choices: [1_0, 20]}\n")  # fmt: skip
    space = read_yaml(path, "study")[0]["study"]["space"]
    assert space["r"]["choices"] == ["2024_10", "true"]
    assert space["w"]["choices"] == [10, 20]


def test_a_large_file_is_not_read(tmp_path: Path):
    path = tmp_path / "s.yaml"
    path.write_text("a: 1\n" + "#" * 2_000_000)
    with pytest.raises(SeedsweepError, match="larger than"):
        read_yaml(path, "")


TOO_MUCH = {
    "seed=range(0,1e12)": "at most 10,000",
    "seed=range(0,1000000000000)": "at most 10,000",
    "seed=range(0,1e12,0.5)": "at most 10,000",
    "seed=range(1,2,0)": "has no end",
    "seed=range(0,inf)": "has no end",
    "seed=shuffle(range(0,1e12))": "at most 10,000",
    "head.width=1e12": "head.width is 1,000,000,000,000, but can be at most 65,536",
    "head.width=99999999999999999999999": "at most 65,536",
    "data.image_size=[100000,100000]": "at most 4,096",
    "data.image_size=100000": "at most 4,096",
    "trainer.max_epochs=1e12": "at most 100,000",
    "data.batch_size=1e9": "at most 65,536",
    "features.batch_size=1e9": "at most 65,536",
    "data.demo.n_images=1e9": "at most 100,000",
    "study.n_trials=1e12": "at most 100,000",
    "data.workers=1e6": "at most 1,024",
    "optim.lr=inf": "finite",
    "optim.lr=nan": "greater than 0",
    "augment.shift=[]": "two numbers",
    "augment.shift=[0.1]": "two numbers",
    "augment.shift=[0,0,0]": "two numbers",
    "augment.shift=[a,0]": "augment.shift[0] is 'a', but must be a number",
    "augment.shift=[-1,0]": "augment.shift is -1",
    "augment.shift=null": "augment.shift can't be null",
    "augment.shift=[null,0]": "augment.shift",
    "data.image_size=null": "data.image_size can't be null",
    "data.image_size=[]": "two numbers",
    "data.image_size=[96.5,96]": "must be a whole number",
    "data.image_size=a": "must be a list",
    "study.first=a": "study.first",
    "study.settings=null": "study.settings can't be null",
    "seed=-1": "seed is -1",
    "data.split_seed=-1": "data.split_seed is -1",
    "head.width=-1": "at least 0",
    "optim.lr=[1]": "optim.lr",
    "optim.lr={a:1}": "optim.lr",
    "trainer.progress_bar=maybe": "true or false",
}  # fmt: skip


@pytest.mark.parametrize("override", TOO_MUCH)
def test_sizes_that_cannot_be_are_refused_at_once(
    override: str, stub: Stub, capsys: pytest.CaptureFixture[str]
):
    began = time.perf_counter()
    assert main([*(["-m"] if "range" in override else []), override]) == 2
    assert time.perf_counter() - began < 20
    error = capsys.readouterr().err
    assert TOO_MUCH[override] in error
    assert error.count("\n") == 1
    assert not stub.calls


def test_a_grid_of_too_many_jobs_is_refused(stub: Stub, capsys: pytest.CaptureFixture[str]):
    assert main(["-m", "seed=range(0,200)", "data.split_seed=range(0,200)"]) == 2
    assert "40,000 jobs" in capsys.readouterr().err
