"""Our own files, mutated: a sentence or the same answer, and never a traceback, a hang, or gigabytes."""

import csv
import json
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from study_stub import Arm, result, run

from seedsweep.cli.main import main
from seedsweep.models.checkpoint import BEST, LAST, PREVIOUS
from seedsweep.study.leases import host
from seedsweep.training import run as training

SMALL = [
    "backbone=timm", "backbone.name=test_resnet", "backbone.weights=none", "data.image_size=[32,32]",
    "data.batch_size=16", "head.width=8", "trainer.max_epochs=2", "features.engine=torch",
    "trainer.progress_bar=false", "trainer.accelerator=cpu", "trainer.probe_images=8", "report.write=false",
]  # fmt: skip
FEW = settings(
    max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
MANY = settings(FEW, max_examples=100)
WHOLE = 2**30  # no floats: torch was told to flush the smallest ones to zero, which hypothesis refuses
PLACE = st.integers(0, WHOLE - 1)
LONGEST, MOST = 20.0, 2 * 2**20  # seconds of computing, KiB
NOBODY = {"host": host(), "pid": 2**30, "born": 0}  # a worker that was killed


@st.composite
def mutations(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Draws what happens to a file: bytes flipped, its end lost, parts swapped, doubled, lost, put in."""
    kind = draw(st.sampled_from(("flip", "flip", "flip", "cut", "swap", "double", "lose", "put in", "lines")))
    a, b = draw(PLACE) / WHOLE, draw(PLACE) / WHOLE
    n, noise = draw(st.integers(1, 300)), draw(st.binary(min_size=1, max_size=8))
    masks = draw(st.lists(st.tuples(PLACE, st.integers(1, 255)), min_size=1, max_size=4))

    def mutated(content: bytes) -> bytes:
        data, x, y = bytearray(content), int(a * len(content)), int(b * len(content))
        if kind == "flip":
            for at, mask in masks:
                data[at * len(data) // WHOLE] ^= mask
        elif kind == "cut":
            del data[x:]
        elif kind == "swap":
            n_ = min(n, len(data) - max(x, y))
            data[x : x + n_], data[y : y + n_] = data[y : y + n_], data[x : x + n_]
        elif kind == "double":
            data[x:x] = data[y : y + n]
        elif kind == "lose":
            del data[x : x + n]
        elif kind == "put in":
            data[x:x] = noise
        else:
            lines = content.splitlines(keepends=True)
            lines.insert(int(a * len(lines)), lines.pop(int(b * len(lines))))
            data[:] = b"".join(lines)
        return bytes(data)

    return mutated


class Bounds:
    """Runs the command line and holds it to its promises."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.counts: dict[int, int] = {}

    def __call__(self, call: Callable[[], int]) -> tuple[int, str]:
        """Returns the exit status, and what was said as an error."""
        self.capsys.readouterr()
        started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        code = call()
        took = time.process_time() - started  # on a busy machine the clock tells of others
        out, err = self.capsys.readouterr()
        assert took < LONGEST
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST
        assert code in (0, 1, 2), err
        assert "Traceback" not in out + err
        assert "defect" not in err
        if code:
            assert len(err.strip().splitlines()) == 1, err
        self.counts[code] = self.counts.get(code, 0) + 1
        return code, err


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run stopped in its last epoch, the same run finished, and photographs."""
    folder = tmp_path_factory.mktemp("made")

    def stop(self: Any, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == 2:  # two epochs are done: there is a last-previous.ckpt
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        line = [*SMALL, "data.demo.n_images=70", "features=off", "trainer.max_epochs=3"]
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr("seedsweep.training.recorder.Recorder.on_train_epoch_start", stop, raising=False)
            assert main([*line, "hydra.run.dir=stopped"]) == 130
        shutil.copytree("stopped", "finished")
        assert main([*_moved("finished")]) == 0
        demo = next(
            path for path in Path(os.environ["SEEDSWEEP_CACHE"]).rglob("*") if path.name.endswith("_n70_s0")
        )
        shutil.copytree(demo, "photos")
        few = Path("few")
        few.mkdir()
        for number, path in enumerate(sorted(Path("photos").rglob("*.jpg"))[:4]):
            shutil.copy(path, few / f"{number}.jpg")
        assert main(["task=predict", "checkpoint=finished", "data.root=few", "predict.out=whole.csv"]) == 0
        yield folder


def _moved(folder: str) -> list[str]:
    return [f"resume={folder}"]


def _told(folder: Path) -> Any:
    metrics = json.loads((folder / "metrics.json").read_text())
    return [metrics[key] for key in ("train", "val", "test", "best_epoch", "epochs")]


def _predicting(made: Path, bounds: Bounds, mutated: Callable[[bytes], bytes]) -> None:
    whole = (made / "finished" / "checkpoints" / BEST).read_bytes()
    Path("x.ckpt").write_bytes(mutated(whole))
    Path("x.csv").unlink(missing_ok=True)
    code, said = bounds(
        lambda: main(["task=predict", "checkpoint=x.ckpt", "data.root=few", "predict.out=x.csv"])
    )
    if code == 0:
        assert Path("x.csv").read_text() == Path("whole.csv").read_text()
    else:
        assert code == 2
        assert "x.ckpt" in said
        assert "Take " in said


def _resuming(made: Path, bounds: Bounds, mutated: Callable[[bytes], bytes], files: tuple[str, ...]) -> None:
    shutil.rmtree("again", ignore_errors=True)
    shutil.copytree("stopped", "again")
    for name in files:
        path = Path("again/checkpoints") / name
        path.write_bytes(mutated(path.read_bytes()))
    code, said = bounds(lambda: main(_moved("again")))
    if code == 0:
        assert _told(Path("again")) == _told(Path("finished"))
    else:
        assert "no whole checkpoint to go on from" in said


def _manifest(made: Path, bounds: Bounds, mutated: Callable[[bytes], bytes]) -> None:
    Path("x.csv").write_bytes(mutated(Path("manifest.csv").read_bytes()))
    shutil.rmtree("m", ignore_errors=True)
    line = [
        *SMALL,
        "data=folder",
        "data.root=photos",
        "features=required",
        "batchnorm=inference",
        "trainer.max_epochs=1",
    ]
    code, said = bounds(lambda: main([*line, "data.manifest=x.csv", "hydra.run.dir=m"]))
    if code == 0:  # what it says is what was done; often that is what the whole one says
        assert _rows(Path("m/manifest.csv")) == _rows(Path("x.csv"))
        if _rows(Path("x.csv")) == _rows(Path("manifest.csv")):
            assert json.loads(Path("m/metrics.json").read_text())["images"] == _counts(Path("manifest.csv"))
    else:
        assert "x.csv" in said or "photos" in said, said


def _rows(path: Path) -> set[tuple[str, str, str]]:
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    table = list(csv.reader(text.splitlines()))
    columns = [name.strip().lower() for name in table[0]]
    rows = [dict(zip(columns, row, strict=False)) for row in table[1:] if any(row)]
    return {(str(Path(row["path"])), row["class"], row["split"].strip().lower()) for row in rows}


def _counts(path: Path) -> dict[str, dict[str, int]]:
    rows = _rows(path)
    names = sorted({label for _, label, _ in rows})
    return {
        split: {name: sum(1 for _, label, in_ in rows if (label, in_) == (name, split)) for name in names}
        for split in ("train", "val", "test")
    }


@pytest.fixture
def bounds(capsys: pytest.CaptureFixture[str]) -> Bounds:
    return Bounds(capsys)


@pytest.fixture(scope="module")
def manifest(made: Path) -> Path:
    line = [
        *SMALL,
        "data=folder",
        "data.root=photos",
        "features=required",
        "batchnorm=inference",
        "trainer.max_epochs=1",
    ]
    assert main([*line, "hydra.run.dir=w"]) == 0
    shutil.copy("w/manifest.csv", "manifest.csv")
    return made


@given(mutated=mutations())
@FEW
def test_predict_with_mutated_checkpoints(made: Path, bounds: Bounds, mutated: Callable[[bytes], bytes]):
    _predicting(made, bounds, mutated)


@given(mutated=mutations())
@settings(FEW, max_examples=2)
def test_resume_from_mutated_checkpoints(made: Path, bounds: Bounds, mutated: Callable[[bytes], bytes]):
    _resuming(made, bounds, mutated, (LAST,))


@given(mutated=mutations())
@FEW
def test_mutated_manifests(manifest: Path, bounds: Bounds, mutated: Callable[[bytes], bytes]):
    _manifest(manifest, bounds, mutated)


@given(mutated=mutations())
@settings(FEW, max_examples=3)
@pytest.mark.usefixtures("journal")
def test_mutated_journals(bounds: Bounds, mutated: Callable[[bytes], bytes]):
    _journal(bounds, mutated)


def _campaign(bounds: Bounds, kind: str, check: Callable[[Callable[[bytes], bytes]], None]) -> None:
    """Tries a hundred, and prints how many of them ended with which status."""

    @given(mutated=mutations())
    @MANY
    def each(mutated: Callable[[bytes], bytes]) -> None:
        check(mutated)

    each()
    with bounds.capsys.disabled():
        print(f"{kind}: {dict(sorted(bounds.counts.items()))}")


@pytest.mark.slow
def test_a_hundred_mutated_checkpoints(made: Path, bounds: Bounds):
    _campaign(bounds, "checkpoints, task=predict", lambda mutated: _predicting(made, bounds, mutated))


@pytest.mark.slow
@pytest.mark.parametrize("files", [(LAST,), (LAST, PREVIOUS, BEST)])
def test_a_hundred_runs_with_mutated_checkpoints(made: Path, bounds: Bounds, files: tuple[str, ...]):
    _campaign(bounds, f"{files}, resume=", lambda mutated: _resuming(made, bounds, mutated, files))


@pytest.mark.slow
def test_a_hundred_mutated_manifests(manifest: Path, bounds: Bounds):
    _campaign(bounds, "manifests", lambda mutated: _manifest(manifest, bounds, mutated))


@pytest.mark.slow
@pytest.mark.usefixtures("journal")
def test_a_hundred_mutated_journals(bounds: Bounds):
    _campaign(bounds, "journals", lambda mutated: _journal(bounds, mutated))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[None]:
    """A study of four trials whose worker was killed; the same one gone on with to six. Training is a stub."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setattr(training, "train", Arm())
        table = SimpleNamespace(counts=lambda: {"train": {"a": 3, "b": 1}})
        unchanged = SimpleNamespace(warn_of_changes=lambda: None, table=table)
        patch.setattr("seedsweep.study.plan.Plan.images", lambda *_: unchanged)
        patch.setattr("seedsweep.study.main_process._check_images", lambda *_: None)
        patch.setattr("seedsweep.study.close.meet_test", lambda *_: [])
        patch.setattr("seedsweep.study.close.draw_study", lambda *_: [])
        patch.setattr("seedsweep.report.write_report.write_at_end", lambda *_, **__: None)
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr("seedsweep.study.leases.me", lambda: NOBODY)
            assert run("sampler=random", "study.finalist_seeds=1", n=4) == 0
        shutil.copytree("outputs/studies/s", "study")
        assert _go_on() == 0
        shutil.copytree("outputs/studies/s", "study6")
        yield


def _go_on() -> int:
    return run("sampler=random", "study.finalist_seeds=1", n=6)


def _journal(bounds: Bounds, mutated: Callable[[bytes], bytes]) -> None:
    shutil.rmtree("outputs/studies/s")
    shutil.copytree("study", "outputs/studies/s")
    path = Path("outputs/studies/s/study.journal")
    path.write_bytes(mutated(path.read_bytes()))
    code, said = bounds(_go_on)
    if code == 0:
        assert _outcome(result()) == _outcome(json.loads(Path("study6/result.json").read_text()))
    else:
        assert "study.journal" in said


def _outcome(found: dict[str, Any]) -> Any:
    return [found[key] for key in ("trials", "finalists", "winner", "metric", "rule")]
