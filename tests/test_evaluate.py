"""Images that are unlike those a net was trained on, and answers beside labels."""

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from seedsweep.data.labelled import Labelled, find_labelled
from seedsweep.data.options import DataConfig
from seedsweep.errors import SeedsweepError
from seedsweep.export.classify import Answers
from seedsweep.export.evaluation import Evaluation, known_before
from seedsweep.models.familiar import NEAREST, Familiar, features_noted
from seedsweep.runs.csv_files import Predictions


def photographs(groups: int, seed: int, away: float = 0.0) -> tuple[torch.Tensor, list[str]]:
    """Returns features [10 x groups, 16] of images that share what is their photograph's, and the photographs."""
    generator = torch.Generator().manual_seed(seed)
    own = torch.randn(groups, 1, 16, generator=generator).expand(-1, 10, -1)
    features = 4 + own + 0.1 * torch.randn(groups, 10, 16, generator=generator)
    features[:, :, 0] += away
    return features.reshape(-1, 16), [f"{seed} {number // 10}" for number in range(10 * groups)]


def test_new_photographs_are_like_old_ones_and_other_things_are_not():
    train, groups = photographs(60, 0)
    val, _ = photographs(20, 1)
    known = Familiar.of(train, groups, val)
    assert known is not None
    new = [known.distances(photographs(100, 2, away)[0]) > known.far for away in (0.0, 25.0)]
    assert new[0].mean() < 0.06
    assert new[1].mean() > 0.95
    by_image = Familiar.of(train, [str(number) for number in range(len(train))], train)
    assert by_image is not None
    assert by_image.far < 0.5 * known.far, "images of one photograph say nothing of the next photograph"


def test_too_few_photographs_say_nothing():
    train, groups = photographs(1, 0)
    assert Familiar.of(train[:NEAREST], groups[:NEAREST], train) is None


def test_features_are_what_the_head_reads():
    head = torch.nn.Linear(3, 2)
    with features_noted(head) as noted:
        head(torch.tensor([[3.0, 0.0, 4.0]]))
    head(torch.ones(1, 3))
    assert len(noted) == 1
    assert noted[0].tolist() == [[np.float16(0.6), 0.0, np.float16(0.8)]]


def evaluation(unlike: np.ndarray) -> Evaluation:
    n = len(unlike)
    labels = np.arange(n) % 2
    predicted = np.where(unlike, 1 - labels, labels)
    paths = [str(number) for number in range(n)]
    return Evaluation(Predictions(["a", "b"], paths, labels, predicted, np.eye(2)[predicted]), unlike)


def test_many_unlike_images_are_named_with_what_they_score():
    text, many = evaluation(np.arange(200) < 40).strange()
    assert many
    assert text.startswith(
        "40 of 200 images (20.0%) are unlike the training images, and 1% would be by chance"
    )
    assert "20 of a, 20 of b; 0% of these and 100% of the others are classified correctly" in text
    text, many = evaluation(np.arange(200) < 3).strange()
    assert not many
    assert text.endswith("about 1% would be by chance")


def test_answers_find_their_labels_and_groups(tmp_path: Path):
    paths = [tmp_path / name for name in ("1.png", "2.png", "3.png")]
    images = Labelled(tmp_path, paths, ["b", "a", "b"], ["x", "y", "x"], [])
    batches = [(["3.png"], Answers(np.asarray([[0.1, 0.9]]))), (["1.png"], Answers(np.asarray([[0.8, 0.2]])))]
    made = Evaluation.of(images, SimpleNamespace(classes=["a", "b"]), batches)  # type: ignore[arg-type]
    assert made.answers.labels.tolist() == [1, 1]
    assert made.answers.correct.tolist() == [1, 0]
    assert made.answers.groups is None, "both are of one group"
    assert made.as_dict()["unlike_training"] is None
    assert made.confused() == "mistaken most often: b as a 1"


def test_groups_of_a_table_go_before_those_of_the_settings_as_in_training(tmp_path: Path):
    names = ["a1.png", "a2.png", "b1.png"]
    for name in names:
        (tmp_path / name).touch()
    table = tmp_path / "table.csv"
    table.write_text("path,label,group\na1.png,x,one\na2.png,y,\nb1.png,y,\n")
    config = DataConfig(name="table", root=str(tmp_path), file=str(table), group_regex="^(.)")
    found = find_labelled(config)
    assert (found.names, found.groups) == (["x", "y", "y"], ["one", "a", "b"])
    table.write_text("path,label\na1.png,x\na2.png,y\nb1.png,y\n")
    assert find_labelled(config).groups == ["a", "a", "b"]
    assert find_labelled(replace(config, group_regex=None)).groups is None


def test_masks_are_asked_about_and_left_out_as_in_training(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    for name in ("a/1", "a/2", "b/1", "b/2"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noise).save(path)
    Image.fromarray(np.eye(32, dtype=np.uint8) * 255).save(tmp_path / "b/2_mask.png")
    config = DataConfig(name="folder", root=str(tmp_path))
    with pytest.raises(SeedsweepError, match="1 of 5 images look like masks"):
        find_labelled(config)
    found = find_labelled(replace(config, annotations="skip"))
    assert [path.name for path in found.paths] == ["1.png", "2.png", "1.png", "2.png"]
    assert [each.path.name for each in found.left_out] == ["2_mask.png"]
    assert len(find_labelled(replace(config, annotations="keep")).paths) == 5


def test_images_that_the_net_has_met_are_counted_by_content(tmp_path: Path):
    digests = [hashlib.sha256(bytes([number])).hexdigest() for number in range(4)]
    rows = [f"{number}.png,x,{split},,{digests[number]}" for number, split in enumerate(("train", "val"))]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,class,split,group,digest", *rows]))
    said = known_before([digests[0], digests[1], digests[3]], tmp_path)
    assert said.startswith("of 3 images the net has met 1 that it was trained on and 1 that it was chosen by")
    assert known_before(digests[2:], tmp_path) == known_before(digests, tmp_path / "nowhere") == ""
