"""Of the convolutional families since 2022: what a re-parameterised network gives, the images that
each refuses, and answers compared with timm's models of the same random weights.
"""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from networks import build, images
from ppclas_core.errors import ShapeError


def count(name: str, **params: object) -> int:
    with paddle.LazyGuard():
        model = build(name, **params)
    return sum(parameter.size for _, parameter in model.trainable())


# Branches that become one convolution


@pytest.mark.parametrize("name", ["MobileOne_s0", "MobileOne_s4", "FastViT_sa12"])
def test_a_fused_network_gives_the_same_logits(name):
    model = build(name, num_classes=10)
    rng = np.random.default_rng(0)
    for key, tensor in model.state_dict().items():
        if key.rsplit(".", 1)[-1] in ("_mean", "_variance", "gamma") or ".bn." in key:
            tensor.set_value(rng.uniform(0.5, 1.5, tensor.shape).astype("float32"))
    model.eval()
    batch = images(2, 3, 64, 64)
    before, parameters = model(batch).numpy(), sum(p.size for _, p in model.trainable())
    model.fuse()
    after = model(batch).numpy()
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * np.abs(before).max())
    left = set(model.state_dict())
    assert not any("conv_kxk" in key or "identity" in key for key in left)
    assert sum(p.size for _, p in model.trainable()) < parameters
    model.fuse()  # nothing is left to fuse
    assert set(model.state_dict()) == left


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        # The paper counts the networks that run.
        ("MobileOne_s0", 2.1),
        ("MobileOne_s1", 4.8),
        ("MobileOne_s2", 7.8),
        ("MobileOne_s3", 10.1),
        ("MobileOne_s4", 14.8),
    ],
)
def test_fused_parameter_counts_are_the_papers(name, millions):
    model = build(name)
    model.fuse()
    found = sum(parameter.size for _, parameter in model.trainable())
    assert found / 1e6 == pytest.approx(millions, abs=0.06)


# Images that do not fit, and training


def test_inception_v3_says_that_an_image_is_too_small():
    with pytest.raises(ShapeError, match=r"InceptionV3 needs .* at least 75x75 pixels; got 74x200"):
        build("InceptionV3").forward_features(images(1, 3, 74, 200))


def test_dsnet_says_that_an_image_is_too_small():
    with pytest.raises(ShapeError, match=r"DSNet needs .* at least 64x64 pixels; got 48x64"):
        build("DSNet_tiny").forward_features(images(1, 3, 48, 64))


def test_dinov2_of_another_size_has_as_many_positions():
    model = build("DINOv2_vit_small_patch14_reg4", image_size=56, num_classes=0, depth=1)
    assert list(model.pos_embed.shape) == [1, 1 + 4 * 4, 384]
    assert list(model.forward_features(images(2, 3, 56, 56)).shape) == [2, 1 + 4 + 16, 384]
    assert list(model.forward_features(images(2, 3, 70, 43)).shape) == [2, 1 + 4 + 15, 384]
    with pytest.raises(ShapeError, match=r"DINOv2 needs .* at least 14x14 pixels; got 13x70"):
        model(images(1, 3, 13, 70))


def test_branches_drop_samples_while_training_only():
    model = build("ConvNeXtV2_atto", num_classes=10, drop_path_rate=0.9)
    batch = images(2, 3, 64, 64)
    paddle.seed(0)
    model.train()
    assert np.abs(model(batch).numpy() - model(batch).numpy()).max() > 0
    model.eval()
    np.testing.assert_array_equal(model(batch).numpy(), model(batch).numpy())
