"""Losses between feature maps: hand calculations, and gradients against numerical ones."""

import numpy as np
import pytest
from ppclas_core.errors import ShapeError
from ppclas_core.testing import check_params
from ppclas_distill.attention import AFD
from ppclas_distill.features import MGD, PEFD, RKD, Distance, FitNet, Similarity

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
    "loss",
    [FitNet(), Similarity(), MGD(mask_ratio=0.0), PEFD(projectors=2), RKD(distance=1.0, angle=1.0)],
    ids=repr,
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


def relations(array):
    """Distances and cosines by Park et al. 2019, equations 5, 6 and 8, written out."""
    x = array.reshape(len(array), -1).astype(np.float64)
    photos = range(len(x))
    lengths = {(i, j): np.linalg.norm(x[i] - x[j]) for i in photos for j in photos if i != j}
    mean = sum(lengths.values()) / len(lengths)
    cosines = {
        (i, j, k): (x[i] - x[j]) @ (x[k] - x[j]) / lengths[i, j] / lengths[k, j]
        for i in photos
        for j in photos
        for k in photos
        if len({i, j, k}) == 3
    }
    return {key: value / mean for key, value in lengths.items()}, cosines


def huber(ours, theirs):
    apart = [abs(ours[key] - theirs[key]) for key in ours]
    return np.mean([a**2 / 2 if a <= 1 else a - 0.5 for a in apart])


@pytest.mark.parametrize("pooled", [False, True])
def test_rkd_follows_park_et_al(pooled):
    ours, theirs = maps(0, 2, photos=5), 3.0 + maps(1, 3, side=4, photos=5)
    arrays = [each.mean(axis=(2, 3)) if pooled else each for each in (ours, theirs)]
    (distances, cosines), (wanted, wanted_cosines) = map(relations, arrays)
    expected = 2.0 * huber(distances, wanted) + 3.0 * huber(cosines, wanted_cosines)
    loss = RKD(distance=2.0, angle=3.0, pooled=pooled)
    found = loss.between(paddle.to_tensor(ours), paddle.to_tensor(theirs), {})
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_rkd_of_photos_that_are_the_same_has_a_gradient():
    ours = maps(0, 2, photos=4)
    ours[1] = ours[0]
    student = paddle.to_tensor(ours, stop_gradient=False)
    RKD().between(student, paddle.to_tensor(maps(1, 3, photos=4)), {}).backward()
    assert np.isfinite(student.grad.numpy()).all()
    assert np.abs(student.grad.numpy()).max() > 0


@pytest.mark.parametrize(("photos", "cost"), [(1, 0.0), (2, 0.0)])
def test_rkd_of_too_few_photos_costs_nothing(photos, cost):
    # Two have one distance, which is their mean: 1 for everybody.
    found = RKD().between(
        paddle.to_tensor(maps(0, 2, photos=photos)), paddle.to_tensor(maps(1, 3, photos=photos)), {}
    )
    assert found.item() == pytest.approx(cost, abs=1e-6)


def test_afd_follows_ji_et_al():
    # Equations 1 to 6: attention from means over the pixels, distances between normalised maps.
    loss, photos, dim = AFD(dim=4), 3, 4
    ours = [maps(0, 2, side=4, photos=photos), maps(1, 3, side=2, photos=photos)]
    theirs = [maps(2, 3, side=4, photos=photos), maps(3, 5, side=2, photos=photos)]
    features = [[image_model.Feature("", m.shape[1], 8) for m in each] for each in (ours, theirs)]
    paddle.seed(0)
    layers = loss.layers_of(*features)
    parameters = {key: value.numpy() for key, value in layers["attention"].named_parameters()}
    found = loss.between_maps(
        [paddle.to_tensor(m) for m in ours], [paddle.to_tensor(m) for m in theirs], layers
    )

    def project(name, x):
        x = x @ parameters[f"{name}.0.weight"] + parameters[f"{name}.0.bias"]
        return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)  # as a batch norm starts

    def attention_map(m, side):
        energy, step = (m**2).mean(axis=1), m.shape[2] // side
        if step:  # pooled, or repeated where the teacher's map is larger
            energy = energy.reshape(photos, side, step, side, step).mean(axis=(2, 4))
        else:
            energy = energy.repeat(side // m.shape[2], 1).repeat(side // m.shape[2], 2)
        flat = energy.reshape(photos, -1)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    queries = [project(f"queries.{t}", m.mean(axis=(2, 3))) for t, m in enumerate(theirs)]
    keys = [np.maximum(project(f"keys.{s}", m.mean((2, 3))), 0) for s, m in enumerate(ours)]
    each = project("bilinear", np.stack(keys, 1).reshape(-1, dim)).reshape(photos, 2, 2, dim)
    positions = parameters["teacher_positions"] @ parameters["student_positions"].T
    expected = 0.0
    for t, teacher in enumerate(theirs):
        fit = np.stack([(each[:, s, t] * queries[t]).sum(1) + positions[t, s] for s in (0, 1)], 1)
        share = np.exp(fit / np.sqrt(dim))
        share /= share.sum(axis=1, keepdims=True)
        side = teacher.shape[2]
        for s, student in enumerate(ours):
            apart = attention_map(student, side) - attention_map(teacher, side)
            expected += (share[:, s] * (apart**2).mean(axis=1)).mean()
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_afd_trains_all_that_it_brings():
    loss = AFD(dim=4)
    layers = loss.layers_of([OURS, OURS], [THEIRS])
    students = [paddle.to_tensor(maps(seed, 2), stop_gradient=False) for seed in (0, 1)]
    loss.between_maps(students, [paddle.to_tensor(maps(2, 3))], layers).backward()
    trained = [each for each in layers["attention"].parameters() if each.trainable]
    assert all(parameter.grad is not None for parameter in trained)
    assert all(np.abs(student.grad.numpy()).max() > 0 for student in students)
