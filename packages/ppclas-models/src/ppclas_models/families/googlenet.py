"""GoogLeNet: inception modules, and two auxiliary classifiers that help its lower layers to train.

Paper: "Going Deeper with Convolutions", Szegedy et al. 2015, https://arxiv.org/abs/1409.4842. In
    the published weights'
network only the output of a module passes through a ReLU, the convolutions have no bias, and the
pools do not pad.
"""

from __future__ import annotations

from typing import NamedTuple

import paddle
from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv import conv2d

models = Variants()

AUXILIARY_POOL = 5
"""Side of the average pool before an auxiliary classifier, positions; its stride is 3."""
AUXILIARY_CHANNELS = 128
AUXILIARY_FEATURES = 1024
AUXILIARY_GRID = 3
"""Height and width of the map that an auxiliary classifier reads: what images of 224 pixels
give."""


class Module(NamedTuple):
    """A row of the paper's table 1: output channels of each convolution."""

    name: str
    conv1: int
    conv3_reduced: int
    conv3: int
    conv5_reduced: int
    conv5: int
    pool_projection: int

    @property
    def out_channels(self) -> int:
        return self.conv1 + self.conv3 + self.conv5 + self.pool_projection


STAGES = (
    (Module("_ince3a", 64, 96, 128, 16, 32, 32), Module("_ince3b", 128, 128, 192, 32, 96, 64)),
    (
        Module("_ince4a", 192, 96, 208, 16, 48, 64),
        Module("_ince4b", 160, 112, 224, 24, 64, 64),
        Module("_ince4c", 128, 128, 256, 24, 64, 64),
        Module("_ince4d", 112, 144, 288, 32, 64, 64),
        Module("_ince4e", 256, 160, 320, 32, 128, 128),
    ),
    (
        Module("_ince5a", 256, 160, 320, 32, 128, 128),
        Module("_ince5b", 384, 192, 384, 48, 128, 128),
    ),
)
"""Modules a stage, from inception3 to inception5."""


class GoogLeNetConfig(ModelConfig):
    """GoogLeNet, which has no options of its own."""


class Conv(nn.Sequential):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]; a ReLU follows unless
    ``linear``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        linear: bool = False,
    ) -> None:
        super().__init__(
            ("_conv", conv2d(in_channels, out_channels, kernel_size, stride, linear=linear))
        )


class Inception(nn.Layer):
    """[N, in_channels, H, W] → [N, module.out_channels, H, W]: 1x1, 3x3, 5x5 and a max pool side by
    side.
    """

    def __init__(self, in_channels: int, module: Module) -> None:
        super().__init__()
        self._conv1 = Conv(in_channels, module.conv1, 1)
        self._conv3r = Conv(in_channels, module.conv3_reduced, 1, linear=True)
        self._conv3 = Conv(module.conv3_reduced, module.conv3, 3)
        self._conv5r = Conv(in_channels, module.conv5_reduced, 1, linear=True)
        self._conv5 = Conv(module.conv5_reduced, module.conv5, 5)
        self._convprj = Conv(in_channels, module.pool_projection, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [
            self._conv1(x),
            self._conv3(self._conv3r(x)),
            self._conv5(self._conv5r(x)),
            self._convprj(F.max_pool2d(x, 3, 1, padding=1)),
        ]
        return F.relu(paddle.concat(maps, axis=1))


class Auxiliary(NamedTuple):
    """Names of an auxiliary classifier's layers, and of the module that it reads."""

    module: str
    conv: str
    hidden: str
    classifier: str


AUXILIARIES = (
    Auxiliary("_ince4a", "_conv_o1", "_fc_o1", "_out1"),
    Auxiliary("_ince4d", "_conv_o2", "_fc_o2", "_out2"),
)


@models.register(GoogLeNet=GoogLeNetConfig())
class GoogLeNet(ChainModel):
    """Nine inception modules. Images [N, in_channels, H, W] → logits [N, num_classes].

    In train mode it returns three of them: the main classifier's, then those of the auxiliary ones,
    which read the modules 4a and 4d. The stage ``head`` holds all three classifiers. Without
    classes there are no auxiliary ones.
    """

    head = ("_fc_out", *(auxiliary.classifier for auxiliary in AUXILIARIES))

    def __init__(self, config: GoogLeNetConfig) -> None:
        super().__init__(config)
        self.append("stem", "_conv", Conv(config.in_channels, 64, 7, 2, linear=True), 64, 2)
        self.append("stem", "max_pool1", nn.MaxPool2D(3, 2), 64, 2)
        self.append("stem", "_conv_1", Conv(64, 64, 1, linear=True), 64)
        self.append("stem", "_conv_2", Conv(64, 192, 3, linear=True), 192)
        channels = {}
        for number, modules in enumerate(STAGES, start=3):
            self.append(
                f"inception{number}",
                f"max_pool{number - 1}",
                nn.MaxPool2D(3, 2),
                self.out_channels,
                2,
            )
            for module in modules:
                layer = Inception(self.out_channels, module)
                self.append(f"inception{number}", module.name, layer, module.out_channels)
                channels[module.name] = module.out_channels
        # Scales by 0.6 in evaluation rather than by 1 / 0.6 in training; the auxiliary ones alike.
        self.close(self.out_channels, nn.Dropout(0.4, mode="downscale_in_infer"))
        self.auxiliary_dropout = nn.Dropout(0.7, mode="downscale_in_infer")
        if config.num_classes:
            for auxiliary in AUXILIARIES:
                conv = Conv(channels[auxiliary.module], AUXILIARY_CHANNELS, 1, linear=True)
                hidden = nn.Linear(AUXILIARY_CHANNELS * AUXILIARY_GRID**2, AUXILIARY_FEATURES)
                self.add_sublayer(auxiliary.conv, conv)
                self.add_sublayer(auxiliary.hidden, hidden)
                self.add_sublayer(
                    auxiliary.classifier, nn.Linear(AUXILIARY_FEATURES, config.num_classes)
                )

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits [N, num_classes]; in train mode three of them, the main classifier's first."""
        if not self.training or not self.config.num_classes:
            return self.forward_head(self.forward_features(images))
        x, maps = images, {}
        for step in self._steps:
            x = maps[step.name] = getattr(self, step.name)(x)
        return self.forward_head(x), *(
            self._classify(maps[each.module], each) for each in AUXILIARIES
        )

    def _classify(self, features: Tensor, auxiliary: Auxiliary) -> Tensor:
        """[N, C, h, w] → an auxiliary classifier's logits [N, num_classes]."""
        # Images below 96 pixels give maps too small for the pool. Not while tracing: there the size
        # can be symbolic.
        too_small = paddle.in_dynamic_mode() and min(features.shape[2:]) < AUXILIARY_POOL
        x = features if too_small else F.avg_pool2d(features, AUXILIARY_POOL, 3)
        x = F.adaptive_avg_pool2d(getattr(self, auxiliary.conv)(x), AUXILIARY_GRID).flatten(1)
        x = F.relu(getattr(self, auxiliary.hidden)(x))
        return getattr(self, auxiliary.classifier)(self.auxiliary_dropout(x))

    def stages(self) -> dict[str, tuple[str, ...]]:
        layers = (name for auxiliary in AUXILIARIES for name in (auxiliary.conv, auxiliary.hidden))
        return {
            **super().stages(),
            "head": (*(layers if self.config.num_classes else ()), *self.head),
        }
