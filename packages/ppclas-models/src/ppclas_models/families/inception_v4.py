"""InceptionV4: three kinds of inception modules, with reductions of the map between them.

Paper: "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning", Szegedy
    et al. 2016,
https://arxiv.org/abs/1602.07261. Figure numbers are those of the paper's first version.
"""

from __future__ import annotations

from functools import partial

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants

from ppclas_models.layers import inception
from ppclas_models.layers.conv_norm import UNDERSCORED
from ppclas_models.layers.inception import Branch, Conv, InceptionModel, reducing

models = Variants()

conv_relu = partial(inception.conv_relu, keys=UNDERSCORED)

INCEPTION_A = (
    Branch(pooled=True, path=(Conv("_conv1", 96),)),
    Branch((Conv("_conv2", 96),)),
    Branch((Conv("_conv3_1", 64), Conv("_conv3_2", 96, 3))),
    Branch((Conv("_conv4_1", 64), Conv("_conv4_2", 96, 3), Conv("_conv4_3", 96, 3))),
)
"""Figure 4."""

REDUCTION_A = (
    Branch(pooled=True),
    Branch((reducing("_conv2", 384),)),
    Branch((Conv("_conv3_1", 192), Conv("_conv3_2", 224, 3), reducing("_conv3_3", 256))),
)
"""Figure 7."""

INCEPTION_B = (
    Branch(pooled=True, path=(Conv("_conv1", 128),)),
    Branch((Conv("_conv2", 384),)),
    Branch((Conv("_conv3_1", 192), Conv("_conv3_2", 224, (1, 7)), Conv("_conv3_3", 256, (7, 1)))),
    Branch(
        (
            Conv("_conv4_1", 192),
            Conv("_conv4_2", 192, (1, 7)),
            Conv("_conv4_3", 224, (7, 1)),
            Conv("_conv4_4", 224, (1, 7)),
            Conv("_conv4_5", 256, (7, 1)),
        )
    ),
)
"""Figure 5."""

REDUCTION_B = (
    Branch(pooled=True),
    Branch((Conv("_conv2_1", 192), reducing("_conv2_2", 192))),
    Branch(
        (
            Conv("_conv3_1", 256),
            Conv("_conv3_2", 256, (1, 7)),
            Conv("_conv3_3", 320, (7, 1)),
            reducing("_conv3_4", 320),
        )
    ),
)
"""Figure 8."""

INCEPTION_C = (
    Branch(pooled=True, path=(Conv("_conv1", 256),)),
    Branch((Conv("_conv2", 256),)),
    Branch(
        path=(Conv("_conv3_0", 384),),
        fork=(Conv("_conv3_1", 256, (1, 3)), Conv("_conv3_2", 256, (3, 1))),
    ),
    Branch(
        path=(
            Conv("_conv4_0", 384),
            Conv("_conv4_00", 448, (1, 3)),
            Conv("_conv4_000", 512, (3, 1)),
        ),
        fork=(Conv("_conv4_1", 256, (1, 3)), Conv("_conv4_2", 256, (3, 1))),
    ),
)
"""Figure 6."""


class InceptionV4Config(ModelConfig):
    """InceptionV4, which has no options of its own."""


class Stem(nn.Layer):
    """Figure 3: [N, in_channels, H, W] → [N, 384, h, w], h and w about an eighth, since most layers
    do not pad.
    """

    out_channels = 384

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self._conv_1 = conv_relu(in_channels, 32, 3, 2, 0)
        self._conv_2 = conv_relu(32, 32, 3, 1, 0)
        self._conv_3 = conv_relu(32, 64, 3)
        self._conv2 = conv_relu(64, 96, 3, 2, 0)
        self._conv1_1 = conv_relu(160, 64)
        self._conv1_2 = conv_relu(64, 96, 3, 1, 0)
        self._conv2_1 = conv_relu(160, 64)
        self._conv2_2 = conv_relu(64, 64, (7, 1))
        self._conv2_3 = conv_relu(64, 64, (1, 7))
        self._conv2_4 = conv_relu(64, 96, 3, 1, 0)
        self._conv3 = conv_relu(192, 192, 3, 2, 0)

    def forward(self, images: Tensor) -> Tensor:
        x = self._conv_3(self._conv_2(self._conv_1(images)))
        x = paddle.concat([F.max_pool2d(x, 3, 2), self._conv2(x)], axis=1)
        long = self._conv2_4(self._conv2_3(self._conv2_2(self._conv2_1(x))))
        x = paddle.concat([self._conv1_2(self._conv1_1(x)), long], axis=1)
        return paddle.concat([self._conv3(x), F.max_pool2d(x, 3, 2)], axis=1)


@models.register(InceptionV4=InceptionV4Config())
class InceptionV4(InceptionModel):
    """Stem, 4 modules A, 7 B and 3 C with reductions between. Images [N, in_channels, H, W] →
    logits [N, num_classes].

    Raises:
        ShapeError: H or W is below 75 pixels: so many layers without padding would leave nothing.
    """

    head = ("out",)
    keys = UNDERSCORED

    def __init__(self, config: InceptionV4Config) -> None:
        super().__init__(config)
        self.append("stem", "_inception_stem", Stem(config.in_channels), Stem.out_channels, 8)
        self._append_modules("A", INCEPTION_A, 4)
        self._append("B", "_reductionA", REDUCTION_A, 2)
        self._append_modules("B", INCEPTION_B, 7)
        self._append("C", "_reductionB", REDUCTION_B, 2)
        self._append_modules("C", INCEPTION_C, 3)
        # Scales by 0.8 in evaluation rather than by 1.25 in training.
        self.close(self.out_channels, nn.Dropout(0.2, mode="downscale_in_infer"))

    def _append_modules(self, stage: str, branches: tuple[Branch, ...], count: int) -> None:
        for number in range(1, count + 1):
            self._append(stage, f"_inception{stage}_{number}", branches)

    def _append(self, stage: str, name: str, branches: tuple[Branch, ...], stride: int = 1) -> None:
        pool = nn.MaxPool2D(3, 2) if stride == 2 else nn.AvgPool2D(3, 1, padding=1)
        self.append_module(f"inception{stage}", name, branches, pool, stride)
