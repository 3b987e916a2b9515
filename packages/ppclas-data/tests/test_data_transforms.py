"""The basic transforms against the vectors and formulas of their specification."""

import math

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage
from ppclas_core.config.schema import ComponentConfig
from ppclas_core.contracts.data import sample_draw
from ppclas_core.errors import ConfigError, ShapeError
from ppclas_core.plugins import get_registries
from ppclas_data.loading.pipeline import (
    Pipeline,
    build_transforms,
    default_eval_transforms,
    default_train_transforms,
)
from ppclas_data.transforms import functional
from ppclas_data.transforms.basic import (
    CenterCrop,
    Normalize,
    RandomFlip,
    RandomResizedCrop,
    Resize,
    ToCHW,
)
from pydantic import ValidationError

DRAW = sample_draw(0, 0, 0)


def noise(height, width, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "short", "expected"),
    [
        (300, 500, 256, (256, 427)),
        (500, 375, 256, (341, 256)),
        (200, 200, 64, (64, 64)),
        (4, 5, 2, (2, 2)),  # 2.5 is rounded to the even 2
        (4, 7, 2, (2, 4)),  # 3.5 to 4
        (1000, 1, 3, (3000, 3)),
    ],
)
def test_short_side(height, width, short, expected):
    assert functional.short_side_size(height, width, short) == expected
    assert Resize(short=short)(noise(height, width), DRAW).shape == (*expected, 3)


def test_exact_size_is_height_then_width():
    assert Resize(size=(240, 320))(noise(300, 500), DRAW).shape == (240, 320, 3)
    assert Resize(size=32)(noise(300, 500), DRAW).shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("nearest", cv2.INTER_NEAREST),
        ("bilinear", cv2.INTER_LINEAR),
        ("bicubic", cv2.INTER_CUBIC),
        ("area", cv2.INTER_AREA),
        ("lanczos", cv2.INTER_LANCZOS4),
    ],
)
def test_interpolation_is_opencvs(name, code):
    image = noise(40, 60)
    np.testing.assert_array_equal(
        functional.resize(image, (30, 20), name), cv2.resize(image, (20, 30), interpolation=code)
    )


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_are_kept(channels):
    image = noise(40, 60, channels)
    assert functional.resize(image, (10, 20)).shape == (10, 20, channels)
    assert functional.flip(image, "both").shape == image.shape
    assert functional.center_crop(image, (50, 50)).shape == (50, 50, channels)


def test_bilinear_by_hand():
    # Halving with aligned pixel centres averages pairs.
    row = np.array([[0, 10, 20, 30]], np.uint8)[..., None]
    np.testing.assert_array_equal(functional.resize(row, (1, 2))[..., 0], [[5, 25]])


def test_center_crop_offset():
    image = noise(301, 500)
    np.testing.assert_array_equal(
        CenterCrop(size=(224, 100))(image, DRAW), image[38 : 38 + 224, 200:300]
    )


def test_a_small_image_is_padded_symmetrically():
    # Of the reference, a crop of 224 from 100 x 400 gives 62 x 224.
    image = noise(101, 400)
    out = CenterCrop(size=224, fill=(1, 2, 3))(image, DRAW)
    assert out.shape == (224, 224, 3)
    np.testing.assert_array_equal(out[61:162], image[:, 88:312])
    for padding in (out[:61], out[162:]):
        assert (padding == (1, 2, 3)).all()


def test_crop_outside_the_image_is_refused():
    with pytest.raises(
        ShapeError, match=r"expected a crop inside the image of 10x20 .* got 5x5 at top 6, left 0"
    ):
        functional.crop(noise(10, 20), 6, 0, 5, 5)


@pytest.mark.parametrize(
    ("axis", "index"),
    [("horizontal", np.s_[:, ::-1]), ("vertical", np.s_[::-1]), ("both", np.s_[::-1, ::-1])],
)
def test_flip_axes(axis, index):
    image = noise(5, 7)
    np.testing.assert_array_equal(RandomFlip(axis=axis, probability=1.0)(image, DRAW), image[index])
    np.testing.assert_array_equal(RandomFlip(axis=axis, probability=0.0)(image, DRAW), image)


def test_flip_probability():
    image = noise(2, 3)
    flips = sum(
        not (RandomFlip(probability=0.3)(image, sample_draw(0, 0, i)) == image).all()
        for i in range(2000)
    )
    assert flips == pytest.approx(600, abs=80)  # four standard deviations


def test_normalize_vectors():
    ends = np.array([[[255] * 3, [0] * 3]], np.uint8)
    out = Normalize()(ends, DRAW)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[0, 0], [2.2489083, 2.4285715, 2.64], rtol=0, atol=3e-7)
    np.testing.assert_allclose(out[0, 1], [-2.117904, -2.0357141, -1.8044444], rtol=0, atol=3e-7)


def test_normalize_wants_a_mean_for_each_channel():
    with pytest.raises(ShapeError, match=r"got 3 and 3 for an image \[4, 5, 1\]"):
        Normalize()(noise(4, 5, 1), DRAW)


def test_to_chw():
    image = noise(5, 7)
    out = ToCHW()(image, DRAW)
    assert out.shape == (3, 5, 7)
    assert (out[1] == image[..., 1]).all()
    assert "ToCHWImage" in get_registries().transforms


def boxes(crop, height, width, count=4000):
    rng = np.random.default_rng(0)
    return np.array([crop.draw_box(height, width, rng) for _ in range(count)])


def test_mean_area_of_the_one_draw_crop():
    # About 0.35 for 300 x 500 according to the specification.
    _, _, height, width = boxes(RandomResizedCrop(size=8), 300, 500).T
    assert (height * width).mean() / (300 * 500) == pytest.approx(0.35, abs=0.02)


@pytest.mark.parametrize("sampling", ["one_draw", "one_draw_log", "ten_tries"])
@pytest.mark.parametrize(
    ("height", "width"), [(300, 500), (500, 300), (224, 224), (1, 1), (2, 900), (900, 1), (3, 4)]
)
def test_boxes_lie_inside(sampling, height, width):
    top, left, box_height, box_width = boxes(
        RandomResizedCrop(size=8, sampling=sampling), height, width, 500
    ).T
    assert min(top.min(), left.min()) >= 0
    assert min(box_height.min(), box_width.min()) >= 1
    assert (top + box_height).max() <= height
    assert (left + box_width).max() <= width


@pytest.mark.parametrize("sampling", ["one_draw", "one_draw_log", "ten_tries"])
def test_aspect_ratio_stays_in_range(sampling):
    _, _, height, width = boxes(
        RandomResizedCrop(size=8, scale=(0.3, 1.0), sampling=sampling), 300, 500
    ).T
    ratio = width / height
    assert ratio.min() >= 0.75 * 0.97
    assert ratio.max() <= 4 / 3 * 1.03


def test_aspect_ratio_distributions():
    # For a ratio uniform in (1/4, 4) the mean is 2.125; log-uniform, the mean logarithm is 0.
    def ratios(sampling):
        crop = RandomResizedCrop(size=8, scale=(0.01, 0.02), ratio=(0.25, 4.0), sampling=sampling)
        _, _, height, width = boxes(crop, 3000, 3000).T
        return width / height

    assert ratios("one_draw").mean() == pytest.approx(2.125, abs=0.08)
    assert np.log(ratios("one_draw_log")).mean() == pytest.approx(0, abs=0.06)
    assert np.log(ratios("ten_tries")).mean() == pytest.approx(0, abs=0.06)


def test_ten_tries_draws_the_area_uniformly():
    # With all boxes fitting, the mean share is the middle of the scale.
    crop = RandomResizedCrop(size=8, scale=(0.1, 0.5), ratio=(1.0, 1.0), sampling="ten_tries")
    _, _, height, width = boxes(crop, 1000, 1000).T
    assert (height * width).mean() / 1e6 == pytest.approx(0.3, abs=0.01)


def test_ten_tries_falls_back_to_the_middle():
    # No box of at least 90 % of a 100 x 1000 image has a ratio below 4/3.
    crop = RandomResizedCrop(size=8, scale=(0.9, 1.0), sampling="ten_tries")
    assert crop.draw_box(100, 1000, np.random.default_rng(0)) == (0, 433, 100, 133)


def test_offsets_are_uniform_to_both_ends():
    crop = RandomResizedCrop(size=8, scale=(0.25, 0.25), ratio=(1.0, 1.0))
    top, left, height, width = boxes(crop, 6, 6).T
    assert set(height) == set(width) == {3}
    for offset in (top, left):
        assert set(offset) == {0, 1, 2, 3}
        assert min(np.bincount(offset)) > 850


def test_crop_is_resized():
    image = noise(300, 500)
    out = RandomResizedCrop(size=(32, 48))(image, sample_draw(1, 2, 3))
    top, left, height, width = RandomResizedCrop(size=(32, 48)).draw_box(
        300, 500, sample_draw(1, 2, 3).rng
    )
    np.testing.assert_array_equal(
        out, cv2.resize(image[top : top + height, left : left + width], (48, 32))
    )


def test_draws_depend_on_seed_epoch_and_sample():
    crop = RandomResizedCrop(size=8)
    drawn = {
        crop.draw_box(300, 500, sample_draw(*key).rng)
        for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    }
    assert len(drawn) == 4
    assert crop.draw_box(300, 500, sample_draw(7, 8, 9).rng) == crop.draw_box(
        300, 500, sample_draw(7, 8, 9).rng
    )


@pytest.mark.parametrize(
    "name", ["Resize", "CenterCrop", "RandomResizedCrop", "RandomFlip", "Normalize"]
)
def test_input_is_never_written_to(name):
    params = {"size": 16} if name in ("Resize", "CenterCrop", "RandomResizedCrop") else {}
    transform = get_registries().transforms.build(name, **params)
    image = noise(30, 50)
    image.flags.writeable = False
    for index in range(5):
        transform(image, sample_draw(0, 0, index))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "give either size"),
        ({"size": 8, "short": 8}, "give either size"),
        ({"size": 0}, "greater than 0"),
        ({"size": 8, "interpolation": "linear"}, "bilinear"),
    ],
)
def test_resize_parameters(params, said):
    with pytest.raises(ValidationError, match=said):
        Resize(**params)


def test_crop_parameters():
    with pytest.raises(
        ValidationError, match=r"scale goes from the smaller to the larger value, got 1\.0 to 0\.5"
    ):
        RandomResizedCrop(size=8, scale=(1.0, 0.5))
    with pytest.raises(
        ValidationError, match=r"scale is a share of the image's area, at most 1, got 2\.0"
    ):
        RandomResizedCrop(size=8, scale=(0.5, 2.0))


def test_default_lists():
    train = build_transforms(default_train_transforms((32, 48), "bicubic"))
    assert train == (RandomResizedCrop(size=(32, 48), interpolation="bicubic"), RandomFlip())
    evaluation = build_transforms(default_eval_transforms(224, None, "bilinear"))
    assert evaluation == (Resize(short=256), CenterCrop(size=224))
    assert build_transforms(default_eval_transforms((100, 224), 230, "area"))[0] == Resize(
        short=230, interpolation="area"
    )
    for transforms, shape in ((train, (32, 48, 3)), (evaluation, (224, 224, 3))):
        assert Pipeline(transforms).output_shape() == shape


@pytest.mark.parametrize(
    ("component", "said"),
    [
        (
            ComponentConfig(name="RandomFlop"),
            "data.train_transforms.0: Unknown transform 'RandomFlop'. Did you mean 'RandomFlip'",
        ),
        (
            ComponentConfig(name="RandomFlip", probabilty=0.5),
            "RandomFlip.probabilty: unknown key 'probabilty'. Did you mean 'probability'?",
        ),
        (
            ComponentConfig(name="Resize", size="big"),
            "Resize.size: expected a whole number or a list, got the text 'big'",
        ),
        (ComponentConfig(name="Resize"), "Resize: give either size"),
    ],
)
def test_mistakes_in_a_list_name_component_and_field(component, said):
    with pytest.raises(ConfigError) as caught:
        build_transforms([component])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_failing_transform_is_named():
    class Broken(RandomFlip):
        def __call__(self, image, draw):
            return 1 // 0

    with pytest.raises(
        ConfigError,
        match=r"transform Broken\(.*\) failed on an image \[4, 5, 3\]: ZeroDivisionError",
    ):
        Pipeline([Broken()]).transform(noise(4, 5), DRAW, "photo")


def test_a_wrong_layout_is_refused():
    with pytest.raises(
        ShapeError, match=r"expected uint8 or float32 \[H, W, C\].* got uint8 \[3, 4, 5\]; ToCHW"
    ):
        Pipeline([ToCHW()]).transform(noise(4, 5), DRAW, "photo")


def test_pipeline_by_formula():
    image = noise(300, 500)
    data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    out = Pipeline(build_transforms(default_eval_transforms(224, 256, "bilinear")))(
        data, DRAW, "photo"
    )
    resized = cv2.resize(image, (427, 256))
    np.testing.assert_array_equal(out, resized[16:240, math.floor((427 - 224) / 2) :][:, :224])


def test_grayscale_is_pillows():
    photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    grey = get_registries().transforms.build("Grayscale")(photo, sample_draw(0, 0, 0))
    assert grey.shape == (20, 30, 1)
    expected = np.asarray(PillowImage.fromarray(photo).convert("L")).astype(int)
    assert np.abs(grey[..., 0] - expected).max() <= 1  # Pillow cuts off, OpenCV rounds
    assert get_registries().transforms.build("Grayscale")(grey, sample_draw(0, 0, 0)) is grey
