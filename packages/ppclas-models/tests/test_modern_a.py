"""PP-LCNetV2 and RepVGG once their branches are one convolution, and RegNet's widths."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from networks import build
from ppclas_models.families.regnet import models as regnets
from ppclas_models.families.repvgg import RepVGGBlock


def draw_statistics(model: paddle.nn.Layer) -> None:
    """Statistics, scales and offsets as after a training, not those of fresh norms."""
    rng = np.random.default_rng(0)
    for layer in model.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            size = layer.weight.shape
            layer.weight.set_value(rng.uniform(0.5, 1.5, size).astype("float32"))
            layer.bias.set_value(rng.normal(0, 0.2, size).astype("float32"))
            layer._mean.set_value(rng.normal(0, 0.2, size).astype("float32"))
            layer._variance.set_value(rng.uniform(0.5, 1.5, size).astype("float32"))


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("RepVGG_A0", 8.31),  # the paper's table 4
        ("PPLCNetV2_small", None),
        pytest.param("RepVGG_B1g4", 36.13, marks=pytest.mark.slow),
    ],
)
def test_fused_branches_give_the_same_logits(name, millions):
    model = build(name)
    draw_statistics(model)
    model.eval()
    images = paddle.to_tensor(
        np.random.default_rng(1).standard_normal((2, 3, 64, 64)).astype("float32")
    )
    with paddle.no_grad():
        before = model(images).numpy()
        parameters = sum(parameter.size for _, parameter in model.trainable())
        model.fuse()
        after = model(images).numpy()
    assert model.out_channels  # still the model, with its stages
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * np.abs(before).max())
    count = sum(parameter.size for _, parameter in model.trainable())
    assert count < parameters
    if millions is not None:
        assert count / 1e6 == pytest.approx(millions, abs=0.005)
    norms = [key for key in model.state_dict() if ".rbr_" in key and ".bn." in key]
    assert norms == []
    state = set(model.state_dict())
    model.fuse()  # a second time changes nothing
    assert set(model.state_dict()) == state
    np.testing.assert_array_equal(model(images).numpy(), after)


def test_fusing_keeps_double_precision():
    model = build("RepVGG_A0", num_classes=10)
    draw_statistics(model)
    model.to(dtype="float64")
    model.eval()
    images = paddle.to_tensor(np.random.default_rng(1).standard_normal((1, 3, 64, 64)))
    before = model(images).numpy()
    model.fuse()
    after = model(images)
    assert after.dtype == paddle.float64
    np.testing.assert_allclose(after.numpy(), before, rtol=0, atol=1e-11 * np.abs(before).max())


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("out_channels", "stride"), [(16, 1), (16, 2), (32, 2)])
def test_a_gated_block_fuses(groups, out_channels, stride):
    block = RepVGGBlock(16, out_channels, stride, groups, squeeze_excite=True)
    draw_statistics(block)
    block.eval()
    images = paddle.to_tensor(
        np.random.default_rng(1).standard_normal((2, 16, 9, 9)).astype("float32")
    )
    before = block(images).numpy()
    block.fuse()
    assert set(block.state_dict()) == {
        *(f"se.{name}.{kind}" for name in ("down", "up") for kind in ("weight", "bias")),
        *("rbr_reparam.weight", "rbr_reparam.bias"),
    }
    np.testing.assert_allclose(block(images).numpy(), before, rtol=0, atol=1e-5)


def test_fused_kernels_of_pp_lcnet_v2_take_no_gradients_before():
    model = build("PPLCNetV2_small", num_classes=5)
    frozen = {name for name, parameter in model.named_parameters() if parameter.stop_gradient}
    kernels = {name for name in frozen if not name.endswith(("_mean", "_variance"))}
    assert len(kernels) == 2 * 6  # the depthwise convolutions of six blocks
    assert all(name.rsplit(".", 2)[1] == "dw_conv" for name in kernels)
    model.fuse()
    assert not kernels & {
        name for name, parameter in model.named_parameters() if parameter.stop_gradient
    }


@pytest.mark.parametrize(
    ("name", "widths", "depths"),
    [  # the paper's figure 16
        ("RegNetX_400MF", [32, 64, 160, 384], [1, 2, 7, 12]),
        ("RegNetX_1600MF", [72, 168, 408, 912], [2, 4, 10, 2]),
        ("RegNetX_8GF", [80, 240, 720, 1920], [2, 5, 15, 1]),
        ("RegNetX_32GF", [336, 672, 1344, 2520], [2, 7, 13, 1]),
    ],
)
def test_regnets_line_gives_the_papers_widths(name, widths, depths):
    assert regnets[name].config.stage_sizes() == list(zip(widths, depths, strict=True))
