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
