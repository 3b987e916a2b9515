"""What a model costs."""

import paddle
import pytest
from ppclas_core.errors import ShapeError
from ppclas_core.testing.tiny_net import TinyNet, TinyNetConfig
from ppclas_engine.profile import profile_model


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
