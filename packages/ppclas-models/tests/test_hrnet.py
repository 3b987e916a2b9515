"""HRNet's exchange between resolutions, by hand."""

from __future__ import annotations

import numpy as np
import paddle
from ppclas_models.families.hrnet import Exchange, enlarge


def test_enlarging_repeats_pixels():
    x = np.arange(2 * 3 * 2 * 3, dtype="float32").reshape(2, 3, 2, 3)
    np.testing.assert_array_equal(
        enlarge(paddle.to_tensor(x), 4).numpy(), x.repeat(4, axis=2).repeat(4, axis=3)
    )


def test_exchange_takes_maps_of_odd_sides():
    """The coarse map, 3x2 for 5x3, is repeated to 6x4; its last row and column have no place in the
    fine one.
    """
    exchange = Exchange((1, 2))
    exchange.eval()
    from_coarse, from_fine = exchange.residual_func_list
    state = exchange.state_dict()
    rng = np.random.default_rng(0)
    # With fresh statistics the batch norm only divides by √(1 + 1e-5).
    weight = state["residual_func_list.0.conv.weight"].numpy().reshape(2)
    fine, coarse = rng.standard_normal((1, 1, 5, 3)), rng.standard_normal((1, 2, 3, 2))
    maps = [paddle.to_tensor(array.astype("float32")) for array in (fine, coarse)]
    finer, coarser = exchange(maps)
    said = np.einsum("c,nchw->nhw", weight, coarse)[:, None] / np.sqrt(1 + 1e-5)
    expected = np.maximum(fine + said.repeat(2, axis=2).repeat(2, axis=3)[:, :, :5, :3], 0)
    np.testing.assert_allclose(finer.numpy(), expected, rtol=0, atol=1e-5)
    assert list(coarser.shape) == [1, 2, 3, 2]
    assert from_coarse.conv.weight.shape == [1, 2, 1, 1]
    assert from_fine.conv.weight.shape == [2, 1, 3, 3]
