"""A bundle for images of another size."""

import pytest
from ppclas_core.config.schema import ComponentConfig
from ppclas_core.errors import ConfigError
from ppclas_data.loading.pipeline import bundle_pipeline
from ppclas_deploy.sizes import at_size


def test_crop_and_resize_change_in_proportion(bundle):
    changed = at_size(bundle, 96)  # from 48 x 64: half as large again by the longer side
    assert changed.image_size == (96, 96)
    assert [transform.model_dump() for transform in changed.manifest.preprocessing.transforms] == [
        {"name": "Resize", "short": 108},
        {"name": "CenterCrop", "size": (96, 96)},
    ]
    assert bundle_pipeline(changed).output_shape() == (96, 96, 3)
    assert changed.weights_file == bundle.weights_file


def test_its_own_size_changes_nothing(bundle):
    assert at_size(bundle, (48, 64)) is bundle


def test_transforms_that_do_not_follow_are_an_error(bundle):
    preprocessing = bundle.manifest.preprocessing.replace(
        transforms=(
            ComponentConfig(name="Resize", size=(50, 70)),
            ComponentConfig(name="CenterCrop", size=(48, 60)),
        )
    )
    odd = type(bundle)(
        bundle.folder, bundle.manifest.replace(preprocessing=preprocessing), bundle.weights_file
    )
    with pytest.raises(
        ConfigError, match=r"image_size 32x32: .*\(Resize, CenterCrop\) give 48x60 all the same"
    ):
        at_size(odd, 32)


@pytest.mark.parametrize(
    ("size", "short", "cropped"),
    [
        ((24, 32), 36, (24, 32)),  # half of 48 x 64
        ((96, 128), 144, (96, 128)),
        (32, 36, (32, 32)),  # the longer side halves
        ((48, 65), 73, (48, 65)),  # 72 * 65 / 64 = 73.1
        ((200, 64), 225, (200, 64)),  # 72 * 200 / 64
    ],
)
def test_the_resize_follows_the_longer_side(bundle, size, short, cropped):
    resize, crop = at_size(bundle, size).manifest.preprocessing.transforms
    assert resize.model_dump() == {"name": "Resize", "short": short}
    assert crop.model_dump() == {"name": "CenterCrop", "size": cropped}


def test_parameters_that_are_no_size_stay(bundle):
    preprocessing = bundle.manifest.preprocessing.replace(
        transforms=(ComponentConfig(name="Resize", size=(48, 64), interpolation="bicubic"),)
    )
    changed = type(bundle)(
        bundle.folder, bundle.manifest.replace(preprocessing=preprocessing), bundle.weights_file
    )
    (resize,) = at_size(changed, (30, 40)).manifest.preprocessing.transforms
    assert resize.model_dump() == {
        "name": "Resize",
        "size": (30, 40),
        "interpolation": "bicubic",
    }


def test_the_source_is_as_it_was(bundle):
    before = bundle.manifest
    at_size(bundle, 32)
    assert bundle.manifest == before
    assert bundle.image_size == (48, 64)
