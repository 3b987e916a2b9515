"""Models with another number of input channels: their weights, and the photos that they get."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from ppclas_core.config.schema import ComponentConfig, DataSection, NormalizeConfig
from ppclas_core.errors import ConfigError, WeightsError
from ppclas_core.testing.tiny_net import TinyNet, TinyNetConfig
from ppclas_core.weights import model_state, save_state
from ppclas_data.loading.channels import fit_channels
from ppclas_engine.loop.channels import load_fitting

GREY = ComponentConfig(name="Grayscale")
RESIZE = ComponentConfig(name="Resize", size=(8, 8))


def net(**params):
    model = TinyNet(TinyNetConfig(num_classes=5, **params))
    model.eval()
    return model


@pytest.fixture
def published(tmp_path):
    """A model of three channels and its file."""
    paddle.seed(0)
    model = net()
    save_state(tmp_path / "w.safetensors", model_state(model))
    return model, tmp_path / "w.safetensors"


def images(channels):
    return paddle.to_tensor(
        np.random.default_rng(0).standard_normal((2, channels, 32, 32)).astype(np.float32)
    )


def test_one_channel_gives_what_three_equal_ones_do(published):
    model, file = published
    grey = net(in_channels=1)
    report, said = load_fitting(grey, file)
    assert report.head_loaded
    assert said.endswith("summed from 3 to 1 channel")
    image = images(1)
    expected = model(paddle.concat([image] * 3, axis=1)).numpy()
    np.testing.assert_allclose(grey(image).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_six_channels_of_a_picture_twice_give_what_it_gives_once(published):
    model, file = published
    wide = net(in_channels=6)
    assert load_fitting(wide, file)[1].endswith("repeated from 3 to 6 channels")
    image = images(3)
    both = wide(paddle.concat([image, image], axis=1)).numpy()
    np.testing.assert_allclose(both, model(image).numpy(), rtol=1e-4, atol=1e-5)


def test_three_channels_are_loaded_as_they_are(published):
    _, file = published
    same = net()
    assert load_fitting(same, file)[1].endswith("tensors loaded")
    for key, array in model_state(published[0]).items():
        assert np.array_equal(array, model_state(same)[key])


def test_other_shapes_are_refused_as_ever(published):
    with pytest.raises(WeightsError, match=r"w.safetensors: .* have another shape"):
        load_fitting(net(width=12, in_channels=1), published[1])


def test_photos_become_grey_for_one_channel():
    lists = {"train_transforms": (RESIZE,), "eval_transforms": (RESIZE,)}
    notes: list[str] = []
    data = fit_channels(DataSection(**lists), DataSection(), 1, notes)
    assert data.train_transforms == data.eval_transforms == (RESIZE, GREY)
    assert data.normalize.mean == pytest.approx([np.mean([0.485, 0.456, 0.406])])
    assert notes == ["the model takes one channel: photos become grey (Grayscale)"]
    # What a run's own config says stays.
    assert fit_channels(data, data, 1, notes) == data
    assert fit_channels(DataSection(**lists), DataSection(**lists), None, []) == DataSection(
        **lists
    )


@pytest.mark.parametrize("channels", [1, 4])
def test_lists_that_give_another_number_of_channels_are_refused(channels):
    data = DataSection(train_transforms=(RESIZE,), eval_transforms=(RESIZE,))
    with pytest.raises(
        ConfigError,
        match=rf"model.params.in_channels is {channels}, data.train_transforms give 3 channel",
    ):
        fit_channels(data, data, channels, [])


def test_a_mean_for_each_channel_is_asked_for():
    lists = {"train_transforms": (RESIZE, GREY), "eval_transforms": (RESIZE, GREY)}
    data = DataSection(**lists)
    with pytest.raises(ConfigError, match=r"data.normalize has 3 value\(s\)"):
        fit_channels(data, data, 1, [])
    data = DataSection(**lists, normalize=NormalizeConfig(mean=(0.5,), std=(0.2,)))
    assert fit_channels(data, data, 1, []) == data
