"""The contract checks that ppclas offers for each kind of component, and one fact about each that
they cannot know.
"""

import numpy as np
import pytest
from ppclas_core import create_model
from ppclas_core.contracts.data import sample_draw
from ppclas_core.testing import check_model, check_scheduler, check_transform
from ppclas_demo.schedule import Sawtooth
from ppclas_demo.transform import Pixelate


@pytest.mark.parametrize("name", ["DemoNet_small", "DemoNet_large"])
def test_model(name):
    check_model(name)


def test_model_size():
    # Three 3x3 convolutions, a scale and an offset for each channel, and the classifier with its
    # bias.
    convolutions = 9 * (3 * 16 + 16 * 32 + 32 * 64)
    parameters = sum(
        parameter.size for _, parameter in create_model("DemoNet_small", num_classes=10).trainable()
    )
    assert parameters == convolutions + 2 * (16 + 32 + 64) + 64 * 10 + 10


def test_transform():
    check_transform(Pixelate())
    image = np.arange(15, dtype=np.uint8).reshape(3, 5, 1)
    pixelated = Pixelate(block=2, probability=1.0)(image, sample_draw(seed=0, epoch=0, index=0))
    assert pixelated[:, :, 0].tolist() == [[0, 0, 2, 2, 4], [0, 0, 2, 2, 4], [10, 10, 12, 12, 14]]


def test_schedule():
    check_scheduler(Sawtooth())
    schedule = Sawtooth(lr=0.1, period_epochs=1)
    assert [
        schedule.value(step, steps_per_epoch=2, epochs=2) for step in range(4)
    ] == pytest.approx([0.1, 0.055] * 2)
