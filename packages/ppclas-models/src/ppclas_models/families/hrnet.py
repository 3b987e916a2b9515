"""HRNet: maps of four resolutions side by side, which exchange what they see again and again.

Paper: "Deep High-Resolution Representation Learning for Visual Recognition", Wang et al. 2019,
https://arxiv.org/abs/1908.07919; the classifier's head is that of its appendix.
"""

from __future__ import annotations

from itertools import pairwise

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.image_model import Feature, ImageModel
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveInt

from ppclas_models.layers.conv_norm import PLAIN, ConvNorm
from ppclas_models.layers.pool import global_average_pool
from ppclas_models.layers.residual import Residual, basic, bottleneck

models = Variants()

STEM_CHANNELS = 64
MODULES = (1, 4, 3)
"""Exchanges in stages 2, 3 and 4, which have two, three and four resolutions."""
BLOCKS = 4
"""Residual blocks between two exchanges."""
HEAD_CHANNELS = (128, 256, 512, 1024)
"""Of the four resolutions, fine to coarse, before the head adds them up."""
LAST_CHANNELS = 2048


class HRNetConfig(ModelConfig):
    """An HRNet."""

    width: PositiveInt
    """Channels of the finest resolution; each coarser one has twice as many."""


def basic_block(channels: int) -> Residual:
    """[N, channels, H, W] → the same shape."""
    return Residual(basic(channels, channels, 1, ("conv1", "conv2"), PLAIN), nn.Identity())


def bottleneck_block(in_channels: int, out_channels: int, *, projection: bool) -> Residual:
    """[N, in_channels, H, W] → [N, out_channels, H, W]."""
    short = ConvNorm(in_channels, out_channels, 1) if projection else nn.Identity()
    branch = bottleneck(
        in_channels, out_channels // 4, out_channels, 1, ("conv1", "conv2", "conv3"), PLAIN
    )
    return Residual(branch, short, "conv_down")


def conv_relu(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> ConvNorm:
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]."""
    return ConvNorm(in_channels, out_channels, kernel_size, stride, act=nn.ReLU())


def enlarge(x: Tensor, factor: int) -> Tensor:
    """[N, C, H, W] → [N, C, H * factor, W * factor]: each pixel repeated (nearest neighbour)."""
    return F.interpolate(x, scale_factor=factor, mode="nearest")


class Exchange(nn.Layer):
    """Maps [N, C_i, H_i, W_i], fine to coarse → the same shapes, each the rectified sum of what all
    of them say to it.

    A finer map comes in through a 3x3 convolution of stride 2 an octave, a coarser one through a
    1x1 and enlarged.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        convs: list[ConvNorm] = []
        # (target, source) → positions in ``convs`` of the way from one to the other.
        self._ways: dict[tuple[int, int], range] = {}
        for target, out_channels in enumerate(channels):
            for source, in_channels in enumerate(channels):
                start = len(convs)
                if source > target:
                    convs.append(ConvNorm(in_channels, out_channels, 1))
                elif source < target:
                    convs.extend(
                        conv_relu(in_channels, in_channels, 3, 2)
                        for _ in range(target - source - 1)
                    )
                    convs.append(ConvNorm(in_channels, out_channels, 3, 2))
                self._ways[target, source] = range(start, len(convs))
        self.residual_func_list = nn.LayerList(convs)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return [self._fused(maps, target) for target in range(len(maps))]

    def _fused(self, maps: list[Tensor], target: int) -> Tensor:
        total = maps[target]
        height, width = total.shape[2:]
        for source, x in enumerate(maps):
            if source == target:
                continue
            for position in self._ways[target, source]:
                x = self.residual_func_list[position](x)
            if source > target:
                # Halving rounds odd heights and widths up: what comes back can be too large.
                x = enlarge(x, 2 ** (source - target))[:, :, :height, :width]
            total = total + x
        return F.relu(total)


class Module(nn.Layer):
    """Maps of several resolutions → the same shapes: residual blocks on each, then an exchange
    between them.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.basic_block_list = nn.LayerList(
            nn.Sequential(*(basic_block(width) for _ in range(BLOCKS))) for width in channels
        )
        self.fuse_func = Exchange(channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return self.fuse_func(
            [blocks(maps[octave]) for octave, blocks in enumerate(self.basic_block_list)]
        )


def modules(channels: tuple[int, ...], count: int) -> nn.Sequential:
    """One module after another."""
    return nn.Sequential(
        *((f"stage_func_list.{index}", Module(channels)) for index in range(count))
    )


@models.register(
    HRNet_W18_C=HRNetConfig(width=18),
    HRNet_W30_C=HRNetConfig(width=30),
    HRNet_W32_C=HRNetConfig(width=32),
    HRNet_W40_C=HRNetConfig(width=40),
    HRNet_W44_C=HRNetConfig(width=44),
    HRNet_W48_C=HRNetConfig(width=48),
    HRNet_W64_C=HRNetConfig(width=64),
)
class HRNet(ImageModel):
    """Images [N, in_channels, H, W] → logits [N, num_classes].

    Stages 1 to 4 are the paper's; ``neck`` widens the four maps and adds them up from fine to
    coarse.
    """

    config: HRNetConfig

    def __init__(self, config: HRNetConfig) -> None:
        super().__init__(config)
        channels = tuple(config.width * 2**octave for octave in range(4))
        self.conv_layer1_1 = conv_relu(config.in_channels, STEM_CHANNELS, 3, 2)
        self.conv_layer1_2 = conv_relu(STEM_CHANNELS, STEM_CHANNELS, 3, 2)
        wide = 4 * STEM_CHANNELS
        self.layer1 = nn.Sequential(
            bottleneck_block(STEM_CHANNELS, wide, projection=True),
            *(bottleneck_block(wide, wide, projection=False) for _ in range(BLOCKS - 1)),
        )
        self.conv_tr1_1 = conv_relu(wide, channels[0], 3)
        self.conv_tr1_2 = conv_relu(wide, channels[1], 3, 2)
        self.st2 = modules(channels[:2], MODULES[0])
        self.conv_tr2 = conv_relu(channels[1], channels[2], 3, 2)
        self.st3 = modules(channels[:3], MODULES[1])
        self.conv_tr3 = conv_relu(channels[2], channels[3], 3, 2)
        self.st4 = modules(channels, MODULES[2])
        widened = zip(channels, HEAD_CHANNELS, strict=True)
        blocks = (bottleneck_block(narrow, wide, projection=True) for narrow, wide in widened)
        self.last_cls = nn.LayerDict({"func_list": nn.LayerList(blocks)})
        self.cls_head_conv_list = nn.LayerList(
            conv_relu(fine, coarse, 3, 2) for fine, coarse in pairwise(HEAD_CHANNELS)
        )
        self.conv_last = conv_relu(HEAD_CHANNELS[-1], LAST_CHANNELS, 1)
        if config.num_classes:
            self.fc = nn.Linear(LAST_CHANNELS, config.num_classes)

    def forward_features(self, images: Tensor) -> Tensor:
        """[N, 2048, ⌈H / 32⌉, ⌈W / 32⌉]."""
        x = self.layer1(self.conv_layer1_2(self.conv_layer1_1(images)))
        maps = self.st2([self.conv_tr1_1(x), self.conv_tr1_2(x)])
        maps = self.st3([*maps, self.conv_tr2(maps[-1])])
        maps = self.st4([*maps, self.conv_tr3(maps[-1])])
        wide = [widen(maps[octave]) for octave, widen in enumerate(self.last_cls["func_list"])]
        total = wide[0]
        for octave, shrink in enumerate(self.cls_head_conv_list, 1):
            total = wide[octave] + shrink(total)
        return self.conv_last(total)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        pooled = global_average_pool(features)
        return pooled if pre_logits or not self.config.num_classes else self.fc(pooled)

    def feature_info(self) -> list[Feature]:
        return [
            Feature("conv_layer1_1", STEM_CHANNELS, 2),
            *(
                Feature(f"last_cls.func_list.{octave}", HEAD_CHANNELS[octave], 4 * 2**octave)
                for octave in range(3)
            ),
            Feature("conv_last", LAST_CHANNELS, 32),
        ]

    def stages(self) -> dict[str, tuple[str, ...]]:
        return {
            "stem": ("conv_layer1_1", "conv_layer1_2"),
            "stage1": ("layer1",),
            "stage2": ("conv_tr1_1", "conv_tr1_2", "st2"),
            "stage3": ("conv_tr2", "st3"),
            "stage4": ("conv_tr3", "st4"),
            "neck": ("last_cls", "cls_head_conv_list", "conv_last"),
            "head": self.head,
        }
