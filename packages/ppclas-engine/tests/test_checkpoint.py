"""Checkpoints: exact, verified, never lost."""

from __future__ import annotations

import contextlib
import sys

import numpy as np
import pytest
from ppclas_core.errors import CheckpointError
from ppclas_engine.runs.checkpoint import (
    load_checkpoint,
    optimizer_arrays,
    previous_of,
    restore_optimizer,
    save_checkpoint,
)

ARRAYS = {
    "model/a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "optimizer/velocity/a": np.ones(3, np.float32),
}


def test_what_is_saved_comes_back(tmp_path):
    path = tmp_path / "checkpoints" / "last.safetensors"
    save_checkpoint(path, ARRAYS, {"epoch": 3, "loss": 0.1 + 0.2})
    checkpoint = load_checkpoint(path)
    assert checkpoint.state == {"epoch": 3, "loss": 0.1 + 0.2}
    np.testing.assert_array_equal(checkpoint.part("model")["a"], ARRAYS["model/a"])
    assert list(checkpoint.part("optimizer")) == ["velocity/a"]


def test_the_previous_checkpoint_is_kept(tmp_path):
    path = tmp_path / "last.safetensors"
    for epoch in (1, 2, 3):
        save_checkpoint(path, ARRAYS, {"epoch": epoch})
    assert load_checkpoint(path).state["epoch"] == 3
    assert load_checkpoint(previous_of(path)).state["epoch"] == 2
    assert {file.name for file in tmp_path.iterdir()} == {
        "last.safetensors",
        "previous.safetensors",
    }


@pytest.mark.parametrize("damage", ["truncated", "zeroed", "one bit", "empty", "text"])
def test_damage_is_noticed(tmp_path, damage):
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, ARRAYS, {"epoch": 1})
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[:-5]
    elif damage == "zeroed":
        content = bytearray(len(content))
    elif damage == "one bit":
        content[-2] ^= 1
    elif damage == "empty":
        content = bytearray()
    else:
        content = bytearray(b"not a checkpoint")
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"The checkpoint .*last.safetensors is damaged"):
        load_checkpoint(path)


@contextlib.contextmanager
def largest_file(size):
    """The system refuses to write more than ``size`` bytes into one file, as a full disk would."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_destroys_nothing(tmp_path):
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, ARRAYS, {"epoch": 1})
    more = {"model/a": np.zeros(1 << 20, np.float32)}
    with (
        largest_file(1 << 20),
        pytest.raises(CheckpointError, match=r"File too large.*Earlier checkpoints are untouched"),
    ):
        save_checkpoint(path, more, {"epoch": 2})
    assert load_checkpoint(path).state["epoch"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.safetensors"]


def test_optimizer_state_survives_another_numbering_of_the_layers():
    """Paddle numbers parameters by creation: an earlier layer shifts every name (issue 37968)."""
    import paddle
    from paddle import nn
    from ppclas_core.contracts.image_model import ImageModel
    from ppclas_core.contracts.model_config import ModelConfig

    class Net(ImageModel):
        def __init__(self) -> None:
            super().__init__(ModelConfig(num_classes=2))
            self.fc = nn.Linear(3, 2)

        def forward(self, images):
            return self.fc(images)

    def optimizer_of(model):
        return paddle.optimizer.AdamW(learning_rate=0.1, parameters=model.parameters())

    def steps(model, optimizer, count):
        for i in range(count):
            model(paddle.full([4, 3], i + 1.0)).square().mean().backward()
            optimizer.step()
            optimizer.clear_grad()
        return model.fc.weight.numpy()

    paddle.seed(0)
    first = Net()
    first_optimizer = optimizer_of(first)
    steps(first, first_optimizer, 2)
    arrays = optimizer_arrays(dict(first.named_parameters()), first_optimizer)
    weights = {key: value.numpy().copy() for key, value in first.state_dict().items()}
    assert {key.split("/")[1] for key in arrays} == {"fc.weight", "fc.bias"}

    nn.Linear(5, 5)  # shifts the numbers of everything built after it
    second = Net()
    second.set_state_dict(weights)
    second_optimizer = optimizer_of(second)
    restore_optimizer(
        dict(second.named_parameters()),
        second_optimizer,
        {key: value.copy() for key, value in arrays.items()},
    )
    np.testing.assert_array_equal(
        steps(second, second_optimizer, 3), steps(first, first_optimizer, 3)
    )

    with pytest.raises(CheckpointError, match="does not fit this optimizer"):
        restore_optimizer(
            dict(second.named_parameters()),
            paddle.optimizer.SGD(parameters=second.parameters()),
            arrays,
        )
