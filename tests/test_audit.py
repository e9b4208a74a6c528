"""Data checks: what is planted in the demo photographs is found, and nothing is found where nothing is."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from composed import config_of
from PIL import Image

from seedsweep.cli.config.schema import Config
from seedsweep.data.demo import ensure_demo
from seedsweep.data.group_file import read_groups
from seedsweep.data.images import read_image
from seedsweep.data.options import DataConfig
from seedsweep.data.walk import sentences
from seedsweep.diagnosis.audited import thumbnails
from seedsweep.diagnosis.charts import draw_sheet
from seedsweep.diagnosis.checks import duplicates, imbalance, photograph_split
from seedsweep.diagnosis.checks.data_files import left_out
from seedsweep.diagnosis.finding import Finding, Verdict
from seedsweep.diagnosis.folds import folds_of
from seedsweep.diagnosis.grouping import measure_grouping
from seedsweep.diagnosis.nearness import Neighbours, nearness_of
from seedsweep.diagnosis.opening import of_plan
from seedsweep.diagnosis.out_of_fold import (
    OutOfFold,
    components,
    outside_fold,
    was_asked,
)
from seedsweep.diagnosis.run_checks import diagnose, findings_of
from seedsweep.diagnosis.run_checks import found_checks as found
from seedsweep.errors import SeedsweepError

CHECKS = [
    "data_files",
    "duplicates",
    "imbalance",
    "shortcuts",
    "photographs",
    "label_errors",
    "confused_pair",
]
SMALL = [
    "backbone=efficientnet_lite0",
    "data.image_size=[64,64]",
    "trainer.accelerator=cpu",
    "features.engine=torch",
]


def settings(*overrides: str) -> Config:
    return config_of(*SMALL, *overrides)


def examine(folder: Path, *overrides: str) -> dict[str, Finding]:
    """Returns the findings of the data checks by title; the verdict's ranking is not wanted here."""
    subject = of_plan(settings(*overrides))
    folder.mkdir(parents=True, exist_ok=True)
    findings = []
    for module in found():
        if module.CHECK.name in CHECKS:
            answer = module.check(subject, folder)
            findings += answer if isinstance(answer, list) else [answer]
    for finding in findings:
        assert finding.picture is None or (folder / finding.picture).stat().st_size > 0
    return {finding.title: finding for finding in findings}


def alarms(findings: dict[str, Finding]) -> list[str]:
    return [t for t, f in findings.items() if f.verdict in (Verdict.FAULT, Verdict.SUSPECT)]


def demo(seed: int, n: int, out: Path) -> Path:
    """Returns a copy of demo photographs that may be changed."""
    root = ensure_demo(Path(os.environ["SEEDSWEEP_CACHE"]), n, seed)
    shutil.copytree(root, out)
    return out


def small_of(paths: list[Path]) -> np.ndarray:
    return np.concatenate([thumbnails(read_image(path, (64, 64))[None]) for path in paths])


def test_the_checks_are_discovered():
    assert set(CHECKS) <= {module.CHECK.name for module in found()}


@pytest.mark.slow
def test_no_false_alarm_on_the_demo(tmp_path: Path):
    findings = examine(tmp_path, "data.demo.n_images=280", "data.demo.seed=0")
    assert alarms(findings) == []
    assert {finding.check for finding in findings.values()} == set(CHECKS)


@pytest.mark.slow
@pytest.mark.parametrize("n", [280, 700])
@pytest.mark.parametrize("seed", range(5))
def test_no_false_alarm_on_any_demo(seed: int, n: int, tmp_path: Path):
    assert alarms(examine(tmp_path, f"data.demo.n_images={n}", f"data.demo.seed={seed}")) == []


@pytest.mark.slow
def test_everything_planted_is_found(tmp_path: Path):
    """One set with all of it: copies across classes and splits, a JPEG saved anew, a torn file, sizes, labels."""
    whole = demo(1, 280, tmp_path / "whole")
    root, rng = tmp_path / "data", np.random.default_rng(0)
    flipped = set()
    for folder in sorted(whole.iterdir()):
        others = [each.name for each in whole.iterdir() if each.name != folder.name]
        for place, path in enumerate(sorted(folder.iterdir())):
            split = "val" if place % 4 == 3 else "train"
            wrong = split == "train" and folder.name != "mouldy" and rng.random() < 0.06
            label = rng.choice([each for each in others if each != "mouldy"]) if wrong else folder.name
            target = root / split / label / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            image = Image.open(path)
            if label == "mouldy":  # another camera
                image = image.resize((image.width * 2, image.height * 2))
            image.save(target, quality=92)
            if wrong:
                flipped.add(f"{split}/{label}/{path.name}")
    train = sorted((root / "train" / "cracked").iterdir())
    shutil.copy(train[0], root / "train" / "broken" / "copied.jpg")
    shutil.copy(train[1], root / "val" / "cracked" / "copied.jpg")
    Image.open(train[2]).save(root / "train" / "cracked" / "anew.jpg", quality=60)
    (root / "train" / "cracked" / "torn.jpg").write_bytes(train[3].read_bytes()[:900])
    findings = examine(tmp_path / "out", "data=folder", f"data.root={root}", "data.on_bad_image=skip")
    expected = ["Image files", "Contradicting labels", "Copies across splits", "Shortcuts", "Label errors"]
    assert sorted(alarms(findings)) == sorted(expected)

    assert findings["Image files"].evidence["unreadable"] == 1
    assert "torn.jpg" in findings["Image files"].sentence
    contradiction = findings["Contradicting labels"].evidence["examples"][0]
    assert contradiction[:2] == ["train/broken/copied.jpg", f"train/cracked/{train[0].name}"]
    assert f"The folders of {root} make the split" in findings["Copies across splits"].sentence
    leak = findings["Copies across splits"].evidence["examples"][0]
    assert leak[:2] == [f"train/cracked/{train[1].name}", "val/cracked/copied.jpg"]
    copies = findings["Duplicates"].evidence
    assert (copies["pairs"], copies["exact"]) == (3, 2)
    assert ["train/cracked/anew.jpg", f"train/cracked/{train[2].name}"] in [e[:2] for e in copies["examples"]]
    assert "Size alone tells mouldy" in findings["Shortcuts"].sentence
    doubted = {example[0] for example in findings["Label errors"].evidence["examples"]}
    assert len(doubted & flipped) >= 0.5 * len(doubted)
    assert len(doubted & flipped) >= 0.25 * len(flipped)


def test_near_copies_in_two_classes_where_no_file_is_equal(tmp_path: Path):
    rng = np.random.default_rng(0)
    for number in range(40):
        (tmp_path / "data" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 255, (24, 24, 3), np.uint8))
        small.resize((48, 48)).save(tmp_path / "data" / "ab"[number % 2] / f"{number:03d}.png")
    Image.open(tmp_path / "data" / "a" / "002.png").save(tmp_path / "data" / "b" / "anew.jpg", quality=85)
    subject = of_plan(settings("data=folder", f"data.root={tmp_path / 'data'}"))
    findings = {finding.title: finding for finding in duplicates.check(subject, tmp_path)}
    found = findings["Contradicting labels"]
    assert found.verdict in (Verdict.FAULT, Verdict.SUSPECT)
    assert found.sentence.startswith("1 pair of nearly equal photographs lies in two classes"), found.sentence
    assert "a/002.png" in found.sentence
    assert "b/anew.jpg" in found.sentence


def test_files_that_are_not_used_are_in_the_diagnosis(tmp_path: Path):
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(3):
            noise = np.random.default_rng(number).integers(0, 255, (300, 300, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / label / f"{number}.png")
    (tmp_path / "a" / "x.cr2").write_bytes(b"...")
    (tmp_path / "a" / "torn.png").write_bytes(b"...")
    known = {path for path in tmp_path.rglob("?.png") if path.name != "2.png"}
    bad, others = left_out(tmp_path, known)
    assert {path.name: reason for path, reason in bad.items()} == {"torn.png": "not an image"}
    assert sentences(others) == [
        "1 .cr2 of class a (raw files of cameras are not read: export them as JPEG or TIFF)",
        "1 image(s) of class a, 1 of class b (readable, but not among those of the run)",
    ]


def test_folds_keep_groups_together():
    labels = np.arange(60) % 3
    groups = [str(row // 6) for row in range(60)]
    for train, test in folds_of(labels, groups):
        assert not {groups[row] for row in train} & {groups[row] for row in test}


def clouds(labels: np.ndarray, photographs: np.ndarray) -> np.ndarray:
    """Returns features in which the photograph is louder than the class."""
    rng = np.random.default_rng(0)
    of_class, of_photograph = rng.normal(0, 1, (9, 24)), rng.normal(0, 3, (photographs.max() + 1, 24))
    found = of_class[labels] + of_photograph[photographs] + rng.normal(0, 0.3, (len(labels), 24))
    return found.astype(np.float32)


def test_few_groups_make_fewer_folds():
    labels = np.repeat([0, 1], 40)
    photographs = np.repeat(np.arange(4), 20)  # each class in two of its own
    folds = folds_of(labels, [str(each) for each in photographs])
    assert len(folds) == 4
    assert all(set(labels[train]) == {0, 1} for train, _ in folds)
    made = outside_fold(
        components(clouds(labels, photographs)), labels, [str(each) for each in photographs], 2
    )
    assert was_asked(made, labels).all()


@pytest.mark.parametrize("owners", [[0, 0], [0, 1], [0, 0, 1]])  # the class of each photograph
def test_groups_that_nothing_can_be_learned_from_are_one_sentence(owners: list[int]):
    photographs = np.repeat(np.arange(len(owners)), 12)
    labels = np.asarray(owners)[photographs]
    with pytest.raises(SeedsweepError, match=f"{len(owners)} groups of images.*are too few"):
        folds_of(labels, [str(each) for each in photographs])


def test_a_class_of_one_group_is_not_doubted():
    labels = np.repeat([0, 1, 2], 48)
    photographs = np.where(labels == 2, 12, np.arange(144) // 8)
    groups = [str(each) for each in photographs]
    features = clouds(labels, labels)  # the class is all there is to see
    made = outside_fold(components(features), labels, groups, 3)
    assert list(np.unique(labels[~was_asked(made, labels)])) == [2]


def test_the_probes_accuracy_is_of_the_images_that_were_asked():
    """Half of the images are of a class in one group: the others' labels can be judged all the same."""
    labels = np.repeat([0, 1, 2], [50, 50, 100])
    made = np.eye(3)[labels] * 0.9 + 0.05
    made[labels == 2] = [0.6, 0.4, 0]
    votes = np.eye(3)[labels]
    seen = OutOfFold(np.zeros((200, 2)), np.arange(200), labels, made, votes)
    assert seen.acc == 1
    seen.probabilities[:15] = [0.05, 0.9, 0.05]
    assert seen.acc == 0.85


@pytest.mark.parametrize(
    ("split", "verdict", "said"),
    [
        ("random", Verdict.FAULT, "tears them apart"),
        ("grouped", Verdict.SUSPECT, "the split keeps photographs together"),
        ("folders", Verdict.FAULT, "move the files, so that each photograph's images are in one split"),
        ("manifest", Verdict.FAULT, "The split stands in theirs.csv"),
        ("manifest of folders", Verdict.FAULT, "The split stands in theirs.csv"),
        ("few groups", Verdict.UNKNOWN, "2 groups of images"),
    ],
)
def test_the_split_in_use_is_judged(
    split: str, verdict: Verdict, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    photographs = np.arange(240) // 8
    labels = photographs % 2
    if split == "few groups":
        photographs = labels
    groups = [str(each) for each in photographs]
    random = np.random.default_rng(0).random(240) < 0.7
    train = photographs < 20 if split == "grouped" else random
    above = ["train/a" if each else "val/a" for each in train] if "folders" in split else ["a"] * 240
    table = SimpleNamespace(
        root=tmp_path,
        classes=["a", "b"],
        labels=labels,
        splits=np.where(train, "train", "val"),
        paths=[tmp_path / folder / f"{row}.png" for row, folder in enumerate(above)],
        names=lambda: [f"{folder}/{row}.png" for row, folder in enumerate(above)],
    )
    facts = SimpleNamespace(
        table=table,
        group_regex=None,  # a manifest's groups, or a regex since then taken out: the split itself counts
        grouping=replace(measure_grouping("^(x)", groups, labels), regex="^(x)"),
        name=lambda row: table.paths[row].relative_to(tmp_path).as_posix(),
    )
    seen = SimpleNamespace(parts=components(clouds(labels, photographs)), labels=labels, rows=np.arange(240))
    manifest = "theirs.csv" if "manifest" in split else None
    settings = SimpleNamespace(data=DataConfig(name="folder"))
    subject = SimpleNamespace(given_manifest=manifest, audited=facts, out_of_fold=seen, config=settings)
    finding = findings_of(photograph_split, subject, tmp_path)[0]
    assert finding.verdict is verdict
    assert said in finding.sentence
    assert ("The folders" in finding.sentence) == (split == "folders")
    # the expression does not make these groups: they are listed
    assert finding.remedy == ([f"data.group='{tmp_path}/groups.csv'"] if split == "random" else [])
    if finding.remedy:
        made = read_groups(str(tmp_path / "groups.csv"), tmp_path, table.paths)
        assert len(set(zip(made, groups, strict=True))) == len(set(made)) == 30


@pytest.mark.parametrize(
    ("gap", "torn", "verdict", "said"),
    [
        (12, 10, Verdict.FAULT, "tears them apart: 100%"),
        (12, 8, Verdict.FAULT, "tears them apart: 78%"),  # of 5 points
        (12, 3, Verdict.FAULT, "tears them apart: 27%"),
        (12, 2, Verdict.SUSPECT, "tears some photographs apart (17.9%"),
        (12, 1, Verdict.SUSPECT, "tears few photographs apart (8.9%"),
        (12, 0, Verdict.SUSPECT, "keeps photographs together"),
        (96, 2, Verdict.FAULT, "tears them apart: 18%"),  # of 40 points
        (6, 10, Verdict.FAULT, "2.5 points between them (95 %: 0.8 points to 4.6 points)"),
        (1, 10, Verdict.FINE, "no difference beyond chance shows"),
        (20, 10, Verdict.UNKNOWN, "can be chance: more photographs would decide it"),
    ],
)
def test_gap_and_torn_share_are_judged_apart(
    gap: int, torn: int, verdict: Verdict, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of 240 images ``gap`` are told by their photograph alone; ``torn`` of 10 photographs have one in training."""
    photographs = np.arange(240) // 8
    labels = photographs % 2
    train = (photographs < 20) | ((photographs < 20 + torn) & (np.arange(240) % 8 == 0))
    regex = r"^(\d+)_\d+"
    grouping = replace(measure_grouping(regex, [str(each) for each in photographs], labels), regex=regex)
    table = SimpleNamespace(
        classes=["a", "b"],
        labels=labels,
        splits=np.where(train, "train", "val"),
        paths=[Path(f"{photo}_{row}.png") for row, photo in enumerate(photographs)],
    )
    seen = SimpleNamespace(parts=None, labels=labels, rows=np.arange(240))
    sure = np.eye(2)[labels] * 0.8 + 0.1
    first = np.arange(240) % 8 * 30 + photographs  # one of each photograph, then the next one
    joined = np.where((first < gap)[:, None], 1 - sure, sure)
    if verdict is Verdict.UNKNOWN:
        sure[200:210] = 1 - sure[200:210]  # as many the other way but for ten
    facts = SimpleNamespace(table=table, grouping=grouping, name=lambda row: f"a/{row}.png")
    monkeypatch.setattr(
        photograph_split, "outside_fold", lambda _, __, groups, ___: sure if groups is None else joined
    )
    settings = SimpleNamespace(data=DataConfig(name="folder"))
    subject = SimpleNamespace(given_manifest=None, audited=facts, out_of_fold=seen, config=settings)
    finding = photograph_split.check(subject, tmp_path)
    assert finding.verdict is verdict
    assert finding.remedy == ([f"data.group_regex='{regex}'"] if verdict is Verdict.FAULT else [])
    assert said in finding.sentence


@pytest.mark.parametrize("seed", range(8))
def test_random_groups_are_no_leak(seed: int, tmp_path: Path):
    rng = np.random.default_rng(seed)
    labels, groups = np.arange(240) % 2, [str(each) for each in rng.integers(0, 30, 240)]
    parts = components(
        clouds(labels, np.zeros(240, dtype=int)) + rng.normal(0, 3, (240, 24)).astype(np.float32)
    )
    table = SimpleNamespace(classes=["a", "b"], labels=labels, splits=rng.choice(["train", "val"], 240))
    nearness = nearness_of(groups, labels, Neighbours.of(np.arange(240), parts))
    facts = SimpleNamespace(
        table=table, grouping=replace(measure_grouping("x", groups, labels), nearness=nearness)
    )
    seen = SimpleNamespace(parts=parts, labels=labels, rows=np.arange(240))
    subject = SimpleNamespace(given_manifest=None, audited=facts, out_of_fold=seen)
    assert photograph_split.check(subject, tmp_path).verdict in (Verdict.FINE, Verdict.UNKNOWN)


@pytest.mark.usefixtures("full_pictures")
def test_a_sheet_of_strange_names(tmp_path: Path):
    Image.new("RGB", (30, 20), "red").save(tmp_path / "$x_{.png")
    (tmp_path / "no.jpg").write_text("no image")
    draw_sheet(
        [(tmp_path / "$x_{.png", ("$a$", "<script> " * 9)), (tmp_path / "no.jpg", ())],
        tmp_path / "sheet.png",
    )
    assert Image.open(tmp_path / "sheet.png").size[0] > 500


@pytest.mark.usefixtures("full_pictures")
def test_class_sizes_of_strange_names(tmp_path: Path):
    counts = np.asarray([30, 20])
    drawn = imbalance._draw(["$x_{$", "a$b"], counts, counts // 4, tmp_path)
    assert Image.open(tmp_path / drawn).size[0] > 500


def test_the_checks_take_their_place_in_a_diagnosis(tmp_path: Path):
    diagnose(of_plan(settings("data.demo.n_images=70")), tmp_path, only=["data_files", "duplicates"])
    assert "Copies across splits" in (tmp_path / "diagnosis.json").read_text()
