"""What `import seedsweep` offers: the names, their examples, and what they cost."""

import doctest
import inspect
import json
import subprocess
import sys

import pytest

import seedsweep as ss

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
