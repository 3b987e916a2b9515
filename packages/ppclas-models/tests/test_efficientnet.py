"""What is particular to EfficientNet: where its windows stand, and the branches that training
drops.
"""

from __future__ import annotations

import math

import numpy as np
import paddle
import pytest
from ppclas_models.families.efficientnet import MBConv, Stage
from ppclas_models.layers.conv import same_padding


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "before"),
    [
        # TensorFlow pads max((⌈size / stride⌉ - 1) * stride + kernel_size - size, 0), half of it
        # first, rounded down.
        (224, 3, 2, 0),
        (65, 3, 2, 1),
        (56, 5, 2, 1),
        (33, 5, 2, 2),
        (14, 5, 1, 2),
    ],
)
def test_windows_stand_where_tensorflows_do(size, kernel_size, stride, before):
    top, bottom, left, right = same_padding(size, kernel_size, stride)
    assert (top, left) == (before, before)
    assert bottom == right
    for side in (size, 31, 32, 33, 34):
        assert (side + top + bottom - kernel_size) // stride + 1 == math.ceil(side / stride)


def test_training_drops_the_branch_of_some_images_and_scales_the_others():
    paddle.seed(0)
    block = MBConv(8, 8, Stage(6, 3, 1, 8, 1), 1, None, squeeze_excite=True, drop_rate=0.25)
    images = paddle.randn([400, 8, 4, 4])
    block.eval()
    branch = (block(images) - images).numpy()
    block.train()
    for layer in block.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            layer.eval()
    trained = (block(images) - images).numpy()
    kept = np.abs(trained).max(axis=(1, 2, 3)) > 0
    # 400 draws with a chance of 0.75: the standard deviation of the mean is 0.022.
    assert kept.mean() == pytest.approx(0.75, abs=0.08)
    np.testing.assert_allclose(trained[kept], branch[kept] / 0.75, rtol=0, atol=1e-4)
