"""Diagnosis where little can be measured: sorted tables, few images, nets that are yet to be trained, moved images."""

import csv
import dataclasses
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from composed import config_of
from fewer import mostly_slow
from PIL import Image

from seedsweep.cli.config.schema import Config
from seedsweep.cli.main import main
from seedsweep.diagnosis import costs
from seedsweep.diagnosis.checks import (
    backbone_fit,
    baselines,
    batchnorm_regime,
    channels,
    confused_pair,
    learning_rate,
    overfitting,
    scaling,
)
from seedsweep.diagnosis.finding import Advice, Finding, Verdict
from seedsweep.diagnosis.headline import headline_of
from seedsweep.diagnosis.judged_parts import Parts
from seedsweep.diagnosis.layers import Modes
from seedsweep.diagnosis.opening import (
    local_settings,
    of_checkpoint,
    of_plan,
    of_run,
    repeat_split,
)
from seedsweep.diagnosis.other_inputs import Tried
from seedsweep.diagnosis.probes import STRENGTHS, Probe, Worth, floor_of, paired_error
from seedsweep.diagnosis.rehearsals import Rehearsal
from seedsweep.diagnosis.remedy import apply, saved_settings
from seedsweep.diagnosis.run_checks import diagnose
from seedsweep.diagnosis.subject import Subject
from seedsweep.errors import SeedsweepError
from seedsweep.models.weights import WeightsOrigin, WeightsUnreachableError
from seedsweep.stats import compare
from seedsweep.stats.interval import Interval

SMALL = [
    "backbone=efficientnet_lite0",
    "data.image_size=[32,32]",
    "data.batch_size=16",
    "data.workers=1",
    "head.width=16",
    "trainer.max_epochs=2",
    "trainer.progress_bar=false",
    "trainer.accelerator=cpu",
    "features.engine=torch",
]


def settings(*overrides: str) -> Config:
    return config_of(*SMALL, *overrides)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes; the first by name shows one colour only."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for place, name in enumerate(("background", "leaf", "seed")):
        (root / name).mkdir()
        for number in range(130):
            pixels = np.full((32, 32, 3), rng.integers(0, 256), np.uint8)
            if place:
                coarse = rng.integers(0, 256, (4 * place, 4 * place, 3), np.uint8)
                pixels = np.kron(coarse, np.ones((8 // place, 8 // place, 1), np.uint8))
            Image.fromarray(pixels).save(root / name / f"{number:03}.png")
    return root


@pytest.fixture(scope="module")
def few(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 40 images of each class."""
    root = tmp_path_factory.mktemp("few")
    for path in images.glob("*/0[0-3]?.png"):
        (root / path.parent.name).mkdir(exist_ok=True)
        shutil.copy(path, root / path.parent.name)
    return root


def plan(images: Path, *overrides: str) -> Subject:
    return of_plan(settings("data=folder", f"data.root={images}", *overrides))


def test_a_uniform_first_class_is_no_fault_of_all(images: Path, tmp_path: Path):
    subject = plan(images)
    labels = subject.material.train_labels
    assert (labels[: scaling.IMAGES] == 0).float().mean() > 0.5  # what the first images would have told
    finding = scaling.check(subject, tmp_path)
    assert finding.verdict is Verdict.FINE
    assert finding.evidence["pixels"] == "ordinary"
    assert set(labels[subject.material.some_train(scaling.IMAGES)].tolist()) == {0, 1, 2}


@pytest.mark.slow
def test_both_orders_of_channels_meet_one_net(images: Path, tmp_path: Path):
    """Statistics estimated on the photographs as they are would favour these."""
    recalibrated, stored = (
        channels.check(plan(images, f"batchnorm={name}"), tmp_path) for name in ("recalibrate", "inference")
    )
    assert recalibrated.evidence == stored.evidence


@pytest.mark.parametrize(
    ("now", "by_layers", "verdict"),
    [
        (1.0, -1, Verdict.SUSPECT),
        (0.7, 1, Verdict.FINE),
        (0.85, -1, Verdict.SUSPECT),  # what is gained is open
        (0.8, -1, Verdict.UNKNOWN),  # surely nothing
        (0.8, 0, Verdict.UNKNOWN),
    ],
)
def test_channels_are_suspected_where_swapping_them_may_pay(now: float, by_layers: int, verdict: Verdict):
    n, was = 400, np.arange(400) < 320
    right = np.arange(400) < 400 * now if now != 0.85 else np.roll(was, 4)
    tried = Tried(0.8, now, compare(right, was, [str(row) for row in range(n)]), n)
    assert channels.judged(by_layers, tried) is verdict


@pytest.mark.parametrize(
    "overrides",
    mostly_slow(
        [["backbone.weights=none", "backbone.freeze=false", "batchnorm=train"], ["batchnorm=train"]],
        [["batchnorm=train"]],
    ),
)
def test_a_plan_that_trains_its_net_is_not_measured(few: Path, tmp_path: Path, overrides: list[str]):
    subject = plan(few, *overrides)
    names = ["batchnorm", "learning_rate", "overfitting", "backbone_fit", "baselines"]
    diagnosis = diagnose(subject, tmp_path, names)
    assert {finding.check: finding.verdict for finding in diagnosis.findings} == dict.fromkeys(
        names, Verdict.UNKNOWN
    )
    assert subject.val_acc is None
    assert subject.train_acc is None
    assert subject.epochs == []
    assert "val_acc" not in diagnosis.numbers
    assert "this plan trains the net" in diagnosis.headline
    assert f"reaches {diagnosis.numbers['probe']:.0%}" in diagnosis.headline


@pytest.mark.parametrize(
    ("overrides", "remedy"),
    [
        (["backbone.weights=none", "backbone.freeze=false"], ["batchnorm=train"]),
        (["backbone.weights=none"], ["batchnorm=recalibrate"]),
        (["backbone.weights=none", "batchnorm=recalibrate"], None),
        ([], None),
    ],
)
def test_statistics_that_no_image_was_measured_for_are_not_fine(
    overrides: list[str], remedy: list[str] | None
):
    subject = SimpleNamespace(config=settings("batchnorm=inference", *overrides), kind="run")
    verdict, sentence, advice = batchnorm_regime._judge(subject, None, None)
    assert verdict is (Verdict.SUSPECT if remedy else Verdict.FINE)
    assert ("mean 0 and variance 1" in sentence) == bool(remedy)
    assert advice == (remedy or [])


@pytest.mark.parametrize(("n", "wanted"), [(5, Verdict.UNKNOWN), (200, Verdict.FAULT)])
def test_few_images_put_no_rate_on_a_plateau(n: int, wanted: Verdict, tmp_path: Path):
    labels = np.zeros(n, dtype=np.int64)
    config = settings("batchnorm=inference", "optim.lr=1e-3")

    def rehearse(tried: Config, steps: int = 0) -> Rehearsal:
        predicted = labels if tried.optim.lr == 1e-2 else (np.arange(n) % 5 > 2).astype(np.int64)
        return Rehearsal(float((predicted == labels).mean()), 1.0, predicted, [{"train/loss": 0.1}], True)

    subject = SimpleNamespace(
        config=config, clean_config=config, rehearse=rehearse, epochs=[], is_frozen=True, val_acc=None,
        material=SimpleNamespace(val_labels=torch.from_numpy(labels), classes=["a", "b"], n_train=n),
    )  # fmt: skip
    finding = learning_rate.check(subject, tmp_path)  # type: ignore[arg-type]
    assert finding.verdict is wanted
    assert "60% with 0.001 and 100% with 0.01" in finding.sentence
    assert "plateau" not in finding.sentence


def test_no_losses_no_judgement():
    subject: Any = SimpleNamespace(config=settings("optim.lr=1e-4"))
    assert learning_rate._of_training(subject, "unknown")[0] is Verdict.UNKNOWN
    assert learning_rate._of_training(subject, "diverged")[0] is Verdict.FAULT


def test_less_capacity_is_judged_where_it_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(overfitting, "learning_curve", lambda subject: [0.5, 0.6, 0.7])
    monkeypatch.setattr(overfitting, "_parameters", lambda subject: 100)
    monkeypatch.setattr(overfitting, "_smaller", lambda subject, remedies: ([], 0.0))
    told = {}
    for frozen in (True, False):
        config = settings(f"backbone.freeze={str(frozen).lower()}")
        subject: Any = SimpleNamespace(
            config=config, frozen_config=config, is_frozen=frozen, epochs=[], train_acc=1.0, val_acc=0.6,
            n_val=400, labels=lambda split: np.zeros(100), epoch_called=lambda last: "",
        )  # fmt: skip
        told[frozen] = overfitting.check(subject, tmp_path)
    assert told[True].verdict is told[False].verdict is Verdict.FAULT
    assert "head.dropout=0.5" in told[True].sentence
    assert "dropout" not in told[False].sentence
    assert "gain_of_less_capacity" not in told[False].evidence


@pytest.mark.parametrize(
    ("found", "verdict"),
    [(([], 0.05), Verdict.SUSPECT), ((["head.width=64"], 0.05), Verdict.FAULT)],
    ids=["within noise", "beyond noise"],
)
def test_a_gap_alone_is_no_fault(
    found: tuple[list[str], float], verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Validation from other photographs has a gap that nothing mends."""
    monkeypatch.setattr(overfitting, "learning_curve", lambda subject: [0.5, 0.6, 0.6])
    monkeypatch.setattr(overfitting, "_parameters", lambda subject: 100)
    monkeypatch.setattr(overfitting, "_smaller", lambda subject, remedies: found)
    config = settings("backbone.freeze=true")
    subject: Any = SimpleNamespace(
        config=config, frozen_config=config, is_frozen=True, epochs=[], train_acc=1.0, val_acc=0.6,
        n_val=400, labels=lambda split: np.zeros(100), epoch_called=lambda last: "",
    )  # fmt: skip
    made = overfitting.check(subject, tmp_path)
    assert (made.verdict, made.remedy) == (verdict, found[0])


@pytest.mark.parametrize(
    ("n_val", "val_acc", "verdict"),
    [
        (15, 0.8, Verdict.UNKNOWN),  # a gap of 20 points, good to 20
        (400, 0.84, Verdict.FINE),
        (400, 0.9, Verdict.FINE),
        (15, 0.93, Verdict.FINE),
    ],
)
def test_few_validation_images_clear_no_gap(
    n_val: int, val_acc: float, verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(overfitting, "learning_curve", lambda subject: [0.5, 0.6, 0.61])
    monkeypatch.setattr(overfitting, "_parameters", lambda subject: 100)
    config = settings("backbone.freeze=false")
    subject: Any = SimpleNamespace(
        config=config, frozen_config=config, is_frozen=False, epochs=[], train_acc=1.0, val_acc=val_acc,
        n_val=n_val, labels=lambda split: np.zeros(100), epoch_called=lambda last: "",
    )  # fmt: skip
    finding = overfitting.check(subject, tmp_path)
    assert finding.verdict is verdict
    assert (f"{n_val} validation images can't tell" in finding.sentence) == (verdict is Verdict.UNKNOWN)


def modes(n: int, batch_right: int, stored_right: int) -> Modes:
    batch, stored = ((np.arange(n) >= correct).astype(np.int64) for correct in (batch_right, stored_right))
    error = paired_error(batch, stored, np.zeros(n, dtype=np.int64))
    return Modes(batch_right / n, stored_right / n, 0.5, 1.0, error)


@pytest.mark.parametrize(
    ("kind", "seen", "wanted"),
    [
        ("checkpoint", modes(30, 20, 18), Verdict.FINE),  # 7 points, of two images
        ("checkpoint", modes(256, 230, 120), Verdict.FAULT),
        ("run", modes(256, 230, 120), Verdict.FINE),  # its settings are known
    ],
)
def test_a_gap_needs_images(kind: str, seen: Modes, wanted: Verdict):
    subject: Any = SimpleNamespace(
        config=settings("batchnorm=inference"), kind=kind, epoch_called=lambda last: ""
    )
    assert batchnorm_regime._judge(subject, seen, None)[0] is wanted


def test_the_error_of_a_gap_is_paired():
    seen = modes(100, 80, 60)
    assert seen.gap == pytest.approx(0.2)
    assert seen.error == pytest.approx(math.sqrt(0.2 * 0.8 / 100))


def test_few_images_of_a_small_class_are_not_nothing():
    labels = np.repeat([0, 1], [95, 5])
    good = np.repeat([0, 1], [97, 3])
    good[95:] = [1, 1, 1, 0, 0]
    good[:95] = 0
    assert floor_of(good, labels, 2).worth is Worth.UNCLEAR
    assert floor_of(np.zeros(100, dtype=np.int64), labels, 2).worth is Worth.NOTHING
    assert floor_of(np.tile(good, 5), np.tile(labels, 5), 2).worth is Worth.ABOVE
    rng = np.random.default_rng(0)
    seven = np.arange(210) % 7
    assert floor_of(rng.permutation(seven), seven, 7).worth is Worth.NOTHING
    assert floor_of(seven, seven, 7).worth is Worth.ABOVE


@pytest.mark.parametrize(("rare", "wanted"), [(3, Verdict.UNKNOWN), (0, Verdict.SUSPECT)])
def test_imbalanced_images(rare: int, wanted: Verdict, tmp_path: Path):
    """95 images of one class and 5 of another: 98 % is too few images to tell, 95 % is nothing."""
    labels = np.repeat([0, 1], [95, 5])
    predicted = np.zeros(100, dtype=np.int64)
    predicted[95 : 95 + rare] = 1
    acc = 0.95 + rare / 100
    config = settings()
    subject: Any = SimpleNamespace(
        config=config, clean_config=config, is_frozen=True, folder=None, n_val=100, val_acc=acc,
        val_predictions=(predicted, labels), labels=lambda split: labels,
        probe=Probe(acc, predicted, 1.0, predicted[None], np.full(len(STRENGTHS), acc), acc),
        probe_correct=(predicted == labels) * 1.0,
        material=SimpleNamespace(val_labels=torch.from_numpy(labels), classes=["a", "b"]),
        prepared=SimpleNamespace(table=SimpleNamespace(classes=["a", "b"])),
        backbone=SimpleNamespace(name="net", weights=WeightsOrigin("none")),
    )  # fmt: skip
    for check in (baselines.check, backbone_fit.check):
        finding = check(subject, tmp_path)
        assert finding.verdict is wanted
        assert ("100 images can't tell" in finding.sentence) == (wanted is Verdict.UNKNOWN)
        assert not (finding.remedy and wanted is Verdict.UNKNOWN)


def about(value: float, half: float = 0.02) -> Interval:
    return Interval(value, value - half, value + half, "images and seeds")


def fault(title: str, cost: Interval | None) -> Finding:
    return Finding("x", title, Verdict.FAULT, "m", f"{title} is so.", remedy=["a=b"], cost=cost)


NUMBERS = {
    "val_acc": 0.8, "probe": 0.9, "reachable": 0.9, "reachable_low": 0.87, "reachable_high": 0.93, "majority": 0.2,
    "lost": 0.0, "lost_low": -0.02, "lost_high": 0.02,
}  # fmt: skip
SUBJECT: Any = SimpleNamespace(
    kind="run", clean_config=settings(), backbone=SimpleNamespace(name="net"), n_val=500
)


def headline(*costs: tuple[str, Interval | None], advice: Advice | None = None) -> str:
    return headline_of(SUBJECT, [fault(*each) for each in costs], NUMBERS, advice)


def test_only_what_costs_is_a_cause():
    nothing = headline(("Input scaling", about(0.0, 0.008)))
    assert nothing.startswith(
        "Input scaling is at fault; fixing it gains less than a point: between -1 and +1 points."
    )
    assert "costs" not in nothing
    one = headline(("A", about(0.12)), ("B", about(-0.05)), advice=Advice(["a=b", "c=d"], about(0.12)))
    assert one.startswith(
        "On unseen images A costs +12 points (between +10 and +14). Do this: `a=b c=d`. B is"
    )
    assert "B is at fault; fixing it gains nothing: between -7 and -3 points." in one
    two = headline(("A", about(0.12)), ("B", about(0.05)), ("D", None), advice=Advice(["a=b"], about(0.17)))
    assert "A costs +12 points (between +10 and +14), B costs +5 points (between +3 and +7)." in two
    assert "Fix them together, which gains +17 points (between +15 and +19): `a=b`." in two
    assert "Also: D." in two
    assert headline(("D", None), ("C", about(0.0, 0.001))).startswith(
        "D: D is so. Do this: `a=b`. C is at fault"
    )


def test_a_wide_interval_is_not_called_nothing():
    wide = headline(("A", about(0.04, 0.05)))
    assert "fixing it gains between -1 and +9 points: can't tell; more images would." in wide
    assert "costs" not in wide


def test_what_can_not_be_told_is_not_called_healthy():
    fine = dataclasses.replace(fault("A", None), verdict=Verdict.FINE)
    unknown = dataclasses.replace(fault("Photographs", None), verdict=Verdict.UNKNOWN)
    assert headline_of(SUBJECT, [fine], NUMBERS).startswith(
        "Healthy: no check found a fault. Up to 2 points may still be missing: more images would tell. The net"
    )
    sure = NUMBERS | {"lost_high": 0.004}
    assert headline_of(SUBJECT, [fine], sure).startswith(
        "Healthy: no check found a fault. The net classifies"
    )
    paying = headline_of(SUBJECT, [fine], NUMBERS, Advice(["a=b", "c=d"], about(0.06)))
    assert "What pays: `a=b c=d` +6 points (between +4 and +8)." in paying
    missing = NUMBERS | {"lost": 0.06, "lost_low": 0.03, "lost_high": 0.09}
    assert "yet 6 points are missing (3 points to 9 points)." in headline_of(SUBJECT, [fine], missing)
    said = headline_of(SUBJECT, [unknown, fine], NUMBERS)
    assert said.startswith("No check found a fault; can't tell: Photographs. Up to 2 points")
    assert said.endswith(
        "Within reach of a linear probe on the frozen net at 32x32 pixels: 90% of unseen images (between 87% and 93%)."
    )


def test_settings_of_this_machine_replace_the_runs():
    given = [
        "task=diagnose",
        "data.root=/here",
        "+paths.cache=/cache",
        "trainer.accelerator=cpu",
        "optim.lr=1",
    ]
    here = settings("data=folder", *given[1:2], "paths.cache=/cache", "optim.lr=1")
    saved = settings("data=folder", "data.root=/there", "trainer.accelerator=cuda", "paths.outputs=/kept")
    saved.data.manifest = "theirs.csv"
    repeat_split(saved, Path("no run"), local_settings(here, given))
    assert (saved.data.root, saved.data.manifest) == ("/here", "theirs.csv")
    assert (saved.paths.cache, saved.paths.outputs) == ("/cache", "/kept")
    assert saved.trainer.accelerator == "cpu"
    assert saved.optim.lr == 1e-3


@pytest.mark.parametrize(
    ("saved", "now", "given", "used"),
    [
        (None, None, None, "run/manifest.csv"),  # the run made its split: data.group_regex would make another
        (None, "run/manifest.csv", None, "run/manifest.csv"),
        ("theirs.csv", None, "theirs.csv", "run/manifest.csv"),
        (None, "now.csv", "now.csv", "now.csv"),
        ("theirs.csv", "now.csv", "now.csv", "now.csv"),
    ],
)
def test_a_runs_own_manifest_is_not_the_users(
    saved: str | None, now: str | None, given: str | None, used: str, in_tmp: Path
):
    Path("run").mkdir()
    Path("run/manifest.csv").touch()
    config, here = settings(), settings()
    config.data.manifest, here.data.manifest = saved, now
    over = None if now is None else local_settings(here, [f"data.manifest={now}"])
    assert repeat_split(config, Path("run"), over) == given
    assert config.data.manifest == used


def test_a_run_whose_images_moved(
    few: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from seedsweep.diagnosis import run_checks as run

    before, after, folder = in_tmp / "before", in_tmp / "after", in_tmp / "run"
    shutil.copytree(few, before)
    assert (
        main([*SMALL, "data=folder", f"data.root={before}", "report.write=false", f"hydra.run.dir={folder}"])
        == 0
    )
    before.rename(after)
    modules = [baselines]
    monkeypatch.setattr(run, "found_checks", lambda: modules)
    examine = ["task=diagnose", "report.write=false"]
    of_folder, of_file = (
        f"diagnose.run={folder}",
        f"diagnose.checkpoint={folder / 'checkpoints' / 'best.ckpt'}",
    )
    assert main([*examine, of_folder]) == 2
    assert "give a folder with data.root=DIR" in capsys.readouterr().err
    assert main([*examine, of_folder, f"data.root={after}"]) == 0
    assert (folder / "diagnosis" / "diagnosis.json").is_file()
    assert main([*examine, of_file, f"data.root={after}", f"hydra.run.dir={in_tmp / 'of_file'}"]) == 0
    here = local_settings(settings("data=folder", f"data.root={after}"), [f"data.root={after}"])
    opened = [
        of_run(folder, here=here),
        of_checkpoint(folder / "checkpoints/best.ckpt", settings(), here=here),
    ]
    assert [subject.config.data.manifest for subject in opened] == [str(folder / "manifest.csv")] * 2
    assert [subject.given_manifest for subject in opened] == [None, None]
    theirs = str(folder / "manifest.csv")
    assert plan(after, f"data.manifest={theirs}").given_manifest == theirs
    with (folder / "predictions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
    assert (
        f"{sum(r['label'] == r['predicted'] for r in rows) / len(rows):.0%} of the val"
        in capsys.readouterr().out
    )


def test_a_trial_of_a_study_is_told_what_to_do(tmp_path: Path):
    with pytest.raises(SeedsweepError, match="best_of_STUDY"):
        saved_settings(tmp_path)


def test_a_plan_whose_weights_are_missing_is_not_measured_on_a_random_net(
    images: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def unreachable(*_: object) -> None:
        raise WeightsUnreachableError("The weights of x can't be reached: place them there.")

    monkeypatch.setattr("seedsweep.diagnosis.subject.backbone_as_set", unreachable)
    assert main([*SMALL, "task=diagnose", "data=folder", f"data.root={images}"]) == 2
    assert "can't be reached: place them there" in capsys.readouterr().err


def test_no_pair_is_named_where_no_class_is_mistaken(tmp_path: Path):
    labels = np.repeat([0, 1, 2], 4)
    seen = SimpleNamespace(probabilities=np.eye(3)[labels], labels=labels, asked=np.ones(12, dtype=bool))
    facts = SimpleNamespace(table=SimpleNamespace(classes=["a", "b", "c"]))
    subject: Any = SimpleNamespace(audited=facts, out_of_fold=seen)
    assert confused_pair.check(subject, tmp_path).sentence == "No class is taken for another."


@pytest.mark.parametrize(("val_acc", "measured"), [(0.5, True), (0.6, True), (0.9, False)])
def test_costs_are_of_a_head_that_reproduces_the_run(
    val_acc: float, measured: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A head that is tried again reaches 50 % with the fault, and 100 % without it."""
    labels = np.arange(60) % 2
    parts = Parts.of_training(np.arange(160) % 2, 100, [str(n) for n in range(160)])

    def correct(config: Config) -> np.ndarray:
        right = config.batchnorm.training_statistics == "stored"
        return np.ones(100) if right else np.arange(100) // 2 % 2 * 1.0

    broken = settings("batchnorm=batch_stats")
    subject: Any = SimpleNamespace(
        kind="run", config=broken, frozen_config=broken, is_repeated=True, is_rehearsed=False, val_acc=val_acc,
        val_predictions=None, n_val=60, labels=lambda split: labels, material=SimpleNamespace(val_labels=labels),
        clean_config=broken, said=None, prepared=SimpleNamespace(table=SimpleNamespace(classes=["a", "b"])),
        probe_correct=(np.arange(100) % 10 > 0) * 1.0,
        rehearsed=SimpleNamespace(acc=0.5), correct=correct, own_correct=correct(broken), parts=parts,
        backbone=SimpleNamespace(name="net"),
    )  # fmt: skip
    found = Finding("batchnorm", "B", Verdict.FAULT, "m", "B is so.", remedy=["batchnorm=inference"])
    monkeypatch.setattr(costs, "draw_loss", lambda *_: None)
    made = costs.judge(subject, [found], tmp_path)
    if measured:
        cost = made.findings[0].cost
        assert cost is not None
        assert cost.value == pytest.approx(0.5)
        assert cost.low < 0.5 < cost.high
        assert made.advice is not None
        assert made.advice.gain.value == pytest.approx(0.5)
        assert apply(broken, made.advice.lines).batchnorm.training_statistics == "stored"
        assert made.numbers["reachable"] == made.numbers["mended"] == 1.0
        assert "not measured" not in made.headline
    else:
        assert made.findings[0].cost is None
        assert made.advice is None
        assert "What fixing B gains is not measured: a head trained again" in made.headline
        assert "reaches 50%, not 90%" in made.headline
        assert not made.picture


def test_each_number_is_of_a_net_of_a_named_epoch():
    nets: list[Any] = [object(), object()]
    given: dict[str, Any] = {"metrics": {"best_epoch": 0}, "history": [{"epoch": 0.0}, {"epoch": 2.0}]}
    nothing: Any = None
    subject = Subject("run", settings(), nothing, nets[0], nets[1], **given)
    assert (subject.epoch_called(last=True), subject.epoch_called(last=False)) == (
        " of epoch 3, the last,",
        " of epoch 1, the best,",
    )
    assert Subject("run", settings(), nothing, nets[0], nets[0], **given).epoch_called(last=True) == ""
