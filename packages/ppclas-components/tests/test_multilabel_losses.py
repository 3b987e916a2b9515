"""Losses for several labels per image, and focal: against PyTorch, papers and numerical slopes."""

import numpy as np
import pytest
from ppclas_components.losses import Asymmetric, BinaryCrossEntropy, CrossEntropy, Focal
from ppclas_core.contracts.training import Targets
from ppclas_core.errors import ConfigError, ShapeError

paddle = pytest.importorskip("paddle")

RNG = np.random.default_rng(0)
LOGITS = (RNG.normal(size=(5, 4)) * 2).astype(np.float32)
MANY = (RNG.random((5, 4)) < 0.4).astype(np.float32)
LABELS = RNG.integers(0, 4, 5)
WEIGHTS = (0.5, 1.0, 2.0, 3.0)


def many(values=MANY, **others):
    return Targets(paddle.to_tensor(np.asarray(values, np.float32)), **others)


def one(values=LABELS, **others):
    return Targets(paddle.to_tensor(np.asarray(values), dtype="int64"), **others)


def value_and_slopes(loss, targets, logits=LOGITS):
    tensor = paddle.to_tensor(logits, stop_gradient=False)
    value = loss(tensor, targets)
    value.backward()
    return value.item(), tensor.grad.numpy()


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


# PyTorch has these.


@pytest.fixture
def torch():
    return pytest.importorskip(
        "torch", reason="PyTorch, which the values are compared with, is not installed"
    )


def theirs(torch, formula, logits=LOGITS):
    tensor = torch.tensor(logits, requires_grad=True)
    value = formula(tensor)
    value.backward()
    return value.item(), tensor.grad.numpy()


def agree(ours, reference):
    assert ours[0] == pytest.approx(reference[0], rel=1e-6, abs=1e-7)
    np.testing.assert_allclose(ours[1], reference[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_binary_cross_entropy_is_pytorchs(torch, weights):
    pos_weight = None if weights is None else torch.tensor(weights)
    loss = BinaryCrossEntropy(mean_over_classes=True, class_weights=weights)
    reference = torch.nn.BCEWithLogitsLoss(pos_weight=pos_weight)
    agree(value_and_slopes(loss, many()), theirs(torch, lambda x: reference(x, torch.tensor(MANY))))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy_is_pytorchs(torch, weights, smoothing):
    reference = torch.nn.CrossEntropyLoss(
        weight=None if weights is None else torch.tensor(weights), label_smoothing=smoothing
    )
    loss = CrossEntropy(class_weights=weights, label_smoothing=smoothing)
    agree(
        value_and_slopes(loss, one()), theirs(torch, lambda x: reference(x, torch.tensor(LABELS)))
    )


def test_focal_of_several_labels_is_the_papers_in_pytorch(torch):
    def formula(x):
        p, t = torch.sigmoid(x), torch.tensor(MANY)
        p_t = p * t + (1 - p) * (1 - t)
        alpha_t = 0.25 * t + 0.75 * (1 - t)
        return (-alpha_t * (1 - p_t) ** 2 * torch.log(p_t)).sum(1).mean()

    agree(value_and_slopes(Focal(alpha=0.25), many()), theirs(torch, formula))


def test_focal_of_one_label_in_pytorch(torch):
    def formula(x):
        p = torch.softmax(x, 1)[torch.arange(5), torch.tensor(LABELS)]
        return (-((1 - p) ** 2) * torch.log(p)).mean()

    agree(value_and_slopes(Focal(), one()), theirs(torch, formula))


@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_asymmetric_is_the_papers_in_pytorch(torch, margin):
    def formula(x):
        p, t = torch.sigmoid(x), torch.tensor(MANY)
        q = (p - margin).clamp(min=0)
        return -(t * (1 - p) * torch.log(p) + (1 - t) * q**4 * torch.log(1 - q)).sum(1).mean()

    agree(
        value_and_slopes(Asymmetric(gamma_positive=1.0, margin=margin), many()),
        theirs(torch, formula),
    )


# By hand and by definition.


def test_binary_cross_entropy_by_hand():
    # σ(0) = 1/2 for both classes of both images: two times log 2 per image.
    assert BinaryCrossEntropy()(
        paddle.zeros([2, 2]), many([[1, 0], [1, 1]])
    ).item() == pytest.approx(2 * np.log(2))
    # σ(log 3) = 3/4: -log 3/4 where the class is there, -log 1/4 where it is not.
    logits = paddle.full([1, 2], float(np.log(3)))
    assert BinaryCrossEntropy()(logits, many([[1, 0]])).item() == pytest.approx(
        -np.log(3 / 4) - np.log(1 / 4)
    )


def test_smoothed_binary_targets():
    targets = 0.9 * MANY + 0.05
    expected = (
        -(targets * np.log(sigmoid(LOGITS)) + (1 - targets) * np.log(sigmoid(-LOGITS)))
        .sum(1)
        .mean()
    )
    assert BinaryCrossEntropy(label_smoothing=0.1)(
        paddle.to_tensor(LOGITS), many()
    ).item() == pytest.approx(expected)


def test_focal_by_hand():
    # The paper's example: p = 0.9 costs a hundredth of cross entropy at γ = 2 (Lin et al., below
    # equation 4).
    logits = paddle.to_tensor([[float(np.log(9)), 0.0]])
    assert Focal()(logits, one([0])).item() == pytest.approx(-np.log(0.9) * 0.01, rel=1e-5)
    assert Focal(gamma=0.0)(logits, one([0])).item() == pytest.approx(-np.log(0.9), rel=1e-6)
    assert Focal(gamma=0.0)(logits, many([[1, 0]])).item() == pytest.approx(
        -np.log(0.9) + np.log(2), rel=1e-6
    )


def test_asymmetric_by_hand():
    # An absent class at p = 0.04 lies below the margin and counts nothing; at 0.55 it counts as 0.5
    # ** 4 · log 2.
    logits = paddle.to_tensor([[float(np.log(0.04 / 0.96)), float(np.log(0.55 / 0.45))]])
    assert Asymmetric()(logits, many([[0, 0]])).item() == pytest.approx(
        0.5**4 * np.log(2), rel=1e-5
    )
    # Without focusing or margin it is binary cross entropy.
    plain = Asymmetric(gamma_negative=0.0, margin=0.0)
    assert plain(paddle.to_tensor(LOGITS), many()).item() == pytest.approx(
        BinaryCrossEntropy()(paddle.to_tensor(LOGITS), many()).item()
    )


LOSSES = [
    BinaryCrossEntropy(class_weights=WEIGHTS, label_smoothing=0.1),
    Focal(alpha=0.25),
    Focal(gamma=0.5),
    Asymmetric(),
    Asymmetric(gamma_negative=0.5, gamma_positive=1.0, margin=0.0),
]


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_slopes_are_the_numerical_ones(loss):
    _, slopes = value_and_slopes(loss, many())
    for index in np.ndindex(*LOGITS.shape):
        ends = []
        for step in (-1e-2, 1e-2):
            moved = LOGITS.copy()
            moved[index] += step
            ends.append(value_and_slopes(loss, many(), moved)[0])
        assert slopes[index] == pytest.approx((ends[1] - ends[0]) / 2e-2, abs=1e-3)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_sure_logits_stay_finite(loss):
    far = np.float32([[200.0, -200.0, 0.0, 90.0], [-200.0, 200.0, -90.0, 0.0]])
    for target in ([[1, 0, 1, 1], [0, 1, 0, 0]], [[0, 1, 0, 0], [1, 0, 1, 1]]):
        value, slopes = value_and_slopes(loss, many(target), far)
        assert np.isfinite(value)
        assert np.isfinite(slopes).all()


def test_mixed_images_have_the_mixture_of_both_images_labels():
    mixed, share = np.roll(MANY, 1, axis=0), np.float32([0.3, 1.0, 0.0, 0.6, 0.5])
    targets = many(mixed_labels=paddle.to_tensor(mixed), weight=paddle.to_tensor(share))
    soft = many(soft=paddle.to_tensor(share[:, None] * MANY + (1 - share[:, None]) * mixed))
    for loss in LOSSES:
        assert loss(paddle.to_tensor(LOGITS), targets).item() == pytest.approx(
            loss(paddle.to_tensor(LOGITS), soft).item(), rel=1e-5
        )


def test_one_label_is_one_class_that_is_there():
    onehot = np.eye(4, dtype=np.float32)[LABELS]
    for loss in (BinaryCrossEntropy(), Asymmetric()):
        assert (
            loss(paddle.to_tensor(LOGITS), one()).item()
            == loss(paddle.to_tensor(LOGITS), many(onehot)).item()
        )


def test_softmax_losses_refuse_several_labels():
    with pytest.raises(
        ShapeError,
        match=r"one label per image, labels \[N\]; got \[5, 4\].* use BinaryCrossEntropy",
    ):
        CrossEntropy()(paddle.to_tensor(LOGITS), many())


def test_what_does_not_fit_is_refused():
    with pytest.raises(
        ShapeError, match=r"labels must be \[N, C\] = \[5, 4\] like the logits; got \[5, 3\]"
    ):
        BinaryCrossEntropy()(paddle.to_tensor(LOGITS), many(MANY[:, :3]))
    with pytest.raises(ConfigError, match="one value a class; got 2 values for 4 classes"):
        Asymmetric(class_weights=(1.0, 2.0))(paddle.to_tensor(LOGITS), many())
    with pytest.raises(ConfigError, match="becomes numbers when a run is planned"):
        BinaryCrossEntropy(class_weights="balanced")(paddle.to_tensor(LOGITS), many())
    with pytest.raises(ConfigError, match="alpha weighs classes that are there"):
        Focal(alpha=0.25)(paddle.to_tensor(LOGITS), one())
