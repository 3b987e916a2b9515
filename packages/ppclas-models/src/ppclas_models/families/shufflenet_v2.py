"""ShuffleNetV2: halves of the channels take turns.

Paper: "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", Ma et al. 2018,
https://arxiv.org/abs/1807.11164
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import paddle
from paddle import Tensor, nn
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.channels import interleave
from ppclas_models.layers.conv_norm import UNDERSCORED, ConvNorm

models = Variants()

STEM_CHANNELS = 24
DEPTHS = (4, 8, 4)
"""Units in stages 2 to 4: table 5 of the paper."""

Conv = partial(ConvNorm, keys=UNDERSCORED)


class ShuffleNetV2Config(ModelConfig):
    """A ShuffleNetV2."""

    stage_channels: tuple[PositiveInt, PositiveInt, PositiveInt]
    """Output channels of stages 2 to 4, even."""
    last_channels: PositiveInt = 1024
    """Output channels of the last convolution."""
    act: Literal["relu", "swish"] = "relu"


def _act(name: Literal["relu", "swish"]) -> nn.Layer:
    return nn.ReLU() if name == "relu" else nn.Swish()


class Unit(nn.Layer):
    """[N, channels, H, W] → the same shape: one half of the channels passes, the other is convolved
    (figure 3c).
    """

    def __init__(self, channels: int, act: Literal["relu", "swish"]) -> None:
        super().__init__()
        half = channels // 2
        self._conv_pw = Conv(half, half, 1, act=_act(act))
        self._conv_dw = Conv(half, half, 3, groups=half)
        self._conv_linear = Conv(half, half, 1, act=_act(act))

    def forward(self, x: Tensor) -> Tensor:
        left, right = paddle.split(x, 2, axis=1)
        return interleave(left, self._conv_linear(self._conv_dw(self._conv_pw(right))))


class DownUnit(nn.Layer):
    """[N, in_channels, H, W] → [N, out_channels, H / 2, W / 2]: both branches see all channels
    (figure 3d).
    """

    def __init__(self, in_channels: int, out_channels: int, act: Literal["relu", "swish"]) -> None:
        super().__init__()
        half = out_channels // 2
        self._conv_dw_1 = Conv(in_channels, in_channels, 3, 2, groups=in_channels)
        self._conv_linear_1 = Conv(in_channels, half, 1, act=_act(act))
        self._conv_pw_2 = Conv(in_channels, half, 1, act=_act(act))
        self._conv_dw_2 = Conv(half, half, 3, 2, groups=half)
        self._conv_linear_2 = Conv(half, half, 1, act=_act(act))

    def forward(self, x: Tensor) -> Tensor:
        left = self._conv_linear_1(self._conv_dw_1(x))
        return interleave(left, self._conv_linear_2(self._conv_dw_2(self._conv_pw_2(x))))


@models.register(
    ShuffleNetV2_x0_25=ShuffleNetV2Config(stage_channels=(24, 48, 96), last_channels=512),
    ShuffleNetV2_x0_33=ShuffleNetV2Config(stage_channels=(32, 64, 128), last_channels=512),
    ShuffleNetV2_x0_5=ShuffleNetV2Config(stage_channels=(48, 96, 192)),
    ShuffleNetV2=ShuffleNetV2Config(stage_channels=(116, 232, 464)),
    # The same under the name of later releases.
    ShuffleNetV2_x1_0=ShuffleNetV2Config(stage_channels=(116, 232, 464)),
    ShuffleNetV2_x1_5=ShuffleNetV2Config(stage_channels=(176, 352, 704)),
    # 224, not the paper's 244: so are the published weights.
    ShuffleNetV2_x2_0=ShuffleNetV2Config(stage_channels=(224, 488, 976), last_channels=2048),
    ShuffleNetV2_swish=ShuffleNetV2Config(stage_channels=(116, 232, 464), act="swish"),
)
class ShuffleNetV2(ChainModel):
    """Three stages of shuffle units. Images [N, in_channels, H, W] → logits [N, num_classes]."""

    head = ("_fc",)

    def __init__(self, config: ShuffleNetV2Config) -> None:
        super().__init__(config)
        stem = Conv(config.in_channels, STEM_CHANNELS, 3, 2, act=_act(config.act))
        self.append("stem", "_conv1", stem, STEM_CHANNELS, 2)
        self.append("stem", "max_pool", nn.MaxPool2D(3, 2, padding=1), STEM_CHANNELS, 2)
        for stage, (channels, depth) in enumerate(
            zip(config.stage_channels, DEPTHS, strict=True), start=2
        ):
            self.append(
                f"stage{stage}",
                f"{stage}_1",
                DownUnit(self.out_channels, channels, config.act),
                channels,
                2,
            )
            for position in range(2, depth + 1):
                self.append(
                    f"stage{stage}", f"{stage}_{position}", Unit(channels, config.act), channels
                )
        last = Conv(self.out_channels, config.last_channels, 1, act=_act(config.act))
        self.append("stage5", "_last_conv", last, config.last_channels)
        self.close(config.last_channels)
