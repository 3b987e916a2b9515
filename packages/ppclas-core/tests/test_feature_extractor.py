"""A model as a backbone, and what a model costs."""

from __future__ import annotations

import copy

import numpy as np
import paddle
import pytest
from ppclas_core.contracts.feature_extractor import FeatureExtractor
from ppclas_core.errors import ConfigError, ShapeError
from ppclas_core.models import create_model
from ppclas_core.testing.tiny_net import TinyNet, TinyNetConfig
from ppclas_engine.profile import profile_model

IMAGES = paddle.to_tensor(
    np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype("float32")
)


@pytest.fixture
def net() -> TinyNet:
    model = TinyNet(TinyNetConfig(num_classes=5))
    model.eval()
    return model


def test_the_maps_are_those_that_feature_info_names(net):
    backbone = FeatureExtractor(net)
    backbone.eval()
    maps = backbone(IMAGES)
    assert [feature.layer for feature in backbone.info] == [
        feature.layer for feature in net.feature_info()
    ]
    for feature, found in zip(backbone.info, maps, strict=True):
        assert list(found.shape[:2]) == [2, feature.channels]
    assert np.array_equal(maps[-1].numpy(), net.forward_features(IMAGES).numpy())


def test_a_copy_is_on_its_own(net):
    backbone = FeatureExtractor(net, [-1])
    backbone.eval()
    before = backbone(IMAGES)[0].numpy()
    other = copy.deepcopy(backbone)
    for parameter in other.parameters():
        parameter.set_value(paddle.zeros_like(parameter))
    assert np.abs(other(IMAGES)[0].numpy()).max() == 0
    assert np.array_equal(backbone(IMAGES)[0].numpy(), before)


def test_traced_it_gives_the_same(net):
    backbone = FeatureExtractor(net)
    backbone.eval()
    with paddle.no_grad():
        expected = backbone(IMAGES)
        traced = paddle.jit.to_static(backbone, full_graph=True)(IMAGES)
    for a, b in zip(expected, traced, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("indices", [[], [5], [-6], [1, 0], [0, 0]])
def test_indices_that_pick_nothing_are_refused(net, indices):
    with pytest.raises(
        ConfigError, match=r"out_indices=.*expected increasing numbers from 0 to \d+ .*of strides"
    ):
        FeatureExtractor(net, indices)


def test_out_indices_alone_are_a_mistake():
    with pytest.raises(ConfigError, match="give features_only=True"):
        create_model("any", out_indices=[0])


def test_layer_decay_leaves_the_head_and_halves_towards_the_input(net):
    factors = net.layer_decay(0.5)
    assert list(factors) == list(net.stages())
    assert list(factors.values()) == [0.5**n for n in reversed(range(len(factors)))]


class Counted(TinyNet):
    """Convolution 3→4, 3x3, stride 2, bias; its output pooled; fully connected 4→5."""

    def __init__(self) -> None:
        super(TinyNet, self).__init__(TinyNetConfig(num_classes=5))
        self.conv = paddle.nn.Conv2D(3, 4, 3, 2, padding=1)
        self.norm = paddle.nn.BatchNorm2D(4)
        self.fc = paddle.nn.Linear(4, 5)

    def forward(self, images):
        return self.fc(self.norm(self.conv(images)).mean([2, 3]))


def test_costs_are_those_of_a_hand_calculation():
    model = Counted()
    cost = profile_model(model, (8, 6))
    assert model.training
    assert (cost.layers[0].macs, cost.layers[1].macs) == (4 * 3 * 4 * 27, 5 * 4)
    assert cost.layers[0].output == (4, 4, 3)
    assert cost.macs == 4 * 3 * 4 * 27 + 20
    assert (cost.layers[0].params, cost.layers[1].params) == (4 * 27 + 4, 4 * 5 + 5)
    assert cost.params == 112 + 8 + 25
    assert cost.values == cost.params + 8
    profile_model(model, 8)
    assert profile_model(model, 8).image_size == (8, 8)


def test_a_size_that_does_not_fit_is_said():
    class Fixed(Counted):
        def forward(self, images):
            return self.fc(images.flatten(1))

    with pytest.raises(ShapeError, match="does not take images of 8x8"):
        profile_model(Fixed(), 8)
