"""`extract_features` and `HeadClassifier`, on models and arrays that are none of ours."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from torch import Tensor, nn
from torch.utils.data import DataLoader

import seedsweep as ss
from seedsweep.errors import SeedsweepError
from seedsweep.features import openvino_engine


class Counted(nn.Module):
    """Counts the inputs that pass through it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout(0.5))
        self.passed = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passed += len(x)
        return self.net(x)


def images(n: int = 20, size: int = 8) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def loader(x: Tensor, *more: object, batch_size: int = 6) -> DataLoader:
    y = torch.arange(len(x)) % 3
    return DataLoader(list(zip(x, y, *more, strict=True)), batch_size=batch_size)


@pytest.mark.parametrize("engine", ["auto", "torch", pytest.param("openvino", marks=pytest.mark.slow)])
def test_features_are_the_pooled_maps_at_inference(engine):
    if engine == "openvino" and not openvino_engine.available():
        pytest.skip("needs OpenVINO")
    model, x = Counted().train(), images()
    expected = copy.deepcopy(model).eval()(x).mean((2, 3)).detach().numpy()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = ss.extract_features(model, loader(x), engine=engine)
    np.testing.assert_allclose(found.x, expected, atol=1e-5)
    assert (found.x.dtype, found.y.dtype) == (np.float32, np.int64)
    assert found.y.tolist() == [number % 3 for number in range(20)]
    assert found.ids.tolist() == list(range(20))
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_vectors_names_and_any_order_are_kept():
    names = [f"photo{number}.jpg" for number in range(9)]
    found = ss.extract_features(nn.Flatten(), loader(images(9), names, batch_size=4))
    assert found.x.shape == (9, 3 * 64)
    assert found.ids.tolist() == names
    dense = ss.extract_features(nn.Linear(4, 2), [(torch.rand(5, 4), torch.zeros(5, dtype=torch.int32))])
    assert dense.x.shape == (5, 2)
    numbers = ss.extract_features(nn.Flatten(), loader(images(3), torch.tensor([7, 5, 3])))
    assert numbers.ids.tolist() == [7, 5, 3]


def test_the_cache_answers_what_was_asked_before_and_nothing_else(tmp_path):
    model, x = Counted(), images(300)
    first = ss.extract_features(model, loader(x, batch_size=64), tmp_path, engine="torch")
    assert model.passed == 300 + 1  # one alone, to see what the model gives
    model.passed = 0
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    again = ss.extract_features(model, loader(x[order], batch_size=50), tmp_path, engine="torch")
    assert model.passed == 0
    assert np.array_equal(again.x, first.x[order.numpy()])

    changed = x.clone()
    changed[7] += 0.1
    third = ss.extract_features(model, loader(changed), tmp_path, engine="torch")
    assert model.passed == 1 + 1
    assert np.flatnonzero((third.x != first.x).any(1)).tolist() == [7]

    model.passed = 0
    with torch.no_grad():
        model.net[1].running_mean += 1  # a buffer, not a parameter
    ss.extract_features(model, loader(x[:10]), tmp_path, engine="torch")
    model.net[2] = nn.ReLU6()  # no tensor at all
    ss.extract_features(model, loader(x[:10]), tmp_path, engine="torch")
    assert model.passed == 2 * (10 + 1)


def test_the_same_image_twice_in_a_batch_is_passed_once(tmp_path):
    model, x = Counted(), images(4)
    found = ss.extract_features(model, loader(x[[0, 1, 0, 2, 2]]), tmp_path, engine="torch")
    assert model.passed == 3 + 1
    assert np.array_equal(found.x[0], found.x[2])
    assert np.array_equal(found.x[3], found.x[4])


def test_what_was_computed_before_an_error_is_kept(tmp_path):
    model, x = Counted(), images()

    def broken():
        yield from list(loader(x))[:2]
        raise OSError("a file went away")

    with pytest.raises(OSError, match="went away"):
        ss.extract_features(model, broken(), tmp_path, engine="torch")
    model.passed = 0
    ss.extract_features(model, loader(x), tmp_path, engine="torch")
    assert model.passed == 20 - 12 + 1


def test_images_of_several_sizes_and_a_model_that_no_engine_can_run(caplog):
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if type(self.__dict__.get("lock")).__name__ != "lock":
                raise AttributeError("a copy has no lock")
            return x.mean((2, 3))

        def __deepcopy__(self, memo: object) -> nn.Module:
            raise TypeError("cannot be copied")

    model = Odd()
    model.__dict__["lock"] = __import__("threading").Lock()
    batches = [(images(2, size), torch.zeros(2, dtype=torch.long)) for size in (8, 10)]
    found = ss.extract_features(model, batches)
    np.testing.assert_allclose(found.x, np.concatenate([x.mean((2, 3)) for x, _ in batches]), atol=1e-6)


@pytest.mark.parametrize(
    ("model", "batches", "options", "words"),
    [
        (nn.Flatten(), [], {}, "no features of no inputs"),
        (nn.Flatten(), [images(2)], {}, "tuples"),
        (
            nn.Flatten(),
            [(images(2), torch.zeros(2, dtype=torch.long), [1])],
            {},
            "an id for each of 2 inputs",
        ),
        (nn.Flatten(2), [(images(2), torch.zeros(2, dtype=torch.long))], {}, r"gave shape \[1, 3, 64\]"),
        (
            nn.Flatten(),
            [(images(2), torch.zeros(2, dtype=torch.long))],
            {"engine": "fast"},
            "engine is 'fast', but must be one of: auto, openvino, torch",
        ),
        (
            nn.Linear(4, 2),
            [(torch.rand(2, 4), torch.zeros(2).long())],
            {"engine": "openvino"},
            "take engine=torch",
        ),
    ],
)
def test_bad_input_is_one_sentence(model, batches, options, words):
    with pytest.raises(SeedsweepError, match=words):
        ss.extract_features(model, batches, **options)


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    Path(tmp_path / "file").write_text("")
    with pytest.raises(SeedsweepError, match="can't be stored in"):
        ss.extract_features(nn.Flatten(), loader(images(2)), tmp_path / "file", engine="torch")


def test_head_classifier_is_a_scikit_learn_estimator():
    check_estimator(ss.HeadClassifier(width=32, lr=1e-2, max_epochs=20))


def blobs() -> tuple[np.ndarray, np.ndarray]:
    x, y = make_blobs(300, n_features=6, centers=3, cluster_std=2.0, random_state=0)
    return x, np.array(["a", "b", "c"])[y]


def test_head_classifier_in_a_pipeline_and_with_validation_data():
    x, y = blobs()
    scores = cross_val_score(make_pipeline(StandardScaler(), ss.HeadClassifier(16, lr=1e-2)), x, y, cv=3)
    assert scores.min() > 0.9
    head = ss.HeadClassifier(16, lr=1e-2, patience=3, max_epochs=100).fit(x[:200], y[:200], x[200:], y[200:])
    accuracies = [row["val/acc"] for row in head.history_]
    assert head.best_epoch_ == int(np.argmax(accuracies))
    assert len(head.history_) == head.best_epoch_ + 1 + 3 < 100
    assert head.score(x[200:], y[200:]) == pytest.approx(max(accuracies))
    again = ss.HeadClassifier(16, lr=1e-2, patience=3, max_epochs=100).fit(x[:200], y[:200], x[200:], y[200:])
    assert np.array_equal(again.predict_proba(x), head.predict_proba(x))


def test_head_classifier_weighs_rare_classes_if_asked():
    random = np.random.default_rng(0)
    y = (np.arange(400) % 20 == 0).astype(int)
    x = random.normal(size=(400, 2)) + y[:, None]
    plain, balanced = (
        ss.HeadClassifier(0, lr=1e-2, class_weight=weight).fit(x, y).predict(x)[y == 1].mean()
        for weight in (None, "balanced")
    )
    assert balanced > plain + 0.3


def test_head_classifier_says_what_is_wrong():
    x, y = blobs()
    with pytest.raises(ValueError, match="both X_val and y_val"):
        ss.HeadClassifier().fit(x, y, x)
    with pytest.raises(ValueError, match="y_val has labels that y lacks: z"):
        ss.HeadClassifier().fit(x, y, x[:2], ["a", "z"])
    with pytest.raises(ValueError, match="class_weight"):
        ss.HeadClassifier(class_weight="all").fit(x, y)
    with pytest.raises(SeedsweepError, match="width"):
        ss.HeadClassifier(width=-1).fit(x, y)
    with pytest.raises(
        SeedsweepError, match="diverged at epoch 1: the training loss became NaN; take a smaller lr"
    ):
        ss.HeadClassifier(lr=1e30).fit(x * 1e10, y)


class Scaled(nn.Module):
    def __init__(self, k: float) -> None:
        super().__init__()
        self.k = k

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) * self.k


def test_a_model_with_another_attribute_has_other_features(tmp_path: Path):
    batches = [(torch.ones(2, 3, 4, 4), torch.zeros(2, dtype=torch.long))]
    found = [ss.extract_features(Scaled(k), batches, tmp_path, "torch").x.mean() for k in (1, 100, 1)]
    assert found == [1, 100, 1]
