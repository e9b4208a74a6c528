"""What `import seedsweep` offers: the names, their examples, and what they cost."""

import doctest
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import seedsweep as ss
from seedsweep.names import conf_dir

HEAVY = {
    "torch",
    "pytorch_lightning",
    "hydra",
    "omegaconf",
    "sklearn",
    "scipy",
    "numpy",
    "pandas",
    "timm",
    "optuna",
}


def test_import_seedsweep_imports_nothing_heavy():
    code = "import sys, json, time, seedsweep as ss; dir(ss); print(json.dumps(sorted(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = json.loads(found.stdout)
    assert not HEAVY & set(modules)
    assert [name for name in modules if name.startswith("seedsweep")] == ["seedsweep"]


def test_every_public_name_is_there_and_no_other():
    assert sorted(ss.__all__) == sorted(ss._HOMES)
    assert set(ss.__all__) <= set(dir(ss))
    for name in ss.__all__:
        assert getattr(ss, name) is not None
    with pytest.raises(AttributeError, match="module 'seedsweep' has no attribute 'set_batchnrom'"):
        ss.set_batchnrom  # noqa: B018


def test_type_checkers_see_the_names_where_they_are():
    """The imports under TYPE_CHECKING are those of ``__getattr__``."""
    source = inspect.getsource(ss).partition("if TYPE_CHECKING:\n")[2].partition("\n\n")[0]
    seen = {}
    exec(inspect.cleandoc(source), seen)
    assert {name: seen[name] for name in ss.__all__} == {name: getattr(ss, name) for name in ss.__all__}


FUNCTIONS = [(ss, name) for name in ss.__all__] + [
    (ss.stats, name) for name in ("accuracy", "compare", "table")
]


@pytest.mark.parametrize(("where", "name"), FUNCTIONS)
def test_the_example_of_each_name_runs(where, name):
    found = getattr(where, name)
    (example,) = doctest.DocTestFinder(recurse=False).find(found, name, globs={})
    assert found.__doc__
    assert "Example:" in found.__doc__
    assert example.examples
    report: list[str] = []
    failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=report.append).failed
    assert not failed, "".join(report)


def test_the_code_of_the_guide_runs(in_tmp, capsys):
    text = (Path(__file__).parents[1] / "docs/guides/python_api.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == text.count("```python")
    names = {}
    for block in blocks:
        exec(block, names)
    said = capsys.readouterr().out
    assert "(64, 8) (64,) (64,)" in said
    assert (in_tmp / "outputs/from_python/report.html").is_file()


def test_the_guide_names_every_public_name_and_policy():
    text = (Path(__file__).parents[1] / "docs/guides/python_api.md").read_text()
    shown = set(ss.__all__) - {"BatchNormHandle", "BnGap", "Features", "Run"}  # what functions return
    assert {name for name in shown if f"ss.{name}" not in text} == set()
    assert {path.stem for path in (conf_dir() / "batchnorm").glob("*.yaml")} == set(
        re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    )


@pytest.mark.slow
def test_type_checkers_of_others_see_the_types(tmp_path):
    """In strict mode, from outside of the project: py.typed is there, and no name is Any."""
    source = tmp_path / "theirs.py"
    source.write_text(
        "import numpy as np\nimport seedsweep as ss\nfrom torch import nn\n"
        "model: nn.Module = nn.Linear(2, 2)\n"
        "reveal_type(ss.set_batchnorm(model, 'inference'))\n"
        "reveal_type(ss.bn_gap(model, []).gap)\n"
        "reveal_type(ss.extract_features(model, []).y)\n"
        "reveal_type(ss.stats.accuracy([1, 0]).low)\n"
        "reveal_type(ss.load_run('x').record.epochs)\n"
        "ss.set_batchnorm(model, 3)\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", str(source)]
    said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stdout
    types = re.findall(r'Revealed type is "(.*)"', said)
    assert [name.rpartition(".")[2].rstrip("]?") for name in types][:2] == ["BatchNormHandle", "float"]
    assert types[2].startswith("numpy.ndarray")
    assert types[3:] == ["float", "int"] or types[3:] == ["builtins.float", "builtins.int"]
    assert 'Argument 2 to "set_batchnorm" has incompatible type "int"' in said
