"""Letterbox, RandomCrop and the resize modes, from the config to the bundle's transforms."""

import cv2
import numpy as np
import pytest
from ppclas_core.config.schema import ComponentConfig, Config, DataSection, SamplingConfig
from ppclas_core.contracts.data import sample_draw
from ppclas_core.errors import ConfigError, ImageError
from ppclas_data.loading.pipeline import (
    Pipeline,
    build_transforms,
    default_eval_transforms,
    default_train_transforms,
    with_all_parameters,
)
from ppclas_data.testing import make_tiny_dataset
from ppclas_data.transforms import functional
from ppclas_data.transforms.basic import CenterCrop, Normalize, RandomFlip, Resize
from ppclas_data.transforms.framing import Letterbox, RandomCrop
from ppclas_engine.planning.plan import make_plan

DRAW = sample_draw(0, 0, 0)


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "size", "expected"),
    [
        (300, 500, (224, 224), (134, 224)),
        (500, 300, (224, 224), (224, 134)),
        (300, 500, (100, 400), (100, 167)),
        (10, 20, (40, 40), (20, 40)),
        (1, 4000, (64, 64), (1, 64)),
    ],
)
def test_the_largest_size_that_fits(height, width, size, expected):
    assert functional.fitting_size(height, width, size) == expected


def test_letterbox_keeps_all_of_the_image_and_its_aspect():
    image = noise(100, 200)
    out = Letterbox(size=64)(image, DRAW)
    np.testing.assert_array_equal(out[16:48], cv2.resize(image, (64, 32)))
    assert (out[:16] == (124, 116, 104)).all()
    assert (out[48:] == (124, 116, 104)).all()
    assert (Letterbox(size=(32, 96), fill=0)(image, DRAW)[:, :16] == 0).all()


@pytest.mark.parametrize("cropping", [CenterCrop, Letterbox, RandomCrop])
def test_padding_is_one_colour_before_and_after_normalising(cropping):
    image, normalise = noise(20, 10), Normalize()
    before = normalise(cropping(size=40)(image, DRAW), DRAW)
    after = cropping(size=40)(normalise(image, DRAW), DRAW)
    assert np.abs(before[0, 0]).max() < 0.01  # ImageNet's mean, rounded to whole levels
    assert (after[0, 0] == 0).all()
    stated = cropping(size=40, fill=(0.5, 0.25, -2.0))
    assert stated(normalise(image, DRAW), DRAW)[0, 0].tolist() == [0.5, 0.25, -2.0]
    with pytest.raises(
        ConfigError, match=r"fill: expected whole numbers in 0..255 .* got 0.5, 0.25, -2"
    ):
        stated(image, DRAW)
    with pytest.raises(ConfigError, match=r"fill has 3 values and the image 1 channels"):
        stated(image[..., :1], DRAW)
    assert cropping(size=40)(image[..., :1], DRAW)[0, 0] == 115  # the mean of 124, 116 and 104


def test_random_crop_reaches_every_place_and_pads():
    image = noise(6, 9)
    seen = set()
    for index in range(300):
        crop = RandomCrop(size=(4, 7))(image, sample_draw(0, 0, index))
        places = [
            (y, x)
            for y in range(3)
            for x in range(3)
            if (image[y : y + 4, x : x + 7] == crop).all()
        ]
        assert len(places) == 1
        seen.update(places)
    assert len(seen) == 9
    small = RandomCrop(size=12, fill=(1, 2, 3))(image, DRAW)
    np.testing.assert_array_equal(small[3:9, 1:10], image)
    assert (small[:3] == (1, 2, 3)).all()
    # CIFAR's: 4 pixels on all sides, then a box of the same size.
    shifted = [RandomCrop(size=(6, 9), padding=4)(image, sample_draw(0, 0, i)) for i in range(200)]
    assert {crop.shape for crop in shifted} == {(6, 9, 3)}
    assert sum((crop == image).all() for crop in shifted) < 20  # 1 in 81


@pytest.mark.parametrize(
    ("mode", "train", "evaluation"),
    [
        ("squash", Resize(size=(32, 48)), (Resize(size=(32, 48)),)),
        ("letterbox", Letterbox(size=(32, 48)), (Letterbox(size=(32, 48)),)),
        ("none", RandomCrop(size=(32, 48)), (CenterCrop(size=(32, 48)),)),
    ],
)
def test_the_lists_of_the_modes(mode, train, evaluation):
    training = build_transforms(default_train_transforms((32, 48), "bilinear", mode=mode))
    assert training == (train, RandomFlip())
    built = build_transforms(default_eval_transforms((32, 48), None, "bilinear", mode))
    assert built == evaluation
    for transforms in (training, built):
        for height, width in ((100, 30), (20, 90), (1, 1)):
            assert Pipeline(transforms).transform(noise(height, width), DRAW, "photo").shape == (
                32,
                48,
                3,
            )


def test_the_mode_in_a_config_decides_both_lists(tmp_path):
    folder, _ = make_tiny_dataset(tmp_path / "photos", classes=2, per_class=8)
    config = Config(data=DataSection(train=str(folder), image_size=40, resize_mode="letterbox"))
    plan = make_plan(config, "cpu")
    letterbox = ComponentConfig(name="Letterbox", size=(40, 40), interpolation="bilinear")
    assert plan.config.data.eval_transforms == (letterbox,)
    flip, colours = ComponentConfig(name="RandomFlip"), plan.augmentation
    assert plan.config.data.train_transforms == (letterbox, flip, *colours)
    assert "photos are shown as a whole, with bars up to 40x40" in plan.notes
    # What was resolved can be planned again, as a resumed run does.
    again = make_plan(plan.config, "cpu")
    assert again.config.data == plan.config.data
    assert not [note for note in again.notes if "shapes nothing" in note]
    both = config.replace(data=config.data.replace(resize_short=50))
    with pytest.raises(
        ConfigError, match="resize_short is of resize_mode center, and resize_mode is letterbox"
    ):
        make_plan(both, "cpu")


def test_what_training_would_refuse_is_refused_before_weights_are_loaded(tmp_path):
    folder, _ = make_tiny_dataset(tmp_path / "photos", classes=2, per_class=8)
    data = DataSection(train=str(folder), image_size=32)
    scaled = ComponentConfig(name="Normalize", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    crop = ComponentConfig(name="RandomResizedCrop", size=32)
    with pytest.raises(
        ConfigError, match=r"train_transforms normalise by mean \[0.5, .* evaluation by \[0.485, "
    ):
        make_plan(Config(data=data.replace(train_transforms=(crop, scaled))), "cpu")
    with pytest.raises(ConfigError, match="has no class 'nobody'"):
        make_plan(
            Config(data=data.replace(sampling=SamplingConfig(weights={"nobody": 2.0}))), "cpu"
        )


def test_a_bundle_says_every_parameter_of_its_transforms():
    given = (ComponentConfig(name="Resize", short=40), ComponentConfig(name="CenterCrop", size=32))
    resize, crop = with_all_parameters(given)
    assert resize.params == {
        "size": None,
        "short": 40,
        "interpolation": "bilinear",
        "antialias": False,
    }
    assert crop.params == {"size": 32, "fill": None}
    assert build_transforms((resize, crop)) == build_transforms(given)


def test_a_thin_picture_is_refused_before_memory_runs_out():
    evaluation = Pipeline([Resize(short=256), CenterCrop(size=224)])
    thin = cv2.imencode(".png", np.zeros((1, 60_000, 3), np.uint8))[1].tobytes()
    with pytest.raises(ImageError, match=r"thin.png: 1x60000 would become 256x15360000 by Resize"):
        evaluation(thin, DRAW, "thin.png")
    boxed = Pipeline([Letterbox(size=64)])(thin, DRAW, "thin.png")
    assert boxed.shape == (64, 64, 3)


def test_letterbox_reads_a_large_photo_at_a_smaller_scale():
    photo = cv2.GaussianBlur(noise(1200, 1600), (0, 0), 5)
    data = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    pipeline = Pipeline([Letterbox(size=64)])
    out = pipeline(data, DRAW, "photo")
    # The very pixels that decoding at 1/8 of the resolution gives.
    eighth = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_8)
    assert eighth.shape == (150, 200, 3)
    np.testing.assert_array_equal(out[8:56], cv2.resize(eighth, (64, 48))[..., ::-1])
    expected = cv2.resize(photo[..., ::-1], (64, 48), interpolation=cv2.INTER_AREA)
    assert np.abs(out[8:56].astype(int) - expected).mean() < 3
    assert (out[:8] == (124, 116, 104)).all()


def test_keys_that_lists_of_transforms_make_idle_are_named(tmp_path):
    folder, _ = make_tiny_dataset(tmp_path / "photos", classes=2, per_class=8)
    crop, flip = (
        ComponentConfig(name="RandomResizedCrop", size=40),
        ComponentConfig(name="RandomFlip"),
    )
    middle = ComponentConfig(name="CenterCrop", size=40)
    data = DataSection(
        train=str(folder), image_size=64, train_transforms=(crop, flip), eval_transforms=(middle,)
    )
    plan = make_plan(
        Config(data=data.replace(resize_mode="letterbox", interpolation="area")), "cpu"
    )
    given = (
        "shapes nothing in training and evaluation: data.train_transforms and "
        "data.eval_transforms are given"
    )
    assert f"data.resize_mode letterbox {given}" in plan.notes
    assert f"data.interpolation area {given}" in plan.notes
    assert not [note for note in plan.notes if "bars" in note]
    assert (
        "data.image_size 64x64 is of no use beside lists of transforms: they give 40x40 in "
        "evaluation" in plan.notes
    )
    assert plan.config.data.image_size == (40, 40)
    one = make_plan(Config(data=data.replace(resize_mode="letterbox", eval_transforms=None)), "cpu")
    said = "data.resize_mode letterbox shapes nothing in training: data.train_transforms is given"
    assert [note for note in one.notes if "shapes nothing" in note] == [said]
    short = make_plan(Config(data=data.replace(resize_short=50)), "cpu")
    assert "data.resize_short 50 shapes nothing: data.eval_transforms is given" in short.notes
    # Without image_size the lists say the size, and not the photos.
    assert make_plan(Config(data=data.replace(image_size=None)), "cpu").config.data.image_size == (
        40,
        40,
    )
