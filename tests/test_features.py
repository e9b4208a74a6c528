"""Stored features: the same answer as online, extracted once, whole or not at all."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training import small
from tiny_net import tiny_net
from torch import nn

from seedsweep.cli.config.schema import Config
from seedsweep.cli.main import main
from seedsweep.data.demo import ensure_demo
from seedsweep.data.prepare import prepare_images
from seedsweep.digest import digest_of
from seedsweep.errors import SeedsweepError
from seedsweep.features import budget, feature_store
from seedsweep.features.image_features import FeatureImages
from seedsweep.training import assemble
from seedsweep.training import run as training
from seedsweep.training.heads import HeadFit
from seedsweep.training.route import open_features
from seedsweep.training.run import train

LITE0 = ["backbone=efficientnet_lite0", "backbone.weights=auto"]
INCEPTION = ["backbone=inception_v3", "data.image_size=[75,75]", "backbone.weights=none"]
VGG = ["backbone=vgg16", "batchnorm=batch_stats", "backbone.weights=none"]  # no BatchNorm: any policy serves


def with_photographs(folder: Path) -> Path:
    """Returns a cache of its own, with no features in it; the photographs are drawn once a session."""
    source = ensure_demo(Path(os.environ["SEEDSWEEP_CACHE"]), 70, 0)
    shutil.copytree(source, folder / "cache" / "demo" / source.name)
    return folder / "cache"


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return f"paths.cache={with_photographs(tmp_path)}"


def quick(*overrides: str) -> Config:
    """A tiny net unless another is named, and plain PyTorch as the engine: to convert a net takes seconds."""
    net = [] if any(override.startswith("backbone=") for override in overrides) else tiny_net()
    return small(*net, "features=auto", "features.engine=torch", *overrides)


def both(folder: Path, *overrides: str) -> tuple[Path, Path]:
    """Trains online and on stored features."""
    runs, where = (folder / "online", folder / "stored"), f"paths.cache={with_photographs(folder)}"
    for run, mode in zip(runs, ("off", "required"), strict=True):
        train(quick(f"features={mode}", where, *overrides), run)
    return runs


def history(run: Path) -> list[dict[str, float]]:
    with (run / "history.csv").open() as file:
        return [{k: float(v) for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


RECIPE = ["optim.schedule=cosine", "optim.warmup=0.5", "optim.clip_norm=0.5", "optim.accumulate=2"]


@pytest.mark.parametrize(
    "overrides",
    [
        [*LITE0, "augment=none", "trainer.max_epochs=3", "trainer.patience=2"],
        pytest.param([*LITE0, "augment=none", "features.engine=auto"], marks=pytest.mark.slow),
        ["augment=question", "head.class_weights=balanced"],
        ["augment=none", "batchnorm=recalibrate", *RECIPE],
        ["augment=none", "preprocess=rescale_twice", "head.width=0", "optim=sgd"],
        pytest.param(["augment=none", *INCEPTION], marks=pytest.mark.slow),
        pytest.param(["augment=light", *VGG], marks=pytest.mark.slow),
    ],
    ids=["lite0", "lite0, engine", "augmented", "recalibrated, recipe", "rescaled", "inception_v3", "vgg16"],
)
def test_stored_equals_online(overrides: list[str], tmp_path: Path) -> None:
    online, stored = both(tmp_path, *overrides)
    first, second = history(online), history(stored)
    assert len(first) == len(second) >= 2
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        assert b == pytest.approx(a, rel=2e-3, abs=2e-4)
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (online, stored)]
    assert metrics[0]["best_epoch"] == metrics[1]["best_epoch"]
    for split in ("train", "val", "test"):
        assert metrics[1][split]["acc"] == metrics[0][split]["acc"]
        assert metrics[1][split]["loss"] == pytest.approx(metrics[0][split]["loss"], rel=2e-3)
    assert [m["features"]["stored"] for m in metrics] == [False, True]
    states = [
        torch.load(run / "checkpoints/best.ckpt", weights_only=False)["state_dict"]
        for run in (online, stored)
    ]
    assert states[0].keys() == states[1].keys()
    for key in states[0]:
        torch.testing.assert_close(states[1][key], states[0][key], rtol=1e-2, atol=1e-4)


def opened(config: Config) -> FeatureImages:
    prepared = prepare_images(config.data, Path(config.paths.cache))
    return open_features(config, prepared, assemble.backbone_of(config, prepared))


def test_features_are_extracted_once(cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = quick(cache, "features=required", "augment=none")
    train(config, tmp_path / "a")
    monkeypatch.setattr(
        "seedsweep.training.route.build_engine", lambda *_: pytest.fail("a second pass over the images")
    )
    monkeypatch.setattr("seedsweep.data.pixels.read_image", lambda *_: pytest.fail("decoded again"))
    other = quick(cache, "features=required", "augment=none", "head.width=8", "seed=5")
    train(other, tmp_path / "b", pictures=False)


def test_the_runs_of_one_session_read_the_files_once(
    cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, given = quick(cache, "augment=none"), training.Given()
    first = training._images(config, tmp_path / "a", given, resume=False)
    monkeypatch.setattr("seedsweep.data.checked.digest_of", lambda _: pytest.fail("read again"))
    second = training._images(config, tmp_path / "b", given, resume=False)
    assert second.table.digests == first.table.digests


def test_an_interrupted_run_on_stored_features_begins_anew_and_says_so(
    cache: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = quick(cache, "features=required", "augment=none", "trainer.max_epochs=3")
    train(config, tmp_path / "whole", pictures=False)

    def stop(rows: list[dict[str, float]]) -> None:
        if len(rows) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "cut", pictures=False, on_epoch=stop)
    with caplog.at_level("INFO"):
        train(config, tmp_path / "cut", pictures=False, resume=True)
    assert "it begins anew" in caplog.text
    assert history(tmp_path / "cut") == history(tmp_path / "whole")


@pytest.mark.parametrize("recorded", [0, 1])
def test_ctrl_c_between_an_epoch_and_its_row(
    recorded: int, cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights may be the best so far, but no row tells of them: those of the best one that is told are kept."""
    config = quick(cache, "features=required", "augment=none", "trainer.max_epochs=3")
    epoch = HeadFit.epoch

    def stopped(fit: HeadFit) -> dict[str, float]:
        row = epoch(fit)
        if fit.next_epoch > recorded:
            fit.best_epoch, fit.best_state = recorded, {"nothing": torch.zeros(1)}
            raise KeyboardInterrupt
        return row

    monkeypatch.setattr(HeadFit, "epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "cut", pictures=False)
    metrics = tmp_path / "cut" / "metrics.json"
    if recorded:
        assert json.loads(metrics.read_text())["best_epoch"] == 0
    else:
        assert not metrics.exists()


def copied_demo(tmp_path: Path) -> list[str]:
    shutil.copytree(next((tmp_path / "cache" / "demo").iterdir()), tmp_path / "mine")
    return ["data=folder", f"data.root={tmp_path / 'mine'}", "data.image_size=[32,32]", "augment=none"]


def test_a_changed_or_added_image_is_extracted_alone(cache: str, tmp_path: Path) -> None:
    overrides = [cache, *copied_demo(tmp_path)]
    first = opened(quick(*overrides))
    assert first.extracted == len(first.prepared.table.paths)
    path = first.prepared.table.paths[3]
    with path.open("ab") as file:  # after a JPEG's end: other bytes, same picture
        file.write(b" ")
    shutil.copy(first.prepared.table.paths[5], path.with_name("zz_new.jpg"))
    second = opened(quick(*overrides))
    assert second.extracted == 1, "the copy has the bytes of another image"
    with (tmp_path / "mine").joinpath(path.parent.name, "zz_new.jpg").open("ab") as file:
        file.write(b"  ")
    assert opened(quick(*overrides)).extracted == 1


def test_another_setting_has_other_features(cache: str) -> None:
    assert opened(quick(cache, "augment=none")).extracted == 70
    for change in (
        "preprocess=rescale_twice",
        "data.image_size=[40,32]",
        "features.dtype=float16",
        "batchnorm=recalibrate",
    ):
        assert opened(quick(cache, "augment=none", change)).extracted == 70, change
    assert opened(quick(cache, "augment=none")).extracted == 0


def test_what_does_not_change_features_shares_them(cache: str) -> None:
    assert opened(quick(cache, "augment=none")).extracted == 70
    same = ["head.width=99", "optim.lr=0.5", "data.batch_size=3", "seed=9", "head.dropout=0.1"]
    assert opened(quick(cache, "augment=none", *same)).extracted == 0


def damaged(space: Path) -> list[Path]:
    """Arrays that are not as their digests say."""
    found = sorted(space.glob("*/*.npy"))
    return [
        path
        for path in found
        if digest_of(path) != json.loads(path.with_suffix(".json").read_text())["sha256"]
    ]


def test_a_damaged_shard_is_noticed_and_made_again(cache: str) -> None:
    config = quick(cache, "augment=none")
    before = opened(config).plain
    array = next(Path(config.paths.cache).glob("features/*/plain/*.npy"))
    content = bytearray(array.read_bytes())
    content[-3] ^= 255
    array.write_bytes(bytes(content))
    assert damaged(array.parents[1]) == [array]
    feature_store._digest_at.cache_clear()  # as in another process
    again = opened(config)
    assert again.extracted == 70
    assert isinstance(before, torch.Tensor)
    assert torch.equal(again.plain[torch.arange(70)], before)


def test_an_interrupted_extraction_goes_on(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = quick(cache, "augment=none", "features.batch_size=8")
    from seedsweep.training import route

    build, calls = route.build_engine, []

    def stopping(net: nn.Module, *args: object) -> object:
        engine = build(net, *args)  # type: ignore[arg-type]

        class Stops:
            name, at_once = engine.name, 1

            def __call__(self, images: torch.Tensor) -> torch.Tensor:
                calls.append(len(images))
                if len(calls) == 4:
                    raise KeyboardInterrupt
                return engine(images)

        return Stops()

    monkeypatch.setattr(route, "build_engine", stopping)
    with pytest.raises(KeyboardInterrupt):
        opened(config)
    assert opened(config).extracted == 70 - 3 * 8


def test_all_views_of_a_run_share_an_engine(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from seedsweep.training import route

    build, built = route.build_engine, []
    monkeypatch.setattr(route, "build_engine", lambda *args: built.append(0) or build(*args))
    images = opened(quick(cache, "augment=light", "features.views=2", "trainer.max_epochs=2"))
    for epoch in (0, 1):
        images.training_features(epoch)
    assert images.extracted == 70 + 2 * len(images.train_rows)
    assert len(built) == 1


def test_a_name_of_an_augmentation_leads_out_of_no_folder(cache: str) -> None:
    images = opened(quick(cache, "augment.name=../../../x", "augment.rotation=20", "features.views=1"))
    images.training_features(0)
    (view,) = (path for path in images.space.folder.iterdir() if path.is_dir() and path.name != "plain")
    assert view.name.startswith("custom-")


def test_fewer_views_than_epochs(cache: str) -> None:
    config = quick(cache, "augment=light", "features.views=2", "trainer.max_epochs=9")
    images = opened(config)
    assert images.extracted == 70
    n = len(images.train_rows)
    views = [images.training_features(epoch)[torch.arange(n)] for epoch in (0, 1)]
    assert images.extracted == 70 + 2 * n
    assert not torch.equal(views[0], views[1])
    shares = []
    for epoch in range(2, 6):
        drawn = images.training_features(epoch)[torch.arange(n)]
        own = (drawn == views[0]).all(1)
        assert torch.equal(drawn[~own], views[1][~own]), "every row is one of the views"
        shares.append(float(own.float().mean()))
    assert images.extracted == 70 + 2 * n
    assert all(0.1 < share < 0.9 for share in shares)
    exact = opened(quick(cache, "augment=light", "trainer.max_epochs=2"))
    assert torch.equal(exact.training_features(1)[torch.arange(n)], views[1])


def test_features_that_do_not_fit_stay_on_disk(cache: str) -> None:
    config = quick(cache, "augment=none", "data.cache_gib=0")
    mapped = opened(config).plain
    assert not isinstance(mapped, torch.Tensor)
    rows = torch.tensor([5, 0, 69, 5])
    assert torch.equal(mapped[rows], opened(quick(cache, "augment=none")).plain[rows])


@pytest.mark.parametrize("policy", ["batch_stats", "update_stats", "train"])
def test_policies_that_see_the_batch_are_not_stored(policy: str, cache: str, tmp_path: Path) -> None:
    with pytest.raises(SeedsweepError, match=f"features=required, but batchnorm={policy}"):
        training.train(quick(cache, "features=required", f"batchnorm={policy}"), tmp_path / "other")


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param("batch_stats", marks=pytest.mark.slow),
        "update_stats",
        pytest.param("train", marks=pytest.mark.slow),
    ],
)
def test_policies_that_see_the_batch_go_online(policy: str, cache: str, tmp_path: Path) -> None:
    config = quick(cache, "features=auto", f"batchnorm={policy}", "trainer.max_epochs=1", "augment=none")
    metrics = training.train(config, tmp_path / "run", pictures=False)
    assert not metrics["features"]["stored"]
    assert policy in metrics["features"]["reason"]
    assert f"batchnorm={policy}" in (tmp_path / "run" / "run.log").read_text()


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["backbone.freeze=false"], "the backbone is trained"),
        (["features.budget_gib=1e-6"], "GiB"),
        (["trainer.precision=bf16-mixed"], "bf16-mixed"),
    ],
)
def test_why_online(overrides: list[str], reason: str, cache: str, tmp_path: Path) -> None:
    with pytest.raises(SeedsweepError, match=reason):
        train(quick(cache, "features=required", "augment=none", *overrides), tmp_path / "run")


def test_a_store_that_cannot_be_written_costs_time_not_the_run(
    cache: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "cache" / "features"
    prepare_images(quick(cache).data, root.parent)
    root.write_text("a file in the way")
    config = quick(cache, "features=auto", "augment=none", "trainer.max_epochs=1")
    metrics = train(config, tmp_path / "run", pictures=False)
    assert "can't be written" in metrics["features"]["reason"]


def test_the_least_recently_used_go_first(cache: str, tmp_path: Path) -> None:
    root = tmp_path / "cache" / "features"
    for age, change in enumerate(["preprocess=auto", "preprocess=rescale_only", "preprocess=rescale_twice"]):
        space = opened(quick(cache, "augment=none", change)).space
        os.utime(space.folder / "space.json", (1e9 + age, 1e9 + age))
    spaces = budget.spaces_in(root)
    assert [round(space.used - 1e9) for space in spaces] == [2, 1, 0]
    assert all(space.images == 70 and space.views == 1 for space in spaces)
    budget.enforce(root, 2.5 * spaces[0].n_bytes / 2**30, keep=spaces[2].folder)
    assert {space.folder for space in budget.spaces_in(root)} == {spaces[0].folder, spaces[2].folder}


def test_a_shard_is_whole_or_not_there(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(3, 2)
    feature_store.write_shard(tmp_path, ["a", "b", "c"], array)
    (tmp_path / "killed.part").write_bytes(b"half")
    (tmp_path / "orphan.npy").write_bytes(b"no index yet")
    found = feature_store.read_shards(tmp_path)
    assert [shard.images for shard in found] == [["a", "b", "c"]]
    np.testing.assert_array_equal(found[0].array, array)
    assert not any(path.suffix == ".pkl" for path in tmp_path.iterdir())


def test_the_cache_is_listed_and_cleared(
    cache: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = opened(quick(cache, "augment=none")).space
    assert main(["task=cache", cache]) == 0
    page = capsys.readouterr().out
    assert f"{space.key}" in page
    assert "test_resnet" in page
    assert main(["task=cache", "cache.action=clear", "cache.key=nosuch", cache]) == 2
    assert "cache.key=nosuch is none of the features" in capsys.readouterr().err
    assert main(["task=cache", "cache.action=clear", cache]) == 0
    assert main(["task=cache", cache]) == 0
    assert "0 nets" in capsys.readouterr().out
    assert not list(in_tmp.glob("outputs")), "no run folder for a look at the cache"
    assert main(["task=cache", "cache.action=foo", cache]) == 2


def test_a_head_in_bfloat16_is_near_and_says_so(tmp_path: Path) -> None:
    runs, store = [], with_photographs(tmp_path)
    for precision in ("float32", "bfloat16"):
        run = tmp_path / precision
        metrics = train(quick(f"paths.cache={store}", f"features.head_precision={precision}"), run)
        assert metrics["trained_in"] == precision
        runs.append(history(run))
    assert runs[0][-1]["val/loss"] == pytest.approx(runs[1][-1]["val/loss"], rel=2e-2)
    assert runs[0][-1]["val/loss"] != runs[1][-1]["val/loss"]
