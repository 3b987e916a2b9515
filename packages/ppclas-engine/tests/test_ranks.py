"""How ranks share batches and are described; batch norm over all of them (here: over one)."""

from __future__ import annotations

import numpy as np
import pytest
from ppclas_core.errors import ConfigError
from ppclas_data.loading.sampling import cut, epoch_order
from ppclas_engine.ranks.distributed import Ranks
from ppclas_engine.ranks.launch import Devices, Launch


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_every_sample_is_used_once_in_equal_steps(size):
    batches = cut(epoch_order(39, shuffle=True, seed=3, epoch=1), 8, drop_last=False)
    parts = [Ranks(rank, size).images_of(batches) for rank in range(size)]
    assert {len(part) for part in parts} == {len(batches)}
    for position, batch in enumerate(batches):
        shared = np.concatenate([part[position] for part in parts])
        np.testing.assert_array_equal(shared, batch)
        lengths = [len(part[position]) for part in parts]
        assert max(lengths) - min(lengths) <= 1
    evaluated = [
        i for rank in range(size) for batch in Ranks(rank, size).batches_of(batches) for i in batch
    ]
    assert sorted(evaluated) == list(range(39))


def test_devices_in_words():
    assert Devices.parse("0,1,3") == Devices("gpu", ("0", "1", "3"))
    assert Devices.parse("cpu:2") == Devices("cpu", ("0", "1"))
    for wrong in ("", "gpu", "cpu:0", "0,0", "0;1", "1-3"):
        with pytest.raises(ConfigError, match=r"0,1,2,3.*cpu:2"):
            Devices.parse(wrong)


def test_several_machines_need_an_address_and_a_number():
    devices = Devices.parse("0,1")
    assert Launch(devices, 2, 1, "10.0.0.1:4000").ranks == 4
    with pytest.raises(ConfigError, match="--master HOST:PORT"):
        Launch(devices, 2, 1)
    with pytest.raises(ConfigError, match="0 to 1; got 2"):
        Launch(devices, 2, 2, "10.0.0.1:4000")


def test_batch_norm_over_ranks_is_batch_norm():
    import paddle
    from paddle import nn
    from ppclas_engine.loop.sync_norm import synchronize_norms

    rng = np.random.default_rng(0)
    images = rng.normal(3.0, 2.0, (4, 5, 6, 7)).astype("float32")
    weight, target = (
        rng.normal(size=5).astype("float32"),
        rng.normal(size=images.shape).astype("float32"),
    )
    results = []
    for synchronized in (False, True):
        norm = nn.BatchNorm2D(5, momentum=0.7, epsilon=1e-3)
        norm.weight.set_value(weight)
        if synchronized:
            assert synchronize_norms(norm) == 1
        x = paddle.to_tensor(images, stop_gradient=False)
        (norm(x) * paddle.to_tensor(target)).sum().backward()
        tensors = (x.grad, norm.weight.grad, norm.bias.grad, norm._mean, norm._variance)
        norm.eval()
        results.append([norm(x).numpy(), *(tensor.numpy() for tensor in tensors)])
    for plain, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-4)
