"""GPU numbers: those of ``CUDA_VISIBLE_DEVICES``, as NVIDIA documents that variable."""

import pytest
from ppclas_core.errors import ConfigError
from ppclas_engine.ranks.gpus import allotted_gpu


@pytest.mark.parametrize(
    ("visible", "number", "found"),
    [
        (None, "3", (3, "3")),
        ("all", "3", (3, "3")),
        ("4,5", "5", (1, "5")),
        ("5, 4", "4", (1, "4")),
        ("GPU-8932f937,MIG-b1ca4d63", "1", (1, "MIG-b1ca4d63")),
    ],
)
def test_a_gpu_by_its_number(visible, number, found):
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert allotted_gpu(number, environment) == found


@pytest.mark.parametrize("visible", ["4,5", "", "-1", "GPU-8932f937"])
def test_a_gpu_that_is_not_allotted_is_refused(visible):
    with pytest.raises(ConfigError, match="GPU 1 is not among those that this process may use"):
        allotted_gpu("1", {"CUDA_VISIBLE_DEVICES": visible})
