"""Published weights answer with the preprocessing that they were published with."""

import pytest
from ppclas_core.errors import BundleError
from ppclas_core.models import create_model
from ppclas_core.weights import model_state, save_state
from ppclas_engine.bundles import bundle_from_weights

pytest.importorskip("paddle")


@pytest.mark.parametrize(
    ("name", "mean", "std", "size"),
    [
        # docs/zh_CN/models/ImageNet1k of PaddleClas: VAN's and MobileNetV2's evaluation configs.
        ("VAN_B0", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 224),
        ("MobileViTV2_x0_5", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 256),
        ("MobileNetV2_x0_25", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224),
    ],
)
def test_mean_and_std_are_those_of_the_weights(name, mean, std, size, tmp_path):
    file = tmp_path / "weights.safetensors"
    save_state(file, model_state(create_model(name)))
    preprocessing = bundle_from_weights(name, file).manifest.preprocessing
    assert preprocessing.normalize.mean == pytest.approx(mean)
    assert preprocessing.normalize.std == pytest.approx(std)
    assert preprocessing.image_size == (size, size)


def test_weights_for_images_with_blue_first_are_refused(tmp_path):
    file = tmp_path / "weights.safetensors"
    save_state(file, model_state(create_model("MobileViT_XXS")))
    with pytest.raises(BundleError, match="MobileViT_XXS take images with blue first"):
        bundle_from_weights("MobileViT_XXS", file)


def test_the_published_file_of_tinynet_needs_no_parameters(tmp_path):
    # PaddleClas' config of it has depth_trunc: round and batch_norm_epsilon: 1e-5.
    file = tmp_path / "weights.safetensors"
    published = {"nearest_depth": True, "norm_epsilon": 1e-5}
    save_state(file, model_state(create_model("TinyNet_E", **published)))
    model = bundle_from_weights("TinyNet_E", file).build_model()
    assert model.config.nearest_depth
    assert model.config.norm_epsilon == pytest.approx(1e-5)
