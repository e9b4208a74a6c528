import numpy as np
import pytest
import torch

from seedsweep.models.backbone import IMAGENET, InputSpec
from seedsweep.models.input_scaling import SMALLEST_NORMAL, Preprocess, flush_denormals
from seedsweep.models.options import PreprocessConfig


def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 5, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("normalise", "rescale"), [(True, False), (True, True), (False, True), (False, False)]
)
def test_equals_the_formula_step_by_step(normalise: bool, rescale: bool) -> None:
    images = pixels()
    expected = images.numpy().astype(np.float64)
    if normalise:  # Keras: preprocessing_function first
        mean, std = (np.array(v).reshape(1, 3, 1, 1) for v in (IMAGENET.mean, IMAGENET.std))
        expected = (expected / 255 - mean) / std
    if rescale:  # then rescale
        expected = expected * (1 / 255)
    got = Preprocess(PreprocessConfig("x", normalise, rescale), IMAGENET)(images)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), expected, rtol=2e-6, atol=2e-6)
    assert torch.equal(got, Preprocess(PreprocessConfig("x", normalise, rescale), IMAGENET)(images.float()))


def test_rescale_twice_leaves_next_to_nothing() -> None:
    spec = InputSpec((0.5,) * 3, (0.5,) * 3)
    got = Preprocess(PreprocessConfig("x", normalise=True, rescale=True), spec)(pixels())
    assert 0 < got.abs().max() <= 1 / 255 + 1e-8


def test_denormal_results_become_zero() -> None:
    net = Preprocess(PreprocessConfig("x", normalise=False, rescale=True), IMAGENET)
    images = torch.full((1, 3, 2, 2), SMALLEST_NORMAL)  # / 255: below the smallest normal number
    assert torch.count_nonzero(net(images)) == 0
    assert torch.count_nonzero(net(images * 1000)) == images.numel()


def test_buffers_move_with_the_net_but_are_not_saved() -> None:
    net = Preprocess(PreprocessConfig("x"), IMAGENET)
    assert not net.state_dict()
    assert {name for name, _ in net.named_buffers()} == {"scale", "bias"}
    assert not list(net.parameters())


def test_flush_denormals_is_set() -> None:
    try:
        if not flush_denormals():
            pytest.skip("this CPU can't flush denormals")
        assert flush_denormals()
        assert torch.tensor([1e-30]).mul(1e-12).item() == 0
    finally:
        torch.set_flush_denormal(False)
