"""Text on the command line stays the text that was typed, and printed commands run as printed."""

import json
import shlex
from pathlib import Path

import pytest
from fewer import mostly_slow
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from test_cli import Stub

from seedsweep.cli.arguments import arrange
from seedsweep.cli.config.override_values import is_text, kinds
from seedsweep.cli.main import main
from seedsweep.errors import SeedsweepError
from seedsweep.overrides import as_text, setting, split, text_of
from seedsweep.runs.command import command
from seedsweep.training import run as training

ALL = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
FEW = settings(ALL, max_examples=20)
NUMBERS = (
    "2024_10", "1e5", "true", "Null", "2024-10-01", "0x1f", "1:30", "yes", "1_0.5", "inf", "NaN", "-1", "007",
)  # fmt: skip
NAMES = (
    *NUMBERS, "~scans", "./~scans", "a=b", "a b", " a", "a ", "it's", '"', "say \"so\"", "ends\\", "$HOME", "a$b",
    "[old] scans", "(1)", "{x}", "größe", "種子", "& ( ) #", "name (1", "#", "!", "a;b", "a|b", "*", "%s", "a:b", "@",
    "ends\\\\", "\\\"", "q\\'", "tab\tin", "-m", "--help", "glob(*)", "choice(1)", "[1,2]", "x.yaml", "None",
)  # fmt: skip
ANY_NAME = st.one_of(
    st.sampled_from(NAMES),
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12),
    st.text("\"'\\,()[]{}~=+#&$ aé1_e.", min_size=1, max_size=10),
)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, in_tmp: Path) -> Stub:
    made = Stub()
    monkeypatch.setattr(training, "train", made)
    return made


def read(override: str) -> object:
    (parsed,) = OverridesParser.create().parse_overrides([override])
    return parsed.value()


def test_every_text_of_the_schema_is_known():
    texts = {key for key in kinds() if is_text(key)}
    assert {
        "data.root",
        "study.name",
        "experiment.name",
        "report.dir",
        "hydra.run.dir",
        "storage.url",
    } <= texts
    assert not texts & {
        "seed",
        "optim.lr",
        "data.image_size",
        "study.space",
        "head.width",
        "trainer.progress_bar",
    }


@pytest.mark.parametrize("name", NUMBERS)
def test_what_looks_like_a_number_is_text_in_every_text_setting(name: str):
    for key in kinds():
        if is_text(key) and (name, key) != ("Null", key):
            (override, *_) = [o for o in arrange([f"{key}={name}"]) if o.startswith(key)]
            assert read(override) == name, override


def test_null_is_text_where_nothing_can_be_missing():
    assert read(arrange(["data.root=null"])[0]) is None
    assert read(arrange(["study.name=null"])[0]) == "null"


def test_a_folder_called_null_is_one(in_tmp: Path):
    (in_tmp / "null").mkdir()
    assert read(arrange(["data.root=null"])[0]) == "null"


@FEW
@given(ANY_NAME)
@example("${x")
def test_a_printed_setting_is_read_as_it_was(name: str):
    _read_as_it_was(name)


@pytest.mark.slow
@ALL
@given(ANY_NAME)
def test_printed_settings_are_read_as_they_were(name: str):
    _read_as_it_was(name)


def _read_as_it_was(name: str) -> None:
    word = setting("report.dir", name)
    assert read(word) == name
    assert text_of(word.partition("=")[2]) == name
    assert arrange([word]) == [word]


@ALL
@given(ANY_NAME.filter(lambda name: not set(name) & {",", "\\"} and name[0] not in "\"'" and "(" not in name))
def test_a_name_is_typed_as_it_is(name: str):
    if name.lower() != "null":
        assert read(arrange([f"report.dir={name}"])[0]) == name


def test_a_list_of_texts_is_split_outside_quotes_and_brackets():
    assert split('a,"b,c",[1,2],d(e,f)') == ["a", '"b,c"', "[1,2]", "d(e,f)"]
    assert split("it's,b") == ["it's", "b"]
    assert split("a\\,b") == ["a\\,b"]
    assert split("a (1, b") == ["a (1, b"]


def folders(*names: str) -> None:
    for name in names:
        (Path(name) / "x").mkdir(parents=True)


def test_a_list_is_a_grid_of_texts(stub: Stub):
    folders("2024_10", "1e5")
    assert main(["-m", "data.root=2024_10,1e5"]) == 0
    assert [call[0].data.root for call in stub.calls] == ["2024_10", "1e5"]
    assert {call[0].data.name for call in stub.calls} == {"folder"}


def test_a_folder_with_a_comma_is_one_folder(stub: Stub, capsys: pytest.CaptureFixture[str]):
    folders("a,b")
    assert main(["data.root=a,b", "hydra.run.dir=first"]) == 0
    assert main(["-m", "seed=1,2", "data.root=a,b"]) == 0
    assert {call[0].data.root for call in stub.calls} == {"a,b"}
    folders("a", "b")
    assert main(["data.root=a,b"]) == 2
    said = capsys.readouterr().err
    for line, found in (('data.root="a,b"', ["a,b"]), ("data.root=choice(a,b)", ["a", "b"])):
        assert line in said
        stub.calls.clear()
        assert main([*(["-m"] if "choice" in line else []), line]) == 0
        assert [call[0].data.root for call in stub.calls] == found


def test_a_list_without_m_says_how_a_comma_is_quoted(in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["study.name=a,b"]) == 2
    assert "add -m" in (said := capsys.readouterr().err)
    assert "'study.name=\"a,b\"'" in said
    assert main(["head.dropout=0.1,0.2"]) == 2
    assert "one text" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    mostly_slow(
        ["2024_10", "1e5", "~scans", "./~scans", "größe (1) & #", "it's", "[x]", "a=b"],
        ["2024_10", "~scans", "größe (1) & #"],
    ),
)
def test_a_run_its_notes_and_its_resume_have_the_folder_that_was_typed(name: str, stub: Stub, in_tmp: Path):
    folders(name)
    assert main([f"data.root={name}", f"hydra.run.dir=runs/{name}"]) == 0
    (run,) = (in_tmp / "runs").iterdir()
    assert run.name == Path(name).name
    assert OmegaConf.load(run / ".hydra" / "config.yaml").data.root == name
    (run / "metrics.json").unlink()
    assert main(shlex.split(command(("resume", run.relative_to(in_tmp))))[3:]) == 0
    assert [call[0].data.root for call in stub.calls] == [name, name]


def test_quotes_and_interpolations_of_the_user_work(stub: Stub):
    folders("a 7")
    assert main(["data.root='a ${seed}'", "seed=7", "hydra.run.dir=one"]) == 0
    assert main(["data.root=a ${seed}", "seed=7", "hydra.run.dir=${paths.outputs}/two"]) == 0
    assert [call[0].data.root for call in stub.calls] == ["a 7", "a 7"]
    assert stub.calls[1][1] == Path("outputs/two").absolute()


def test_home_is_not_a_folder_called_tilde(stub: Stub, in_tmp: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(in_tmp / "home"))
    folders("home/seeds")
    assert main(["data.root=~/seeds", "paths.outputs=~/out"]) == 0
    assert stub.calls[0][1].is_relative_to(in_tmp / "home" / "out")


@settings(FEW, max_examples=8)
@given(ANY_NAME)
def test_a_printed_command_runs_as_printed(tmp_path_factory: pytest.TempPathFactory, name: str):
    _runs_as_printed(tmp_path_factory.getbasetemp(), name)


@pytest.mark.slow
@ALL
@given(ANY_NAME)
def test_printed_commands_run_as_printed(tmp_path_factory: pytest.TempPathFactory, name: str):
    _runs_as_printed(tmp_path_factory.getbasetemp(), name)


def _runs_as_printed(folder: Path, name: str) -> None:
    """From the words to the shell, to our arguments, to the report's folder."""
    assume("${" not in name)  # OmegaConf reads an interpolation there, in quotes too
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(
            "seedsweep.cli.tasks.report.run", lambda config, *_, **__: seen.append(config.report.dir)
        )
        words = shlex.split(command("task=report", ("report.dir", name)))
        assert main(words[3:]) == 0
    assert seen == [name]


@pytest.mark.parametrize(
    "name", mostly_slow(["größe", "a & (b) #", "2024_10", "true", "x,y", "it's"], ["a & (b) #", "x,y"])
)
def test_the_winner_of_a_study_of_any_name_runs_as_printed(name: str, stub: Stub, in_tmp: Path):
    folders("d")
    best = in_tmp / "outputs" / "studies" / name / "conf" / "experiment" / f"best_of_{name}.yaml"
    best.parent.mkdir(parents=True)
    content = {
        "experiment": {"name": f"best_of_{name}"},
        "data": {"name": "folder", "root": str(in_tmp / "d")},
    }
    best.write_text("# @package _global_\n" + OmegaConf.to_yaml(OmegaConf.create(content)))
    assert main([*shlex.split(command(("experiment", best.stem)))[3:], "hydra.run.dir=a"]) == 0
    assert main([f"+experiment=best_of_{name}".replace(",", "\\,"), "hydra.run.dir=b"]) == 0
    assert {call[0].experiment.name for call in stub.calls} == {f"best_of_{name}"}


@pytest.mark.parametrize("key", ["study.name", "experiment.name"])
@pytest.mark.parametrize("name", ["..", ".", "../x", "a/b", "/tmp/x", " ", '""', "\0", "a\nb", "é" * 130])
def test_no_name_leaves_the_folder_of_outputs(
    key: str, name: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]
):
    study = ["+study=head"] if key.startswith("study") else []
    assert main([*study, f"{key}={name}"]) == 2
    error = capsys.readouterr().err
    assert key in error
    assert error.count("\n") == 1
    assert list(in_tmp.iterdir()) == []


def test_no_name_of_a_long_grid_leaves_it(stub: Stub, in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    names = ",".join([*(f"a{number}" for number in range(20)), "../x"])
    assert main(["-m", f"experiment.name={names}"]) == 2
    assert "experiment.name" in capsys.readouterr().err
    assert list(in_tmp.iterdir()) == []
    assert main(["+experiment=best_of_../../x"]) == 2
    assert "holds a '/'" in capsys.readouterr().err


def test_contradictions_of_data_are_said(in_tmp: Path, capsys: pytest.CaptureFixture[str]):
    folders("d")
    assert main(["data=demo", "data.root=d"]) == 2
    assert "data=folder" in capsys.readouterr().err
    with pytest.raises(SeedsweepError):
        arrange(["resume"])


def test_ones_own_choice_of_data_stays(stub: Stub, in_tmp: Path):
    folders("d")
    (in_tmp / "mine/experiment").mkdir(parents=True)
    (in_tmp / "mine/data").mkdir()
    (in_tmp / "mine/data/ours.yaml").write_text("name: folder\nroot: null\nimage_size: [32, 48]\n")
    text = "# @package _global_\ndefaults:\n  - override /data: ours\nexperiment: {name: mine}\n"
    (in_tmp / "mine/experiment/mine.yaml").write_text(text)
    assert main(["--config-dir", "mine", "+experiment=mine", "data.root=d", "hydra.run.dir=one"]) == 0
    assert main(["--config-dir", "mine", "data.root=d", "hydra.run.dir=two"]) == 0
    assert [list(call[0].data.image_size) for call in stub.calls] == [[32, 48], [224, 224]]


def test_one_number_is_both_sides_and_1e3_a_whole_number(stub: Stub):
    assert main(["data.image_size=96", "trainer.max_epochs=1e1", "hydra.run.dir=one"]) == 0
    assert main(["-m", "data.image_size=96,128"]) == 0
    assert [list(call[0].data.image_size) for call in stub.calls] == [[96, 96], [96, 96], [128, 128]]
    assert stub.calls[0][0].trainer.max_epochs == 10
    assert json.loads((stub.calls[0][1] / "metrics.json").read_text())["status"] == "finished"


def test_numbers_inside_choice_are_written_likewise(stub: Stub):
    assert main(["-m", "data.image_size=choice(96, 128)", "data.batch_size=choice(1e1,2e1)"]) == 0
    found = [(tuple(call[0].data.image_size), call[0].data.batch_size) for call in stub.calls]
    assert found == [((96, 96), 10), ((96, 96), 20), ((128, 128), 10), ((128, 128), 20)]


def test_as_text_leaves_plain_words_alone():
    assert [as_text(word) for word in ("frozen_bn", "/tmp/x-1.csv", "./a")] == [
        "frozen_bn",
        "/tmp/x-1.csv",
        "./a",
    ]
