"""What a run began with it goes on with: its split and its images, by name and by content."""

import csv
import hashlib
import json
import logging
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from composed import compose_config, config_of
from omegaconf import OmegaConf
from PIL import Image
from study_stub import plan_of

from seedsweep.cli.config.schema import Config
from seedsweep.cli.grid_again import check_images_of
from seedsweep.cli.main import main
from seedsweep.data.manifest import write_manifest
from seedsweep.data.options import DataConfig
from seedsweep.data.pin import Pin
from seedsweep.data.prepare import PreparedImages, pinned_images, prepare_images
from seedsweep.errors import RefusedError, SeedsweepError
from seedsweep.runs.jobs import shared_manifest
from seedsweep.study.worker import agree_on_images
from seedsweep.training.run import Given, train

TINY = [
    "data=folder",
    "backbone.library=timm",
    "backbone.name=test_resnet",
    "backbone.weights=none",
    "data.image_size=[32,32]",
    "data.batch_size=8",
    "trainer.max_epochs=3",
    "trainer.accelerator=cpu",
    "trainer.progress_bar=false",
    "report.write=false",
    "features=off",
]
OVERRIDES = ["data.split_seed=7", "data.val_fraction=0.3", "data.image_size=[48,48]", "optim.lr=0.5"]


def make(root: Path, n: int = 10, classes: str = "ab") -> Path:
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(n):
            pixels = rng.integers(0, 255, (20, 20, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"im_{number}.png")
    return root


def settings(root: Path, **others: object) -> DataConfig:
    return DataConfig(name="folder", root=str(root), image_size=[16, 16], **others)


def split_of(prepared: PreparedImages) -> dict[str, str]:
    return dict(zip(prepared.table.names(), prepared.table.splits.tolist(), strict=True))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "images")


@pytest.fixture
def pin(tmp_path: Path, root: Path) -> Pin:
    made = Pin.of_run(tmp_path / "run")
    pinned_images(settings(root), tmp_path, made)
    return made


def test_a_pin_holds_whatever_the_settings_say(root: Path, pin: Pin, tmp_path: Path):
    first, other = (
        pinned_images(settings(root), tmp_path, pin),
        prepare_images(settings(root, split_seed=7), tmp_path),
    )
    again = pinned_images(settings(root, split_seed=7), tmp_path, pin)
    assert split_of(again) == split_of(first) != split_of(other)
    assert again.table.split_digest() == first.table.split_digest()
    assert again.table.images_digest() == first.table.images_digest()
    assert again.table.groups == first.table.groups
    assert again.table.paths == first.table.paths


def test_images_that_are_not_those_of_the_beginning_are_named(root: Path, pin: Pin, tmp_path: Path):
    (root / "b/im_4.png").write_bytes((root / "b/im_5.png").read_bytes())
    for number in range(4):
        (root / f"a/im_{number}.png").unlink()
    with pytest.raises(RefusedError) as caught:
        pinned_images(settings(root), tmp_path, pin)
    said = str(caught.value)
    assert "of 20, 4 are missing (a/im_0.png, a/im_1.png, a/im_2.png, ...)" in said
    assert "1 is changed in content (b/im_4.png)" in said
    assert "restore them, or begin a new run (the command without resume=" in said


def test_a_damaged_pin_says_what_it_was(root: Path, pin: Pin, tmp_path: Path):
    lines = pin.path.read_text().splitlines()
    lines[4] = lines[4][:20]
    pin.path.write_text("\n".join(lines))
    with pytest.raises(RefusedError) as caught:
        pinned_images(settings(root), tmp_path, pin)
    said = str(caught.value)
    assert "manifest.csv, line 5, has too few cells" in said
    assert "It names the images that the run in" in said
    assert "began with: restore it, or begin a new run" in said


@pytest.mark.parametrize("bad", ["error", "skip"])
def test_a_pinned_image_that_became_unreadable_is_not_skipped(bad: str, root: Path, pin: Pin, tmp_path: Path):
    (root / "a/im_0.png").write_text("no image")
    with pytest.raises(RefusedError, match=r"1 is changed in content \(a/im_0.png\)"):
        pinned_images(settings(root, on_bad_image=bad), tmp_path, pin)


def test_images_that_came_later_are_left_out_and_said(
    root: Path, pin: Pin, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    before = split_of(pinned_images(settings(root), tmp_path, pin))
    shutil.copy(root / "a/im_0.png", root / "a/new.png")
    assert split_of(pinned_images(settings(root), tmp_path, pin)) == before
    assert "1 image is not among those that the run in" in caplog.text
    assert "(a/new.png): left out" in caplog.text


def test_a_folder_that_moved_is_the_same_folder(root: Path, pin: Pin, tmp_path: Path):
    before = split_of(pinned_images(settings(root), tmp_path, pin))
    root.rename(tmp_path / "elsewhere")
    assert split_of(pinned_images(settings(tmp_path / "elsewhere"), tmp_path, pin)) == before


def test_of_two_that_begin_together_one_decides(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from seedsweep.data import prepare

    pin = Pin.of_grid(tmp_path / "grid/manifest_1.csv")
    written = prepare.write_manifest_once

    def second(table: object, path: Path) -> bool:
        monkeypatch.setattr(prepare, "write_manifest_once", written)
        pinned_images(settings(root, split_seed=3), tmp_path, pin)  # the other process is a little faster
        return written(table, path)

    monkeypatch.setattr(prepare, "write_manifest_once", second)
    ours = pinned_images(settings(root, split_seed=4), tmp_path, pin)
    assert split_of(ours) == split_of(prepare_images(settings(root, split_seed=3), tmp_path))
    assert [path.name for path in (tmp_path / "grid").iterdir()] == ["manifest_1.csv"]


class StopError(Exception):
    pass


def stop(rows: list[dict[str, float]]) -> None:
    if len(rows) == 2:
        raise StopError


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, and a run on them that was stopped after its first epoch."""
    folder = tmp_path_factory.mktemp("half")
    make(folder / "images")
    with pytest.raises(StopError):
        train(half_config(folder), folder / "run", pictures=False, on_epoch=stop)
    return folder


def half_config(folder: Path, *overrides: str) -> Config:
    return config_of(*TINY, f"data.root={folder / 'images'}", f"paths.cache={folder / 'cache'}", *overrides)


def test_a_half_trained_run_refuses_other_images_and_trains_nothing(half: Path, tmp_path: Path):
    folder = tmp_path / "copy"
    shutil.copytree(half, folder)
    kept, manifest = (folder / f"run/{name}" for name in ("checkpoints/last.ckpt", "manifest.csv"))
    before = kept.read_bytes(), manifest.read_bytes()
    image = folder / "images/a/im_3.png"
    content = image.read_bytes()
    image.unlink()
    with pytest.raises(RefusedError, match=r"1 is missing \(a/im_3.png\)"):
        train(half_config(folder), folder / "run", pictures=False, resume=True)
    assert (kept.read_bytes(), manifest.read_bytes()) == before
    image.write_bytes(content)
    shutil.copy(image, folder / "images/a/later.png")
    metrics = train(half_config(folder), folder / "run", pictures=False, resume=True)
    assert metrics["status"] == "finished"
    assert metrics["epochs"] == 3
    assert sum(sum(counts.values()) for counts in metrics["images"].values()) == 20
    assert manifest.read_bytes() == before[1]


@pytest.mark.parametrize("override", OVERRIDES)
def test_a_half_trained_run_keeps_its_settings(
    override: str, half: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "copy"
    shutil.copytree(half, folder)
    notes = folder / "run/.hydra"
    notes.mkdir()
    words = [*TINY, f"data.root={folder / 'images'}"]
    hydra = {"overrides": {"task": words, "hydra": []}, "runtime": {"config_sources": []}}
    OmegaConf.save({"hydra": hydra}, notes / "hydra.yaml")
    OmegaConf.save(compose_config(*words), notes / "config.yaml")
    written = (notes / "config.yaml").read_bytes()
    assert main([f"resume={folder / 'run'}", override]) == 2
    said = capsys.readouterr().err
    assert f"was begun with other settings ({override.split('=')[0]} was " in said
    assert said.count("\n") == 1
    assert (notes / "config.yaml").read_bytes() == written, "what it began with stays on record"
    if override == OVERRIDES[0]:  # what may change, but with other images
        shutil.move(folder / "images", folder / "moved")
        (folder / "moved/a/im_0.png").unlink()
        assert main([f"resume={folder / 'run'}", f"data.root={folder / 'moved'}"]) == 2
        assert "1 is missing (a/im_0.png)" in capsys.readouterr().err
        assert (notes / "config.yaml").read_bytes() == written


def test_a_half_trained_run_without_its_manifest_draws_no_other_split(half: Path, tmp_path: Path):
    folder = tmp_path / "half"
    shutil.copytree(half, folder)
    (folder / "run/manifest.csv").unlink()
    (folder / "images/a/im_3.png").unlink()
    with pytest.raises(
        RefusedError, match=r"manifest\.csv is missing: .* put back a copy of it, or begin a new run"
    ):
        train(half_config(folder), folder / "run", resume=True, pictures=False)
    assert not (folder / "run/manifest.csv").exists()


def test_a_file_that_changes_before_it_is_decoded_ends_the_run(root: Path, tmp_path: Path):
    for gib in (4.0, 0.0):
        prepare_images(settings(root, cache_gib=gib), tmp_path)  # proves that all can be read
        prepared = prepare_images(settings(root, cache_gib=gib, split_seed=int(gib)), tmp_path)
        prepared.pixels._have[:] = False
        path = root / "a/im_0.png"
        os.utime(path)  # touched, and the same
        prepared.pixels.batch([0])
        prepared.pixels._have[:] = False
        content = path.read_bytes()
        path.write_bytes((root / "b/im_0.png").read_bytes())
        with pytest.raises(SeedsweepError, match=r"im_0.png was removed or changed while the run went on: "):
            prepared.pixels.batch([0])
        assert prepared.changed() == ["a/im_0.png"]
        path.unlink()
        with pytest.raises(SeedsweepError, match=r"while the run went on \(no such file\)"):
            prepared.pixels.batch([0])
        path.write_bytes(content)
        assert prepared.changed() == []


def test_files_that_go_during_an_online_run_are_one_sentence(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """In the process of a DataLoader, which hands errors over as texts of many lines."""
    from seedsweep.training import route

    fit = route.fit_online

    def late(*args: object) -> object:
        (root / "b/im_1.png").unlink()
        (root / "b/im_2.png").unlink()
        return fit(*args)

    monkeypatch.setattr(route, "fit_online", late)
    monkeypatch.chdir(tmp_path)
    words = [*TINY, f"data.root={root}", "data.cache_gib=0", "data.workers=1", "hydra.run.dir=r"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "was removed or changed while the run went on (no such file)" in said
    assert "Traceback" not in said
    assert len(said) < 500


def test_what_changes_after_it_was_decoded_is_said(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    def swap(rows: list[dict[str, float]]) -> None:
        (root / "a/im_0.png").write_bytes((root / "a/im_1.png").read_bytes())

    config = config_of(*TINY, f"data.root={root}", f"paths.cache={tmp_path}", "trainer.max_epochs=1")
    with caplog.at_level(logging.INFO):
        train(config, tmp_path / "run", pictures=False, on_epoch=swap)
    assert "1 image was changed or removed while the run went on (a/im_0.png): its numbers are" in caplog.text


def test_pictures_of_files_that_are_gone_cost_no_results(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    config = config_of(
        *TINY[:-1], f"data.root={root}", f"paths.cache={tmp_path}/cache", "features=required", "data.cache_gib=0",
        "features.engine=torch", "trainer.max_epochs=1",
    )  # fmt: skip

    def remove(rows: list[dict[str, float]]) -> None:
        for path in root.glob("?/*.png"):
            path.unlink()

    metrics = train(config, tmp_path / "run", on_epoch=remove, given=Given(draw=lambda _: {}))
    assert metrics["status"] == "finished"
    assert json.loads((tmp_path / "run/metrics.json").read_text()) == metrics
    assert (tmp_path / "run/predictions.csv").is_file()
    assert "worst mistakes are left out of the gallery" in caplog.text


def test_jobs_of_a_grid_share_their_images(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The second job goes on with the split of the first though an image came between; then one goes."""
    monkeypatch.chdir(tmp_path)
    words = [*TINY[:-1], f"data.root={root}", "trainer.max_epochs=1", "hydra.sweep.dir=g", "-m"]
    from seedsweep.training import run

    trained = run.train
    kept = (root / "a/im_5.png").read_bytes()
    steps = [lambda: shutil.copy(root / "a/im_0.png", root / "a/later.png"), (root / "a/im_5.png").unlink]

    def between(*args: object, **named: object) -> object:
        try:
            return trained(*args, **named)
        finally:
            if steps:
                steps.pop(0)()

    monkeypatch.setattr(run, "train", between)
    assert main([*words, "seed=1,2,3"]) == 1
    assert "1 is missing (a/im_5.png)" in capsys.readouterr().out
    jobs = sorted(path.parent for path in Path("g").glob("*/job.json"))
    manifests = [job / "manifest.csv" for job in jobs[:2]]
    assert manifests[0].read_bytes() == manifests[1].read_bytes()
    (pinned,) = Path("g").glob("manifest_*.csv")
    assert pinned.read_bytes() == manifests[0].read_bytes()
    assert not (jobs[2] / "metrics.json").exists()
    assert json.loads((jobs[2] / "failure.json").read_text())["reason"].startswith("the images below")
    assert main(["resume=g"]) == 2, "at once, before any job"
    said = capsys.readouterr().err
    assert "are not those that the grid in g began with: of 20, 1 is missing (a/im_5.png)" in said
    shutil.copy(root / "a/later.png", root / "a/im_5.png")
    assert main(["resume=g"]) == 2, "another image under its name"
    assert "1 is changed in content (a/im_5.png)" in capsys.readouterr().err
    (root / "a/im_5.png").write_bytes(kept)
    assert main(["resume=g"]) == 0
    (root / "a/im_5.png").unlink()
    assert main(["resume=g"]) == 0, "nothing is to go: its table again"


STUDY = [
    "+study=head", *TINY[:6], "trainer.max_epochs=1", "trainer.accelerator=cpu", "study.name=p", "study.finalists=1",
    "study.finalist_seeds=1", "report.write=false", "study.first=[]", "head.width=8",
]  # fmt: skip


def test_a_damaged_result_of_one_job_refuses_no_grid(root: Path, tmp_path: Path):
    grid, config = tmp_path / "g", config_of(*TINY, f"data.root={root}")
    manifest = shared_manifest(grid, config.data)
    (grid / "0").mkdir(parents=True)
    (grid / "0/metrics.json").write_text("{")
    write_manifest(prepare_images(settings(root), tmp_path).table, manifest)
    checked: set[Path] = set()
    check_images_of(grid, config, checked)
    assert checked == {manifest}, "it is not done: its images are compared"


NEW_TRIAL = b'"op_code":4,'


def test_a_study_goes_on_with_its_images(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from seedsweep.study import close

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(close, "draw_study", lambda *_: [])
    words = [*STUDY, f"data.root={root}"]
    folder = Path("outputs/studies/p")
    assert main([*words, "study.n_trials=1"]) == 0
    begun = (folder / "manifest.csv").read_bytes()
    trials = (folder / "trials.csv").read_bytes()
    image = root / "a/im_0.png"
    content = image.read_bytes()
    image.write_bytes((root / "a/im_1.png").read_bytes())
    capsys.readouterr()
    assert main([*words, "study.n_trials=5"]) == 2, "refused, it leaves no trial to go behind"
    said = capsys.readouterr().err
    assert "are not those that the study p began with: of 20, 1 is changed in content (a/im_0.png)" in said
    assert "begin a new study (another study.name=NAME)" in said
    assert (folder / "trials.csv").read_bytes() == trials
    journal = (folder / "study.journal").read_bytes()
    assert main([*words, "study.n_trials=1", "study.finalist_seeds=2"]) == 2
    assert "1 is changed in content (a/im_0.png)" in capsys.readouterr().err
    assert (folder / "study.journal").read_bytes().count(NEW_TRIAL) == journal.count(NEW_TRIAL) > 1
    assert main(["+experiment=best_of_p", "hydra.run.dir=r", "report.write=false"]) == 2, "the winner as well"
    assert "manifest.csv names: of 20, 1 is changed" in capsys.readouterr().err
    image.write_bytes(content)
    shutil.copy(image, root / "b/later.png")
    assert main([*words, "study.n_trials=2"]) == 0
    assert json.loads((folder / "result.json").read_text())["trials"] == {"complete": 2}
    assert (folder / "manifest.csv").read_bytes() == begun
    assert [path.read_bytes() == begun for path in folder.glob("*/*/manifest.csv")] == [True] * 3
    assert main(["+experiment=best_of_p", "hydra.run.dir=r", "report.write=false"]) == 0
    assert Path("r/manifest.csv").read_bytes() == begun


def test_an_image_that_goes_during_a_study_fails_no_trial(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from seedsweep.study import close
    from seedsweep.training import route

    fit, image, kept = route.fit_online, root / "b/im_1.png", root / "kept"
    calls: list[int] = []

    def late(*args: object) -> object:
        calls.append(0)
        if len(calls) == 2:
            image.rename(kept)
        return fit(*args)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(close, "draw_study", lambda *_: [])
    monkeypatch.setattr(route, "fit_online", late)
    online = ["features=off", "data.cache_gib=0", "data.workers=0"]
    words = [*STUDY, f"data.root={root}", "study.n_trials=2", *online]
    assert main(words) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert "im_1.png was removed or changed while the run went on" in said[-1]
    assert not Path("outputs/studies/p/result.json").exists(), "no winner without all trials"
    kept.rename(image)
    assert main(words) == 0
    assert json.loads(Path("outputs/studies/p/result.json").read_text())["trials"] == {"complete": 2}


def test_machines_that_share_a_database_alone_agree_on_the_images(tmp_path: Path):
    import optuna

    study = optuna.create_study()
    config = config_of("+study=head", "study.name=s")
    agree_on_images(study, plan_of(config, tmp_path, digests=["split", "images"]))
    agree_on_images(study, plan_of(config, tmp_path, digests=["split", "images"]))
    for theirs, what in (
        (["other", "images"], "the split found here"),
        (["split", "other"], "the images found"),
    ):
        with pytest.raises(RefusedError, match=what):
            agree_on_images(study, plan_of(config, tmp_path, digests=theirs))


def test_a_space_over_data_sets_is_refused(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    space = "+study.space.split={key: data.split_seed, choices: [0, 1]}"
    assert main([*STUDY, f"data.root={root}", f"paths.outputs={tmp_path}", space]) == 2
    assert "data.split_seed was 0 and is 1), and scores on different images" in capsys.readouterr().err
    assert not (tmp_path / "studies").exists()


def test_features_of_a_file_that_changed_meanwhile_are_not_stored(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """They would stand under the digest of the earlier content, for every later run."""
    from seedsweep.training import route

    opened = route.open_features
    where = f"data.root={root}", f"paths.cache={tmp_path / 'cache'}"
    config = config_of(*TINY[:-1], "features=auto", *where, "data.cache_gib=0")
    content = (root / "a/im_0.png").read_bytes()

    def late(*args: object) -> object:
        (root / "a/im_0.png").write_bytes((root / "b/im_0.png").read_bytes())
        return opened(*args)

    with monkeypatch.context() as patch:
        patch.setattr(route, "open_features", late)
        with pytest.raises(SeedsweepError, match=r"im_0.png was removed or changed while the run went on"):
            train(config, tmp_path / "r", pictures=False)
    stored = b"".join(
        path.read_bytes() for path in (tmp_path / "cache/features").rglob("*") if path.is_file()
    )
    assert hashlib.sha256(content).hexdigest().encode() not in stored
    (root / "a/im_0.png").write_bytes(content)
    assert train(config, tmp_path / "r", pictures=False)["features"]["stored"]


def test_a_grid_over_roots_has_two_baselines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The case A3: what always the largest class gives was that of the first folder for both."""
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "even", 5)
    make(tmp_path / "skew", 10)
    for number in range(5, 10):
        (tmp_path / f"skew/b/im_{number}.png").unlink()
    assert main([*TINY, "trainer.max_epochs=1", "-m", "data.root=even,skew", "hydra.sweep.dir=g"]) == 0
    one, two = capsys.readouterr().out.split("data set 1 (")[1].split("data set 2 (")
    assert "even, 2 validation images" in one
    assert "skew, 3 validation images" in two
    shares = [re.search(r"always the largest class +(\S+)", part).group(1) for part in (one, two)]
    assert shares == ["0.500", "0.667"]
    assert len(list(Path("g").glob("manifest_*.csv"))) == 2


def test_copies_of_a_folder_are_one_data_set_and_are_compared(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(root, "one")
    shutil.copytree(root, "two")
    assert main([*TINY, "trainer.max_epochs=1", "-m", "data.root=one,two", "hydra.sweep.dir=g"]) == 0
    out = capsys.readouterr().out
    assert "data set 2" not in out
    assert "McNemar's exact test" in out
    assert "Not compared" not in out
    with Path("g/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(row["arm_low"] for row in rows)
    assert sorted(row["same_as_best"] for row in rows) == ["", "yes"]
