"""Mixup against its formula in NumPy, and its draws against the Beta distribution."""

import numpy as np
import pytest
from ppclas_augment.batch import Mixup, _note_a_batch_of_one, partners
from ppclas_core.config.schema import (
    ComponentConfig,
    Config,
    DataSection,
    ModelSection,
    TrainSection,
)
from ppclas_core.contracts.data import sample_draw
from ppclas_core.contracts.training import Targets
from ppclas_core.errors import ConfigError, ShapeError
from ppclas_core.testing import use_plugin
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.console import Console
from ppclas_engine.session import train
from ppclas_engine.testing import FakePlugin

paddle = pytest.importorskip("paddle")


def batch(count, classes=5, size=3):
    rng = np.random.default_rng(count)
    images = paddle.to_tensor(rng.normal(size=(count, 3, size, size + 1)).astype(np.float32))
    return images, Targets(paddle.to_tensor(rng.integers(0, classes, count)))


def draw(index=0):
    return sample_draw(seed=0, epoch=0, index=index)


def beta_variance(alpha):
    return 1 / (4 * (2 * alpha + 1))


@pytest.mark.parametrize("count", [2, 3, 8, 33])
def test_nobody_is_its_own_partner_and_everybody_is_somebodys(count):
    for seed in range(200):
        partner = partners(count, np.random.default_rng(seed))
        assert sorted(partner) == list(range(count))
        assert (partner != np.arange(count)).all()


def test_every_other_sample_is_equally_likely():
    counts = np.zeros((4, 4))
    for seed in range(3000):
        counts[np.arange(4), partners(4, np.random.default_rng(seed))] += 1
    expected = np.where(np.eye(4, dtype=bool), 0, 1000)
    assert np.abs(counts - expected).max() < 120  # 4.6 standard deviations


@pytest.mark.parametrize("per", ["sample", "batch"])
def test_images_and_labels_are_blended_by_the_same_weight(per):
    # Each label has a channel of its own, which shows whose image is there, and how much of it.
    labels = np.random.default_rng(1).permutation(16)
    texture = np.random.default_rng(2).uniform(1, 2, (4, 5)).astype(np.float32)
    channels = np.eye(16, dtype=np.float32)
    images = paddle.to_tensor(channels[labels][:, :, None, None] * texture)
    targets = Targets(paddle.to_tensor(labels))
    mixed, blended = Mixup(per=per)(images, targets, draw())
    weight, partners_labels = blended.weight.numpy()[:, None], blended.mixed_labels.numpy()
    shown = weight * channels[labels] + (1 - weight) * channels[partners_labels]
    np.testing.assert_allclose(mixed.numpy(), shown[:, :, None, None] * texture, atol=1e-6)
    assert sorted(partners_labels) == list(range(16))
    assert (partners_labels != labels).all()
    assert ((shown > 0.01) & (shown < 0.99)).any()  # some are not all but one image
    assert blended.labels is targets.labels
    assert (mixed.dtype, blended.weight.dtype, blended.mixed_labels.dtype) == (
        paddle.float32,
        paddle.float32,
        paddle.int64,
    )


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_weights_are_beta_distributed(alpha):
    images, targets = batch(64)
    weights = np.concatenate(
        [Mixup(alpha=alpha)(images, targets, draw(i))[1].weight.numpy() for i in range(100)]
    )
    assert weights.mean() == pytest.approx(0.5, abs=0.02)
    assert weights.var() == pytest.approx(beta_variance(alpha), abs=0.005)


def test_one_weight_a_batch_where_asked_for():
    images, targets = batch(8)
    firsts = []
    for i in range(400):
        weight = Mixup(alpha=1.0, per="batch")(images, targets, draw(i))[1].weight.numpy()
        assert (weight == weight[0]).all()
        firsts.append(weight[0])
    assert np.var(firsts) == pytest.approx(1 / 12, abs=0.015)


def test_soft_targets_are_blended_too():
    images, targets = batch(6)
    soft = paddle.nn.functional.one_hot(targets.labels, 5)
    _, blended = Mixup()(images, Targets(targets.labels, soft=soft), draw())
    weight = blended.weight.numpy()[:, None]
    expected = (
        weight * np.eye(5)[targets.labels.numpy()]
        + (1 - weight) * np.eye(5)[blended.mixed_labels.numpy()]
    )
    np.testing.assert_allclose(blended.soft.numpy(), expected, atol=1e-6)


def test_a_batch_of_one_is_left_alone_and_that_is_said_once(capsys):
    _note_a_batch_of_one.cache_clear()
    images, targets = batch(1)
    for _ in range(2):
        assert Mixup()(images, targets, draw()) == (images, targets)
    # Nothing before it: Paddle adds a handler of its own to Python's logging.
    said = "warning: Mixup leaves a batch of a single image as it is: there is none to mix with\n"
    assert capsys.readouterr().err == said


def test_the_draw_decides():
    first, again, other = (Mixup()(*batch(4), draw(i))[0].numpy() for i in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_what_cannot_be_mixed_is_refused():
    images, targets = batch(4)
    _, mixed = Mixup()(images, targets, draw())
    with pytest.raises(ConfigError, match=r"mixed already\. List only one mixing transform"):
        Mixup()(images, mixed, draw())
    with pytest.raises(ConfigError, match="Ask the teacher after the batch transforms"):
        Mixup()(images, Targets(targets.labels, teacher_logits=paddle.zeros([4, 5])), draw())
    with pytest.raises(ShapeError, match=r"got \[4, 3, 3, 4\] and \[3\]"):
        Mixup()(images, Targets(targets.labels[:3]), draw())


def test_the_photo_left_over_is_not_the_trainings_accuracy(tmp_path):
    """24 photos in batches of 23 leave one unmixed: it alone must not be the accuracy shown."""
    make_tiny_dataset(tmp_path / "photos", classes=3, per_class=10, size=36)
    config = Config(
        model=ModelSection(name="FakeNet", pretrained=False),
        data=DataSection(
            train=str(tmp_path / "photos"),
            image_size=32,
            batch_size=23,
            workers=0,
            batch_transforms=(ComponentConfig(name="Mixup"),),
        ),
        train=TrainSection(epochs=1, device="cpu", output=str(tmp_path / "run")),
    )
    with use_plugin(FakePlugin()):
        result = train(config, Console(quiet=True))
    assert result.history[-1]["step"] == 2
    assert result.history[-1]["train_top1"] is None
