"""Losses between feature maps: hand calculations, and gradients against numerical ones."""

import numpy as np
import pytest
from ppclas_core.errors import ShapeError
from ppclas_core.testing import check_params
from ppclas_distill.features import MGD, PEFD, Distance, FitNet, Similarity

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


@pytest.mark.parametrize(
    "loss", [FitNet(), Similarity(), MGD(mask_ratio=0.0), PEFD(projectors=2)], ids=repr
)
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


@pytest.mark.parametrize("mode", ["l1", "l2", "smooth_l1"])
def test_distances_are_means_over_everything(mode):
    a, b = maps(0, 2), maps(1, 2)
    gap = np.abs(a - b)
    expected = {
        "l1": gap.mean(),
        "l2": (gap**2).mean(),
        "smooth_l1": np.where(gap < 1, gap**2 / 2, gap - 0.5).mean(),
    }
    found = Distance(mode=mode).between(paddle.to_tensor(a), paddle.to_tensor(b), {})
    assert found.item() == pytest.approx(expected[mode], rel=1e-5)


def test_distances_of_other_shapes_are_refused():
    with pytest.raises(ShapeError, match="fitnet projects"):
        Distance().between(paddle.to_tensor(maps(0, 2)), paddle.to_tensor(maps(1, 3)), {})


def test_mgd_leaves_whole_channels_of_single_photos_out():
    """Of a student of ones and a teacher of zeros the mean square is the share that is kept."""
    paddle.seed(0)
    ones, zeros = paddle.ones([400, 5, 2, 2]), paddle.zeros([400, 5, 2, 2])
    seen = []

    def generate(masked):
        seen.append(masked.numpy())
        return masked

    layers = {"align": paddle.nn.Identity(), "generate": generate}
    found = MGD(mask_ratio=0.3).between(ones, zeros, layers).item()
    (masked,) = seen
    assert set(np.unique(masked)) == {0.0, 1.0}
    assert (masked == masked[:, :, :1, :1]).all()
    assert found == pytest.approx(masked.mean(), rel=1e-5)
    assert masked.mean() == pytest.approx(0.7, abs=0.03)


def test_mgd_generates_with_two_convolutions_and_aligns_other_channels():
    layers = MGD().layers(OURS, THEIRS)
    assert [tuple(p.shape) for p in layers["align"].parameters()] == [(3, 2, 1, 1), (3,)]
    shapes = [tuple(p.shape) for p in layers["generate"].parameters()]
    assert shapes == [(3, 3, 3, 3), (3,)] * 2
    assert not list(MGD().layers(OURS, OURS)["align"].parameters())


def test_pefd_is_one_minus_the_cosine_of_the_mean_projection():
    loss = PEFD(projectors=2)
    layers = loss.layers(OURS, THEIRS)
    pooled, wanted = maps(0, 2).mean((2, 3)), maps(1, 3).mean((2, 3))
    projected = 0.0
    for layer in layers.values():
        weight, bias = (parameter.numpy() for parameter in layer.parameters())
        projected = projected + np.maximum(pooled @ weight + bias, 0) / 2
    lengths = np.linalg.norm(projected, axis=1) * np.linalg.norm(wanted, axis=1)
    expected = (1 - (projected * wanted).sum(1) / lengths).mean()
    found = loss.between(paddle.to_tensor(maps(0, 2)), paddle.to_tensor(maps(1, 3)), layers)
    assert found.item() == pytest.approx(expected, rel=1e-5)
