"""The example script: the trap in plain Lightning, and its cure."""

import io
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "experiments/lightning_trap.py"


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """What the script prints with few images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(SCRIPT), "--images", "192", "--epochs", "6"])
        with redirect_stdout(io.StringIO()) as said:
            runpy.run_path(str(SCRIPT), run_name="__main__")
    return said.getvalue().splitlines()


def test_the_script_shows_the_trap_and_its_cure(lines):
    title, trap, cure = lines
    assert " ".join(title.split()) == "accuracy on the training images train mode eval mode gap"
    trapped, cured = ([float(word) for word in line.split() if word[0] in "01"] for line in (trap, cure))
    assert trapped[0] > 0.95
    assert trapped[1] < 0.6
    assert "+0.000 ± 0.000" in cure
    assert cured[0] == cured[1] > trapped[1] + 0.15
