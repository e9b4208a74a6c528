"""conf/ is found from a checkout, from elsewhere, and from an installed wheel."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def lists_experiments(python: str, cwd: Path, **env: str) -> None:
    command = [python, "-m", "seedsweep", "--help"]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True, env=env or None)
    assert "frozen_bn" in result.stdout


def test_from_the_checkout_and_from_elsewhere(tmp_path: Path):
    lists_experiments(sys.executable, ROOT)
    lists_experiments(sys.executable, tmp_path)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_configs(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert f"seedsweep/conf/{path.relative_to(ROOT / 'conf').as_posix()}" in names
    assert "seedsweep/py.typed" in names  # type checkers read the types of a package that says so
    assert not [name for name in names if name.endswith((".ckpt", ".safetensors"))]


def test_from_an_installed_wheel(wheel: Path, tmp_path: Path):
    """A virtual environment with the wheel alone; its libraries are this environment's."""
    venv.create(tmp_path / "venv", with_pip=False)
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(site)
    libraries = [p for p in sys.path if p.endswith("site-packages")]
    (site / "libraries.pth").write_text("\n".join(libraries) + "\n")
    python = str(tmp_path / "venv" / "bin" / "python")
    where = "import seedsweep, seedsweep.names as l; print(seedsweep.__file__, l.conf_dir())"
    found = subprocess.run(
        [python, "-c", where], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert found.count(str(site)) == 2
    lists_experiments(python, tmp_path)
    check = subprocess.run(
        [python, "-m", "seedsweep", "backbone=vgg61"], cwd=tmp_path, capture_output=True, text=True
    )
    assert check.returncode == 2
    assert "did you mean vgg16" in check.stderr
