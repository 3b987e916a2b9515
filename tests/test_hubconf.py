"""``hubconf.py`` through ``paddle.hub`` itself, as its users call it."""

from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def hub():
    return pytest.importorskip("paddle").hub


def test_every_model_is_listed_with_words(hub):
    from ppclas_core import list_models

    assert set(hub.list(str(ROOT), source="local")) == set(list_models())
    assert "class_dim: classes" in hub.help(str(ROOT), "ResNet50_vd", source="local")


def test_a_model_with_its_classes(hub):
    import paddle

    model = hub.load(str(ROOT), "MobileNetV3_small_x0_35", source="local", class_dim=7)
    model.eval()
    assert model(paddle.zeros([1, 3, 64, 64])).shape == [1, 7]


def test_weights_from_a_file(hub, tmp_path):
    from ppclas_core import create_model
    from ppclas_core.weights import model_state, save_state

    given = create_model("SqueezeNet1_1", num_classes=5)
    path = tmp_path / "mine.safetensors"
    save_state(path, model_state(given))
    model = hub.load(str(ROOT), "SqueezeNet1_1", source="local", pretrained=str(path), class_dim=5)
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), given.state_dict()[key].numpy())


def test_published_weights_that_come_with_the_package(hub):
    model = hub.load(str(ROOT), "SqueezeNet1_1", source="local", pretrained=True)
    (head,) = [value for key, value in model.state_dict().items() if value.shape[:1] == [1000]][:1]
    assert float(np.abs(head.numpy()).max()) > 0.1
