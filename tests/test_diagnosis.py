"""Planted faults are named first, together they are all named, and a healthy net is called healthy."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from composed import compose_config
from omegaconf import DictConfig
from sklearn.linear_model import RidgeClassifier
from torch import nn

from seedsweep.batchnorm.batches import batch_statistics
from seedsweep.batchnorm.options import BatchNormConfig
from seedsweep.batchnorm.policy import set_batchnorm
from seedsweep.cli.config.hydra_setup import to_config
from seedsweep.cli.main import main
from seedsweep.diagnosis import run_checks as run
from seedsweep.diagnosis.checks.learning_rate import history_kind
from seedsweep.diagnosis.checks.overfitting import onset_of
from seedsweep.diagnosis.checks.scaling import Affine, expected_affine, pixel_kind, scaling_kind
from seedsweep.diagnosis.costs import shapley
from seedsweep.diagnosis.finding import Check, Diagnosis, Finding, Verdict
from seedsweep.diagnosis.layers import layer_shifts
from seedsweep.diagnosis.opening import of_checkpoint, of_plan, of_run
from seedsweep.diagnosis.probes import STRENGTHS, fit_probe
from seedsweep.diagnosis.remedy import apply, changes, rehearsable
from seedsweep.diagnosis.run_checks import diagnose, found_checks
from seedsweep.errors import SeedsweepError
from seedsweep.models.backbone import IMAGENET, MINUS_ONE_TO_ONE, InputSpec
from seedsweep.models.input_scaling import Preprocess
from seedsweep.models.options import PreprocessConfig
from seedsweep.stats.interval import Interval

CAUSES = ["batchnorm", "scaling", "learning_rate", "overfitting", "backbone_fit", "baselines"]
SMALL = [
    "backbone=efficientnet_lite0",
    "data.demo.n_images=280",
    "data.image_size=[64,64]",
    "data.batch_size=16",
    "head.width=64",
    "trainer.max_epochs=8",
    "trainer.progress_bar=false",
    "trainer.accelerator=cpu",
    "trainer.probe_images=64",
    "features.engine=torch",
    "report.write=false",
]
TWICE, BATCHWISE = "preprocess=rescale_twice", "batchnorm=batch_stats"
PLANTED = {
    "scaling": [TWICE],
    "batchnorm": [BATCHWISE, "data.batch_size=4"],
    "learning_rate": ["optim.lr=1e-6"],
    "overfitting": ["head.width=1024", "data.val_fraction=0.75", "data.test_fraction=0.1"],
}
TINY = ["data.demo.n_images=280", "data.image_size=[64,64]"]
ALONE = {
    **{name: (name, overrides) for name, overrides in PLANTED.items()},
    # of 42 photographs of 96x96 a head still learns enough for 80 %, so these are smaller
    "overfitting": ("overfitting", [*PLANTED["overfitting"], *TINY]),
    "lr_high": ("learning_rate", ["optim.lr=0.1"]),
    "not_scaled": ("scaling", ["preprocess.normalise=false"]),
}


COST = Interval(0.04, -0.01, 0.09, "images and seeds")


def small(*overrides: str) -> DictConfig:
    return compose_config(*SMALL, *overrides)


def of_settings(
    folder: Path, *overrides: str, only: list[str] | None = CAUSES, limit: int = 160
) -> Diagnosis:
    return diagnose(of_plan(to_config(small(*overrides)), limit=limit), folder, only)


def faults(diagnosis: Diagnosis) -> list[str]:
    return [finding.check for finding in diagnosis.findings if finding.verdict is Verdict.FAULT]


# batchnorm: test_a_finished_run; scaling and learning_rate in every suite: test_faults_that_hide_each_other
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(PLANTED) - {"batchnorm"}))
def test_a_planted_fault_is_named_first(name: str, tmp_path: Path):
    diagnosis = of_settings(tmp_path, *PLANTED[name], "data.demo.n_images=420")
    assert faults(diagnosis) == [name]
    first = diagnosis.findings[0]
    assert first.check == name
    assert first.cost is None or first.cost.value >= 0.03
    assert first.picture is not None
    assert (tmp_path / first.picture).stat().st_size > 0
    assert first.title in diagnosis.headline


def test_no_false_alarm_on_a_healthy_net(tmp_path: Path):
    diagnosis = of_settings(tmp_path, only=[*CAUSES, "channels"], limit=140)
    assert [f.check for f in diagnosis.findings if f.verdict in (Verdict.FAULT, Verdict.SUSPECT)] == []
    assert diagnosis.healthy
    assert diagnosis.headline.startswith(("Healthy", "No check found a fault; can't tell: "))


def test_faults_that_hide_each_other_are_all_named(tmp_path: Path):
    """Fixed alone, either gains little; and a learning rate at which the head learns nothing hides both."""
    diagnosis = of_settings(tmp_path, TWICE, BATCHWISE, "data.batch_size=4", "optim.lr=1e-6", limit=84)
    assert sorted(faults(diagnosis)) == ["batchnorm", "learning_rate", "scaling"]
    costs = [f.cost.value for f in diagnosis.findings if f.verdict is Verdict.FAULT and f.cost]
    numbers = diagnosis.numbers
    assert sum(costs) == pytest.approx(numbers["mended"] - numbers["rehearsed"])
    assert numbers["mended"] - numbers["rehearsed"] > 0.3
    together = {frozenset(entry["mended"]): entry["acc"] for entry in diagnosis.combinations}
    alone = max(acc for mended, acc in together.items() if len(mended) == 1)
    assert alone < numbers["rehearsed"] + 0.5 * (numbers["mended"] - numbers["rehearsed"])


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run in the trap, called after the experiment that is not."""
    folder = tmp_path_factory.mktemp("runs") / "trap"
    otherwise = ["+experiment=frozen_bn", "batchnorm.training_statistics=batch"]
    small = [*otherwise, "data.batch_size=4", "data.val_fraction=0.25", "trainer.max_epochs=3"]
    assert main([*SMALL, *small, f"hydra.run.dir={folder}"]) == 0
    return folder


@pytest.mark.parametrize(
    "few", [("batchnorm", "scaling", "baselines"), pytest.param((), marks=pytest.mark.slow, id="all checks")]
)
def test_a_finished_run(
    few: tuple[str, ...],
    run_folder: Path,
    in_tmp: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """In every suite three checks: a healthy net meets the other causes, and the README's test those of the data."""
    modules = [module for module in found_checks() if not few or module.CHECK.name in few]
    monkeypatch.setattr(run, "found_checks", lambda: modules)
    assert (
        main(["task=diagnose", f"diagnose.run={run_folder}", "diagnose.images=100", "report.write=false"])
        == 0
    )
    content = json.loads((run_folder / "diagnosis" / "diagnosis.json").read_text())
    findings = [Finding.from_dict(entry) for entry in content["findings"]]
    causes = [finding for finding in findings if finding.check in CAUSES]
    assert (causes[0].check, causes[0].verdict) == ("batchnorm", Verdict.FAULT)
    assert causes[0].remedy == ["batchnorm.training_statistics=stored"]  # a choice would be overridden
    assert causes[0].evidence["acc_batch_statistics"] > causes[0].evidence["acc_stored_statistics"] + 0.1  # type: ignore[operator]
    metrics = json.loads((run_folder / "metrics.json").read_text())
    assert content["numbers"]["val_acc"] == metrics["val"]["acc"]
    assert content["numbers"]["rehearsed"] == pytest.approx(metrics["val"]["acc"], abs=0.1)
    assert all((run_folder / "diagnosis" / f.picture).is_file() for f in findings if f.picture)
    out = capsys.readouterr().out
    assert "batchnorm.training_statistics=stored" in out
    assert "batchnorm=inference" not in out
    assert "BatchNorm regime" in out
    assert causes[0].evidence["policy"] == "batch_stats"


def test_a_grid_is_diagnosed_arm_by_arm(
    run_folder: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The trap and its copy without a checkpoint are behind an arm that is always right: one report, and status 2."""
    check = Check("stub", "A stub", 30, "nothing")
    found = check.found(Verdict.FAULT, "Found.", remedy=["backbone.freeze=false"])
    monkeypatch.setattr(run, "found_checks", lambda: [SimpleNamespace(CHECK=check, check=lambda *_: found)])
    for name in ("0_good", "1_trap", "2_lost"):
        shutil.copytree(run_folder, f"grid/{name}", ignore=shutil.ignore_patterns("diagnosis"))
        path = Path(f"grid/{name}/metrics.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | {"label": name[2:]}))
    head, *rows = Path("grid/0_good/predictions.csv").read_text().splitlines()
    right = [[*cells[:3], cells[2], *cells[4:]] for cells in (row.split(",") for row in rows)]
    Path("grid/0_good/predictions.csv").write_text("\n".join([head, *map(",".join, right)]))
    perfect = {"loss": 0.1, "acc": 1.0, "macro_f1": 1.0, "per_class_recall": {}}
    path = Path("grid/0_good/metrics.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"val": perfect}))
    Path("grid/2_lost/checkpoints/best.ckpt").unlink()
    assert main(["task=diagnose", "diagnose.run=grid", "diagnose.images=100"]) == 2
    said = capsys.readouterr()
    assert "1 of 2 arms could not be examined: lost (diagnose.run=" in said.err
    assert not Path("grid/0_good/diagnosis").exists()
    assert said.out.index("what is at fault") < said.out.index("trap, seed 1: ")
    report = Path("grid/report.md").read_text().replace("\\", "")
    assert "| trap | A stub | backbone.freeze=false (not tried) |" in report
    assert report.count("## Diagnosis of trap") == 1
    for name in ("1_trap", "2_lost"):
        shutil.rmtree(f"grid/{name}")
    assert main(["task=diagnose", "diagnose.run=grid"]) == 2
    assert "no arm is behind the best beyond chance: diagnose.arms=all" in capsys.readouterr().err


def test_settings_leave_a_page(in_tmp: Path, monkeypatch: pytest.MonkeyPatch):
    modules = [module for module in found_checks() if module.CHECK.name == "data_files"]
    monkeypatch.setattr(run, "found_checks", lambda: modules)
    small = [*SMALL[:-1], "data.demo.n_images=70", "+experiment=frozen_bn", "hydra.run.dir=plan"]
    assert main(["task=diagnose", *[each for each in small if each != SMALL[1]]]) == 0
    page = Path("plan/report.md").read_text()
    assert page.startswith("# frozen\\_bn\n")
    assert page.index("## Verdict") < page.index("## Diagnosis") < page.index("n_images: 70")
    assert "of the validation images" in page
    assert "Image files" in Path("plan/report.html").read_text()


def test_a_checkpoint_tells_the_fault_without_its_settings(run_folder: Path, tmp_path: Path):
    """The file alone, with settings that say all is well: the head fits features that the batch normalised."""
    bare = tmp_path / "somebody" / "checkpoints" / "theirs.ckpt"
    bare.parent.mkdir(parents=True)
    bare.write_bytes((run_folder / "checkpoints" / "last.ckpt").read_bytes())
    config = to_config(small("batchnorm=inference", "data.batch_size=4", "data.val_fraction=0.25"))
    diagnosis = diagnose(of_checkpoint(bare, config, 100), tmp_path / "out", ["batchnorm", "overfitting"])
    assert faults(diagnosis) == ["batchnorm"]
    with pytest.raises(SeedsweepError, match="does not fit"):
        of_checkpoint(bare, apply(config, ["head.width=32"]))


def test_user_errors_are_one_sentence(tmp_path: Path):
    with pytest.raises(SeedsweepError, match="no finished run"):
        of_run(tmp_path)
    with pytest.raises(SeedsweepError, match="is no file"):
        of_checkpoint(tmp_path / "x.ckpt", to_config(small()))
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(b"no checkpoint")
    with pytest.raises(SeedsweepError, match="can't be read"):
        of_checkpoint(broken, to_config(small()))


def test_one_check_that_fails_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    modules = {module.CHECK.name: module for module in found_checks()}

    def raises(error: BaseException):
        def fails(*_: object) -> Finding:
            raise error

        return fails

    monkeypatch.setattr(modules["scaling"], "check", raises(SeedsweepError("no weights here.")))
    monkeypatch.setattr(modules["photographs"], "check", raises(ValueError("two folds\nand more")))
    diagnosis = of_settings(tmp_path, only=["scaling", "photographs", "baselines"])
    found = {finding.check: finding for finding in diagnosis.findings}
    assert found["scaling"].verdict is found["photographs"].verdict is Verdict.UNKNOWN
    assert "no weights here" in found["scaling"].sentence
    assert "itself failed (ValueError: two folds)" in found["photographs"].sentence
    assert any(record.exc_info for record in caplog.records)
    assert found["baselines"].verdict is Verdict.FINE
    monkeypatch.setattr(modules["baselines"], "check", raises(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run.findings_of(modules["baselines"], None, tmp_path)


def test_arms_with_the_same_images_and_net_share_what_is_found_in_them(tmp_path: Path):
    made: list[Path] = []

    def looks(subject: object, folder: Path) -> Finding:
        made.append(folder)
        (folder / "x.png").write_text("picture")
        return module.CHECK.found(Verdict.FINE, f"{len(made)}.", picture=Path("x.png"))

    module: Any = SimpleNamespace(CHECK=Check("x", "X", 1, "m", of_images=True), check=looks)
    shared = run.OfImages()
    arms = [[], ["preprocess=rescale_twice", "optim.lr=1e-6"], ["data.split_seed=7"], ["data.split_seed=7"]]
    for place, arm in enumerate(arms):
        folder = tmp_path / str(place)
        folder.mkdir()
        found = shared.findings_of(module, of_plan(to_config(small(*arm)), limit=40), folder)
        assert [each.sentence for each in found] == [f"{1 + place // 2}."]
        assert (folder / "x.png").read_text() == "picture"
    assert [folder.name for folder in made] == ["0", "2"]


def test_a_finding_survives_json():
    finding = Finding("a", "A", Verdict.SUSPECT, "m", "s", {"x": 1.5}, ["a=b"], COST, Path("a.png"))
    assert Finding.from_dict(json.loads(json.dumps(finding.as_dict())) | {"later": 1}) == finding
    assert [verdict.rank for verdict in Verdict] == [0, 1, 2, 3]


@pytest.mark.parametrize("spec", [IMAGENET, MINUS_ONE_TO_ONE])
@pytest.mark.parametrize(
    ("normalise", "rescale", "kind"),
    [
        (True, False, "right"),
        (True, True, "scaled_twice"),
        (False, False, "not_scaled"),
        (False, True, "unit_range"),
    ],
)
def test_scalings_are_told_apart(spec: InputSpec, normalise: bool, rescale: bool, kind: str):
    assert (
        scaling_kind(affine(PreprocessConfig("x", normalise, rescale), spec), expected_affine(spec)) == kind
    )


def test_another_nets_mean_and_std_are_seen():
    right = PreprocessConfig("x")
    assert scaling_kind(affine(right, IMAGENET), expected_affine(MINUS_ONE_TO_ONE)) == "wrong_mean_std"
    assert scaling_kind(affine(right, MINUS_ONE_TO_ONE), expected_affine(IMAGENET)) == "wrong_mean_std"


def affine(config: PreprocessConfig, spec: InputSpec) -> Affine:
    preprocess = Preprocess(config, spec)
    ends = [preprocess(torch.full((1, 3, 1, 1), value)).flatten() for value in (0.0, 255.0)]
    return Affine(*ends)


def test_images_that_show_nothing():
    photographs = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    assert pixel_kind(photographs) == "ordinary"
    assert pixel_kind(photographs // 255) == "dark"
    assert pixel_kind((photographs[:, :, :1, :1]).expand(8, 3, 16, 16)) == "constant"


def test_the_probe_is_sklearns():
    rng = np.random.default_rng(0)
    for n, width in ((60, 20), (30, 50)):
        x, y = rng.normal(size=(n, width)), rng.integers(0, 3, n)
        x[:, :3] += np.eye(3)[y]
        v = rng.normal(size=(200, width)) + np.eye(3, width)[rng.integers(0, 3, 200)]
        labels = torch.from_numpy(rng.integers(0, 3, 200))
        probe = fit_probe(torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(v), labels, 3)
        centred = x - x.mean(0)
        gram = centred @ centred.T if n <= width else centred.T @ centred
        alpha = probe.strength * np.linalg.eigvalsh(gram).clip(0).mean()
        # its targets are -1 and 1, twice as far apart as ours: the same classes with the same penalty
        theirs = RidgeClassifier(alpha=alpha).fit(x, y)
        assert (theirs.predict(v) == probe.predicted).all()
        assert theirs.score(x, y) == pytest.approx(probe.train_acc)
        assert probe.acc == max(probe.accs)
        assert len(probe.accs) == len(STRENGTHS)


def test_shares_add_up_and_know_no_order():
    values = {
        frozenset(): 0.26, frozenset({0}): 0.30, frozenset({1}): 0.50, frozenset({0, 1}): 0.92,
    }  # fmt: skip
    shares = [float(share) for share in shapley(2, lambda fixed: np.asarray(values[fixed]))]
    assert sum(shares) == pytest.approx(0.66)
    assert shares[0] == pytest.approx((0.04 + 0.42) / 2)
    assert shapley(3, lambda mended: np.full(2, 0.1 * len(mended))) == pytest.approx(np.full((3, 2), 0.1))


def test_histories():
    falling = [{"train/loss": 1.9}, {"train/loss": 1.0}]
    assert history_kind(falling, 7) == "falling"
    assert history_kind([{"train/loss": 1.95}, {"train/loss": 1.94}], 7) == "no_progress"
    assert history_kind([{"train/loss": 3.0}, {"train/loss": 40.0}], 7) == "diverged"
    assert history_kind([{"train/loss": 2.0}, {"train/loss": float("nan")}], 7) == "diverged"
    assert history_kind([], 7) == "unknown"
    val, train = [1.0, 0.5, 0.6, 0.9], [1.0, 0.4, 0.2, 0.1]
    rows = [{"val/loss": a, "train/loss": b} for a, b in zip(val, train, strict=True)]
    assert onset_of(rows) == 1
    assert onset_of(rows[:2]) is None
    assert onset_of([{"val/loss": 1 / (n + 1), "train/loss": 1 / (n + 1)} for n in range(5)]) is None


def test_remedies_are_applied():
    config = to_config(small(TWICE, BATCHWISE))
    mended = apply(config, ["preprocess=auto", "batchnorm=inference", "optim.lr=3e-5", "head.width=32"])
    assert (mended.preprocess.rescale, mended.batchnorm.training_statistics) == (False, "stored")
    assert (mended.optim.lr, mended.head.width) == (3e-5, 32)
    assert config.preprocess.rescale
    assert changes(config, ["preprocess=auto"])
    assert not changes(mended, ["preprocess=auto"])
    assert rehearsable(["preprocess=auto", "optim.lr=1"])
    assert not rehearsable(["data.image_size=[96,96]"])
    assert not rehearsable([])


def test_batch_statistics_for_a_moment():
    """Over any policy; and nothing of the net is changed."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))
    set_batchnorm(net, BatchNormConfig("inference"))
    net.train()
    x = torch.randn(8, 3, 5, 5) * 3 + 1
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with batch_statistics(net):
        y = net(x)
        assert torch.allclose(y.mean((0, 2, 3)), torch.zeros(4), atol=1e-5)
    assert net[2].training
    assert net[1].track_running_stats
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not torch.allclose(net.eval()(x).mean((0, 2, 3)), torch.zeros(4), atol=1e-2)


def test_a_layers_shift_is_in_stored_standard_deviations():
    net = nn.Sequential(nn.BatchNorm2d(3))
    layer = net[0]
    assert isinstance(layer, nn.BatchNorm2d)
    layer.running_var.fill_(4.0)  # type: ignore[union-attr]
    torch.manual_seed(0)
    shifts = layer_shifts(net, [torch.randn(16, 3, 32, 32) * 2 + 3 for _ in range(4)], 16)
    assert shifts.shift[0] == pytest.approx(1.5, abs=0.02)
    assert shifts.spread[0] == pytest.approx(1.0, abs=0.02)
    assert shifts.noise[0] < 0.02
    steps = torch.cat([torch.full((2, 3, 2, 2), float(value)) for value in (0, 4, 0, 4)])
    # each batch has a mean of its own, however they pass
    for parts in ([steps], list(steps.split(3))):
        assert layer_shifts(net, parts, 2).noise[0] == pytest.approx(1, rel=1e-4)


REALISTIC = [
    "data.demo.n_images=840",
    "data.image_size=[96,96]",
    "data.batch_size=4",
    "head.width=1024",
    "trainer.max_epochs=6",
]


def trained(folder: Path, *overrides: str) -> Diagnosis:
    run = folder / "run"
    assert main([*SMALL, *REALISTIC, *overrides, f"hydra.run.dir={run}"]) == 0
    return diagnose(of_run(run), run / "diagnosis")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_five_healthy_runs(seed: int, tmp_path: Path):
    diagnosis = trained(tmp_path, f"data.demo.seed={seed}", f"seed={seed}")
    assert [f.check for f in diagnosis.findings if f.verdict in (Verdict.FAULT, Verdict.SUSPECT)] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("seed", [0, 1])
def test_each_fault_in_a_real_run(name: str, seed: int, tmp_path: Path):
    check, overrides = ALONE[name]
    diagnosis = trained(tmp_path, *overrides, f"data.demo.seed={seed}", f"seed={seed}")
    assert diagnosis.findings[0].check == check
    assert faults(diagnosis) == [check]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_as_asked_in_a_real_run(seed: int, tmp_path: Path):
    overrides = [TWICE, BATCHWISE, "augment=question", f"data.demo.seed={seed}"]
    assert sorted(faults(trained(tmp_path, *overrides))) == ["batchnorm", "scaling"]
