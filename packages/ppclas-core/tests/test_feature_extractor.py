"""A model as a backbone."""

from __future__ import annotations

import copy

import numpy as np
import paddle
import pytest
from ppclas_core.contracts.feature_extractor import FeatureExtractor
from ppclas_core.errors import ConfigError
from ppclas_core.models import create_model
from ppclas_core.testing.tiny_net import TinyNet, TinyNetConfig

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
