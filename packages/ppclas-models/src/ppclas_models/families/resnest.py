"""ResNeSt: a bottleneck whose 3x3 convolution has several splits, weighed against each other in
each channel.

Paper: "ResNeSt: Split-Attention Networks", Zhang et al. 2020, https://arxiv.org/abs/2004.08955
"""

from __future__ import annotations

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.conv_norm import UNDERSCORED, ConvNorm
from ppclas_models.layers.stochastic_depth import Rate

models = Variants()

STAGE_CHANNELS = (64, 128, 256, 512)
"""Of the 3x3 convolutions in stages 1 to 4; the blocks give four times as many."""
EXPANSION = 4


class ResNeStConfig(ModelConfig):
    """A ResNeSt."""

    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Blocks in each stage."""
    stem_width: PositiveInt = 32
    """Channels of the stem's first two convolutions; its last has twice as many."""
    radix: PositiveInt = 2
    """Splits; with one, its channels are gated."""
    pool_first: bool = False
    """Pool before the 3x3 convolution of a block that shrinks its map, not after it: the paper's
    ResNeSt-fast."""
    pool_zeros: bool = False
    """Whether those pools count the zeros around the map, as the paper's own weights have it; the
    published ones here do not."""
    dropout: Rate = 0.0
    """Share of the features before the classifier that training drops."""


class SplitAttention(nn.Layer):
    """[N, channels, H, W] → the same: the splits that a grouped 3x3 convolution makes, added up
    with weights that depend on their means (section 3.1).
    """

    def __init__(self, channels: int, radix: int) -> None:
        super().__init__()
        hidden = max(channels * radix // 4, 32)
        self.radix = radix
        self.conv1 = ConvNorm(
            channels, channels * radix, 3, groups=radix, act=nn.ReLU(), keys=UNDERSCORED
        )
        self.conv2 = ConvNorm(channels, hidden, 1, act=nn.ReLU(), keys=UNDERSCORED)
        self.conv3 = conv2d(hidden, channels * radix, 1, bias=True, linear=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        channels = x.shape[1] // self.radix
        height, width = x.shape[2:]
        splits = x.reshape([-1, self.radix, channels, height, width])
        scores = self.conv3(self.conv2(F.adaptive_avg_pool2d(splits.sum(1), 1)))
        scores = scores.reshape([-1, self.radix, channels, 1, 1])
        weights = F.sigmoid(scores) if self.radix == 1 else F.softmax(scores, axis=1)
        return (splits * weights).sum(1)


class Bottleneck(nn.Layer):
    """[N, in_channels, H, W] → [N, 4 * channels, ⌈H / stride⌉, ⌈W / stride⌉]; all strides are
    average pools.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, config: ResNeStConfig) -> None:
        super().__init__()
        out_channels = EXPANSION * channels
        pool = (
            nn.AvgPool2D(3, stride, padding=1, exclusive=not config.pool_zeros)
            if stride > 1
            else nn.Identity()
        )
        self.pool_before = pool if config.pool_first else nn.Identity()
        self.pool_after = nn.Identity() if config.pool_first else pool
        self.conv1 = ConvNorm(in_channels, channels, 1, act=nn.ReLU(), keys=UNDERSCORED)
        self.conv2 = SplitAttention(channels, config.radix)
        self.conv3 = ConvNorm(channels, out_channels, 1, keys=UNDERSCORED)
        self.projected = stride > 1 or in_channels != out_channels
        if self.projected:
            self.pool = (
                nn.AvgPool2D(stride, stride, ceil_mode=True) if stride > 1 else nn.Identity()
            )
            self.conv4 = conv2d(in_channels, out_channels, 1)
            self._batch_norm = nn.BatchNorm2D(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.pool_before(self.conv1(x))
        y = self.conv3(self.pool_after(self.conv2(y)))
        short = self._batch_norm(self.conv4(self.pool(x))) if self.projected else x
        return F.relu(y + short)


@models.register(
    ResNeSt50_fast_1s1x64d=ResNeStConfig(depths=(3, 4, 6, 3), radix=1, pool_first=True),
    ResNeSt50=ResNeStConfig(depths=(3, 4, 6, 3)),
    ResNeSt101=ResNeStConfig(depths=(3, 4, 23, 3), stem_width=64),
    ResNeSt200=ResNeStConfig(depths=(3, 24, 36, 3), stem_width=64, dropout=0.2),
    ResNeSt269=ResNeStConfig(depths=(3, 30, 48, 8), stem_width=64, dropout=0.2),
)
class ResNeSt(ChainModel):
    """Four stages of split-attention bottlenecks. Images [N, in_channels, H, W] → logits [N,
    num_classes].
    """

    head = ("out",)
    config: ResNeStConfig

    def __init__(self, config: ResNeStConfig) -> None:
        super().__init__(config)
        width = config.stem_width
        for index, (channels, stride) in enumerate(((width, 2), (width, 1), (2 * width, 1))):
            conv = ConvNorm(self.out_channels, channels, 3, stride, act=nn.ReLU(), keys=UNDERSCORED)
            self.append("stem", f"stem.conv{index + 1}", conv, channels, stride)
        self.append("stem", "max_pool", nn.MaxPool2D(3, 2, padding=1), self.out_channels, 2)
        for number, (channels, depth) in enumerate(
            zip(STAGE_CHANNELS, config.depths, strict=True), start=1
        ):
            for position in range(depth):
                stride = 2 if position == 0 and number > 1 else 1
                block = Bottleneck(self.out_channels, channels, stride, config)
                stage = f"layer{number}"
                name = f"{stage}.{stage}_bottleneck_{position}"
                self.append(stage, name, block, EXPANSION * channels, stride)
        self.close(self.out_channels, nn.Dropout(config.dropout))
