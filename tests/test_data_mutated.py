"""Damaged files: no traceback, no hang, no gigabytes; a reason for each."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from mutated import files, whole
from test_data_folder import make, prepare

from seedsweep.data.checked import look
from seedsweep.data.image_formats import BadImageError
from seedsweep.data.images import IMAGE_GIB, read_image, thumbnail
from seedsweep.errors import SeedsweepError

QUICK = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
LONGEST = 20.0  # seconds
MOST = 2 * 2**20  # KiB


def read_each(name: str, content: bytes, folder: Path) -> str:
    """Reads a file in all ways in which it may be read; returns why it can't be, or an empty text."""
    path = folder / name
    path.write_bytes(content)
    look(path, IMAGE_GIB)
    reasons = set()
    for size in (None, (48, 48)):
        try:
            image = read_image(path, size)
            assert image.shape[0] == 3
            assert size is None or image.shape[1:] == size
        except BadImageError as error:
            reasons.add(str(error).strip())
    try:
        thumbnail(path, 32)
    except BadImageError as error:
        reasons.add(str(error))
    path.unlink()
    assert "" not in reasons
    return "; ".join(sorted(reasons))


@pytest.mark.parametrize("name", sorted(whole()))
def test_sound_files_are_read(name: str, tmp_path: Path):
    assert not read_each(name, whole()[name], tmp_path)


@given(file=files())
@QUICK
def test_damaged_files_are_read_or_get_a_reason(
    tmp_path_factory: pytest.TempPathFactory, file: tuple[str, bytes]
):
    read_each(*file, tmp_path_factory.mktemp("mutated"))


@given(file=files())
@settings(QUICK, max_examples=8)
def test_a_folder_with_damaged_files(tmp_path_factory: pytest.TempPathFactory, file: tuple[str, bytes]):
    root = make(tmp_path_factory.mktemp("mutated") / "d", {"a": 6, "b": 6})
    (root / "a" / f"odd{Path(file[0]).suffix}").write_bytes(file[1])
    whole_set = prepare(root, annotations="keep", on_bad_image="skip")
    assert len(whole_set.table.paths) + len(whole_set.left_out) == 13
    if whole_set.left_out:
        assert [each.path.name[:3] for each in whole_set.left_out] == ["odd"]
        with pytest.raises(SeedsweepError, match="1 of 13 images can't be read"):
            prepare(root, annotations="keep")


@pytest.mark.slow
def test_a_thousand_damaged_files_in_little_time_and_memory(tmp_path: Path):
    """In a process of its own, so that its memory can be measured."""
    script = f"import test_data_mutated as t; from pathlib import Path; t.campaign(Path({str(tmp_path)!r}))"
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    print(done.stdout)


def campaign(folder: Path) -> None:
    """Reads 1,000 damaged files, and checks time and memory."""
    slowest, refused, read = 0.0, 0, 0

    @given(file=files())
    @settings(QUICK, max_examples=1000)
    def each(file: tuple[str, bytes]) -> None:
        nonlocal slowest, refused, read
        started = time.perf_counter()
        reason = read_each(*file, folder)
        slowest = max(slowest, time.perf_counter() - started)
        refused, read = refused + bool(reason), read + (not reason)

    each()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{read} read, {refused} refused, slowest {slowest:.2f} s, peak {peak / 2**20:.2f} GiB")
    assert slowest < LONGEST
    assert peak < MOST
    assert read + refused >= 1000
