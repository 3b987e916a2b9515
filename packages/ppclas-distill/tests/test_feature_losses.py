"""Losses between feature maps: hand calculations, and gradients against numerical ones."""

import numpy as np
import pytest
from ppclas_core.testing import check_params
from ppclas_distill.features import FitNet, Similarity

paddle = pytest.importorskip("paddle")
image_model = pytest.importorskip("ppclas_core.contracts.image_model")

OURS, THEIRS = image_model.Feature("a", 2, 8), image_model.Feature("b", 3, 8)


def maps(seed, channels, side=2, photos=3):
    return (
        np.random.default_rng(seed)
        .standard_normal((photos, channels, side, side))
        .astype(np.float32)
    )


def numerical(value, array, step=1e-2):
    gradient = np.zeros_like(array)
    for index in np.ndindex(*array.shape):
        ends = []
        for sign in (1, -1):
            moved = array.copy()
            moved[index] += sign * step
            ends.append(value(moved))
        gradient[index] = (ends[0] - ends[1]) / (2 * step)
    return gradient


@pytest.mark.parametrize("loss", [FitNet(), Similarity()], ids=repr)
def test_gradient_equals_the_numerical_one(loss):
    check_params(loss)
    paddle.seed(0)
    layers = loss.layers(OURS, THEIRS)
    theirs = paddle.to_tensor(maps(1, 3))

    def value(array):
        return loss.between(paddle.to_tensor(array), theirs, layers).item()

    student = paddle.to_tensor(maps(0, 2), stop_gradient=False)
    loss.between(student, theirs, layers).backward()
    np.testing.assert_allclose(student.grad.numpy(), numerical(value, maps(0, 2)), atol=2e-4)
    for layer in layers.values():  # what is trained beside the student
        assert all(parameter.grad is not None for parameter in layer.parameters())


def test_fitnet_is_the_mean_square_after_the_projection():
    layers = FitNet().layers(OURS, THEIRS)
    weight, bias = (parameter.numpy() for parameter in layers["projection"].parameters())
    projected = np.einsum("oi,nihw->nohw", weight[:, :, 0, 0], maps(0, 2)) + bias[:, None, None]
    expected = ((projected - maps(1, 3)) ** 2).mean()
    found = FitNet().between(paddle.to_tensor(maps(0, 2)), paddle.to_tensor(maps(1, 3)), layers)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_fitnet_resizes_the_students_map_to_the_teachers():
    layers = FitNet().layers(OURS, THEIRS)
    found = FitNet().between(
        paddle.to_tensor(maps(0, 2, side=2)), paddle.to_tensor(maps(1, 3, side=4)), layers
    )
    assert np.isfinite(found.item())


def test_similarity_follows_tung_and_mori():
    # Section 3: G = Q Q^T, each row divided by its L2 norm; 1 / b^2 of the squared Frobenius norm.
    grams = []
    for array in (maps(1, 3, side=4), maps(0, 2)):
        flat = array.reshape(3, -1).astype(np.float64)
        gram = flat @ flat.T
        grams.append(gram / np.linalg.norm(gram, axis=1, keepdims=True))
    expected = ((grams[0] - grams[1]) ** 2).sum() / 9
    found = Similarity().between(
        paddle.to_tensor(maps(0, 2)), paddle.to_tensor(maps(1, 3, side=4)), {}
    )
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_similarity_of_one_photo_costs_nothing():
    one = paddle.to_tensor(maps(0, 2, photos=1))
    assert Similarity().between(
        one, paddle.to_tensor(maps(1, 3, photos=1)), {}
    ).item() == pytest.approx(0, abs=1e-10)
