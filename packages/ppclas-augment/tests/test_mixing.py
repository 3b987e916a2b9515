"""CutMix, FMix and what all mixes share: boxes, masks, weights and targets against their papers."""

import numpy as np
import pytest
from ppclas_augment.batch import CutMix, FMix, Mixup, MixupOrCutMix, _mixed_images, partners
from ppclas_augment.mixing import box_shares, cut_boxes, largest_mask, low_frequency_image
from ppclas_core.config.schema import ComponentConfig, Config, DataSection
from ppclas_core.contracts.data import sample_draw
from ppclas_core.contracts.training import Targets
from ppclas_core.errors import ConfigError
from ppclas_data.testing import make_tiny_dataset
from ppclas_engine.planning.plan import make_plan
from scipy import stats

paddle = pytest.importorskip("paddle")

MIXES = [Mixup(alpha=1.0), CutMix(), FMix(), MixupOrCutMix()]
NAMES = [type(mix).__name__ for mix in MIXES]


def draw(index=0):
    return sample_draw(2, 0, index)


def numbered(count, height=12, width=20):
    """Images that are their own number everywhere, and labels that are it too."""
    values = np.arange(count, dtype=np.float32)
    images = np.broadcast_to(values[:, None, None, None], (count, 3, height, width))
    return paddle.to_tensor(images.copy()), Targets(paddle.arange(count, dtype="int64"))


@pytest.mark.parametrize("mix", MIXES, ids=NAMES)
def test_the_weight_is_what_the_image_shows(mix):
    # Of constant images, the mean says how much is whose: it must be what the labels are weighted
    # by.
    for index in range(8):
        images, targets = numbered(16)
        mixed, new = mix(images, targets, draw(index))
        own, other, weight = new.labels.numpy(), new.mixed_labels.numpy(), new.weight.numpy()
        assert (own != other).all()
        assert sorted(other) == list(range(16))
        expected = weight * own + (1 - weight) * other
        np.testing.assert_allclose(mixed.numpy().mean(axis=(1, 2, 3)), expected, atol=1e-4)
        assert mixed.dtype == paddle.float32


@pytest.mark.parametrize("mix", MIXES[:3], ids=NAMES[:3])
def test_one_draw_a_batch_where_asked_for(mix):
    images, targets = numbered(6)
    weight = mix.replace(per="batch")(images, targets, draw())[1].weight.numpy()
    assert (weight == weight[0]).all()
    assert len(set(mix(images, targets, draw())[1].weight.tolist())) > 3


@pytest.mark.parametrize("mix", MIXES[:3], ids=NAMES[:3])
def test_the_devices_way_and_the_cpus_give_the_same(mix):
    values = np.random.default_rng(0).normal(size=(5, 3, 17, 9)).astype(np.float32)
    drawn, partner = (
        mix.draw_mix(5, 17, 9, np.random.default_rng(1)),
        partners(5, np.random.default_rng(2)),
    )
    weights = drawn.weights(17, 9)
    expected = weights * values + (1 - weights) * values[partner]
    # A CPU mixes single precision where it lies; any other precision goes the way that devices go.
    for dtype, in_place in (("float32", True), ("float64", False)):
        images = paddle.to_tensor(values.astype(dtype), place="cpu")
        mixed = _mixed_images(images, drawn, partner)
        assert (mixed is images) == in_place
        assert mixed.dtype == images.dtype
        np.testing.assert_allclose(mixed.numpy(), expected, atol=1e-6)
        assert (images.numpy() == values).all() != in_place


@pytest.mark.parametrize("mix", MIXES[:3], ids=NAMES[:3])
@pytest.mark.parametrize("partner", [[1, 2, 3, 4, 5, 0], [1, 0, 4, 2, 3, 5], [3, 0, 5, 1, 2, 4]])
def test_any_permutation_of_partners_is_mixed_in_place_as_if_from_a_copy(mix, partner):
    images = np.random.default_rng(0).normal(size=(6, 3, 8, 10)).astype(np.float32)
    drawn, before = mix.draw_mix(6, 8, 10, np.random.default_rng(1)), images.copy()
    drawn.apply(images, np.array(partner))
    weights = drawn.weights(8, 10)
    np.testing.assert_allclose(
        images, weights * before + (1 - weights) * before[partner], atol=1e-6
    )


@pytest.mark.parametrize("mix", MIXES, ids=NAMES)
def test_labels_that_are_vectors_become_soft_targets(mix):
    images, _ = numbered(8)
    labels = np.random.default_rng(0).integers(0, 2, (8, 5)).astype(np.float32)
    mixed, new = mix(images, Targets(paddle.to_tensor(labels)), draw(3))
    assert new.mixed_labels is None
    assert new.weight is None
    # Sample 0 is 0 everywhere: what it shows is its partner's number times the partner's share.
    soft = new.soft.numpy()
    shown = mixed.numpy().mean(axis=(1, 2, 3))
    candidates = [
        (partner, (shown[0] / partner))
        for partner in range(1, 8)
        if 0 <= shown[0] / partner <= 1 + 1e-6
    ]
    assert any(
        np.allclose(soft[0], (1 - share) * labels[0] + share * labels[p], atol=1e-4)
        for p, share in candidates
    )
    assert soft.min() >= 0
    assert soft.max() <= 1 + 1e-6


def test_a_probability_leaves_batches_alone():
    images, targets = numbered(4)
    untouched = [
        CutMix(probability=0.3)(images, targets, draw(i))[1] is targets for i in range(400)
    ]
    assert np.mean(untouched) == pytest.approx(0.7, abs=0.07)


def test_two_mixes_are_refused_before_weights_are_loaded(tmp_path):
    folder, _ = make_tiny_dataset(tmp_path / "photos", classes=2, per_class=8)
    mixes = tuple(ComponentConfig(name=name, probability=0.7) for name in ("Mixup", "CutMix"))
    data = DataSection(train=str(folder), image_size=32, batch_transforms=mixes)
    with pytest.raises(ConfigError, match="CutMix got a batch that is mixed already"):
        make_plan(Config(data=data), "cpu")
    make_plan(Config(data=data.replace(batch_transforms=mixes[:1])), "cpu")


def test_cutmix_boxes_by_hand():
    # λ 0.75: half of each side. Around (6, 10) of 12 x 20 all of it is inside; around a corner a
    # quarter. λ 1: nothing; λ 0: everything.
    boxes = cut_boxes(
        12, 20, np.array([0.75, 0.75, 1.0, 0.0]), np.array([(6, 10), (0, 0), (5, 5), (6, 10)])
    )
    assert boxes.tolist() == [[3, 9, 5, 15], [0, 3, 0, 5], [5, 5, 5, 5], [0, 12, 0, 20]]
    np.testing.assert_allclose(box_shares(12, 20, boxes), [0.75, 1 - 15 / 240, 1.0, 0.0])


def test_cutmix_pastes_one_box_of_the_partner():
    images, targets = numbered(8, 24, 30)
    mixed, new = CutMix()(images, targets, draw(1))
    for own, other, image in zip(
        new.labels.tolist(), new.mixed_labels.tolist(), mixed.numpy(), strict=True
    ):
        pasted = image[0] == other
        assert ((image[0] == own) | pasted).all()
        rows, columns = np.flatnonzero(pasted.any(axis=1)), np.flatnonzero(pasted.any(axis=0))
        assert pasted.sum() == len(rows) * len(columns)  # a rectangle


def test_cutmix_weights_have_the_clipped_distribution():
    # Of uniform λ and a uniform centre, the side of the box is r = √(1 - λ) and (r - r² / 4) of it
    # is inside on average, each way on its own; with r² uniform the mean pasted share is ∫ (r -
    # r²/4)² 2r dr = 17/48 - 1/10... by
    # term: 2 (1/4 - 1/10 + 1/96) = 0.3208.
    images, targets = numbered(64, 100, 100)
    weights = np.concatenate(
        [CutMix()(images, targets, draw(i))[1].weight.numpy() for i in range(40)]
    )
    assert 1 - weights.mean() == pytest.approx(0.3208, abs=0.012)


@pytest.mark.parametrize(("alpha", "variance"), [(0.2, 1 / 5.6), (1.0, 1 / 12)])
def test_fmix_masks_have_the_drawn_share(alpha, variance):
    shares = FMix(alpha=alpha).draw_mix(600, 16, 16, np.random.default_rng(0)).shares
    assert (shares.mean(), shares.var()) == pytest.approx((0.5, variance), abs=0.03)
    if alpha == 1.0:
        assert stats.kstest(shares, "uniform").pvalue > 1e-3


def test_fmix_pictures_use_the_whole_spectrum():
    # The public code takes two rows of the spectrum: a matrix of rank 3.
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((64, 33)) + 1j * rng.standard_normal((64, 33))
    assert np.linalg.matrix_rank(low_frequency_image(64, 64, noise, 1.0).astype(np.float64)) > 60


def test_fmix_shapes_are_larger_with_a_faster_decay():
    def edges(decay):
        masks = FMix(decay_power=decay).draw_mix(40, 64, 48, np.random.default_rng(3)).masks
        return np.abs(np.diff(masks, axis=2)).sum()

    assert edges(5.0) < 0.7 * edges(3.0) < 0.2 * edges(0.0)
    assert edges(1000.0) <= edges(5.0)  # where (max / min frequency) ** 1000 is no number


def test_the_largest_pixels_are_the_mask():
    image = np.array([[5, 1, 4], [3, 0, 2]], np.float32)
    assert largest_mask(image, 3).tolist() == [[1, 0, 1], [1, 0, 0]]
    assert largest_mask(image, 0).sum() == 0
    assert largest_mask(image, 6).sum() == 6
    soft = largest_mask(np.arange(100, dtype=np.float32).reshape(10, 10), 50, soft=0.1)
    assert soft.mean() == pytest.approx(0.5)
    assert (
        (soft > 0) & (soft < 1)
    ).sum() == 18  # 10 pixels on each side of the limit; the ends are 0 and 1
    assert (np.diff(soft.ravel()) >= 0).all()


@pytest.mark.parametrize("max_soft", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize(("side", "count"), [(224, 15), (32, 400)])
def test_fmix_edges_are_soft_over_the_share_asked_for_where_there_is_room(side, count, max_soft):
    mix = FMix(max_soft=max_soft).draw_mix(count, side, side, np.random.default_rng(4))
    assert (mix.masks.min(), mix.masks.max()) == (0, 1)
    for mask, share in zip(mix.masks, mix.shares.tolist(), strict=True):
        soft = ((mask > 0) & (mask < 1)).mean()
        assert soft == pytest.approx(2 * min(max_soft, share, 1 - share), abs=4.5 / side**2)


def test_cutmix_boxes_are_of_the_drawn_size():
    # So large an alpha makes every λ a half: a box has √½ of each side, 70.7 of 100, where no
    # border cuts it.
    mixed, new = CutMix(alpha=1e4)(*numbered(64, 100, 100), draw())
    pasted = mixed.numpy()[:, 0] != new.labels.numpy()[:, None, None]
    assert pasted.any(axis=2).sum(axis=1).max() == pytest.approx(70.7, abs=1)
    assert pasted.any(axis=1).sum(axis=1).max() == pytest.approx(70.7, abs=1)
    assert pasted.any(axis=2).sum(axis=1).min() >= 35


def test_mixup_or_cutmix_passes_its_parameters_on():
    def weights(**params):
        return MixupOrCutMix(**params)(*numbered(64, 100, 100), draw())[1].weight.numpy()

    assert weights(cutmix_share=0, mixup={"alpha": 1e4}) == pytest.approx(0.5, abs=0.03)
    assert np.ptp(weights(cutmix_share=0, mixup={"per": "batch"})) == 0
    assert MixupOrCutMix(mixup={"per": "batch"}).mixup == Mixup(alpha=0.8, per="batch")
    assert MixupOrCutMix(mixup=Mixup(per="batch")).mixup.alpha == 0.2  # one that is made already
    # A box of half of the image, of which a corner shows a quarter.
    shown = 1 - weights(cutmix_share=1, cutmix={"alpha": 1e4})
    assert shown.max() == pytest.approx(0.5, abs=0.02)
    assert 0.12 < shown.min() < 0.3
    images, targets = numbered(4)
    assert (
        MixupOrCutMix(cutmix_share=1, cutmix={"probability": 0})(images, targets, draw())[1]
        is targets
    )
    assert (
        MixupOrCutMix(cutmix_share=0, mixup={"probability": 0})(images, targets, draw())[1]
        is targets
    )


def test_mixup_or_cutmix_alternates():
    kinds = [
        np.unique(MixupOrCutMix(cutmix_share=0.25)(*numbered(4), draw(i))[0].numpy()[1, 0]).size > 1
        for i in range(300)
    ]
    assert np.mean(kinds) == pytest.approx(0.25, abs=0.08)  # a box shows two values, a blend one
