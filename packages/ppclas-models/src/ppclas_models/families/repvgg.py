"""RepVGG: a plain stack of 3x3 convolutions that trains as a network of three branches.

Paper: "RepVGG: Making VGG-style ConvNets Great Again", Ding et al. 2021,
https://arxiv.org/abs/2101.03697
"""

from __future__ import annotations

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.variants import Variants
from pydantic import PositiveFloat, PositiveInt

from ppclas_models.layers.conv import conv2d
from ppclas_models.layers.conv_norm import ConvNorm
from ppclas_models.layers.reparam import (
    Fusible,
    FusibleConfig,
    FusibleModel,
    fold,
    identity_kernel,
    set_sum,
)
from ppclas_models.layers.squeeze_excite import ConvSqueezeExcite, sigmoid

models = Variants()

STAGE_CHANNELS = (64, 128, 256, 512)
"""Of stages 1 to 4, at width 1."""
DEPTHS_A = (2, 4, 14, 1)
DEPTHS_B = (4, 6, 16, 1)
DEPTHS_D = (8, 14, 24, 1)


class RepVGGConfig(FusibleConfig):
    """A RepVGG."""

    depths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Layers in stages 1 to 4; stage 0 has one."""
    width: PositiveFloat
    """The paper's a: factor on the channels of all stages but the last."""
    last_width: PositiveFloat
    """The paper's b: factor on those of the last."""
    groups: PositiveInt = 1
    """Of the convolutions in every second layer; the others have one (section 3.4)."""
    squeeze_excite: bool = False


class RepVGGBlock(Fusible):
    """[N, in_channels, H, W] → [N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]: the rectified sum of
    a 3x3 convolution, a 1x1 and, where the shape stays, the input, each with a batch norm.

    ``fuse`` makes ``rbr_reparam`` of them.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, groups: int, squeeze_excite: bool
    ) -> None:
        super().__init__()
        self.groups = groups
        self.se = (
            ConvSqueezeExcite(out_channels, out_channels // 16, sigmoid, names=("down", "up"))
            if squeeze_excite
            else nn.Identity()
        )
        if in_channels == out_channels and stride == 1:
            self.rbr_identity = nn.BatchNorm2D(in_channels)
        self.rbr_dense = ConvNorm(in_channels, out_channels, 3, stride, groups)
        self.rbr_1x1 = ConvNorm(in_channels, out_channels, 1, stride, groups)

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "rbr_reparam"):
            y = self.rbr_reparam(x)
        else:
            y = self.rbr_dense(x) + self.rbr_1x1(x)
            if hasattr(self, "rbr_identity"):
                y = y + self.rbr_identity(x)
        return F.relu(self.se(y))

    def fuse(self) -> None:
        """Replace the branches by ``rbr_reparam``."""
        if hasattr(self, "rbr_reparam"):
            return
        dense = self.rbr_dense.conv
        branches = [fold(conv.conv.weight, conv.bn) for conv in (self.rbr_dense, self.rbr_1x1)]
        out_channels = dense.weight.shape[0]
        if hasattr(self, "rbr_identity"):
            kernel = identity_kernel(out_channels, self.groups, dense.weight.dtype)
            branches.append(fold(kernel, self.rbr_identity))
            del self.rbr_identity
        fused = conv2d(
            dense.weight.shape[1] * self.groups,
            out_channels,
            3,
            dense._stride[0],
            groups=self.groups,
            bias=True,
        )
        set_sum(fused.to(dtype=dense.weight.dtype), branches)
        del self.rbr_dense, self.rbr_1x1
        self.rbr_reparam = fused


def _config(
    depths: tuple[int, int, int, int], width: float, last_width: float, groups: int = 1
) -> RepVGGConfig:
    return RepVGGConfig(depths=depths, width=width, last_width=last_width, groups=groups)


@models.register(
    RepVGG_A0=_config(DEPTHS_A, 0.75, 2.5),
    RepVGG_A1=_config(DEPTHS_A, 1, 2.5),
    RepVGG_A2=_config(DEPTHS_A, 1.5, 2.75),
    RepVGG_B0=_config(DEPTHS_B, 1, 2.5),
    RepVGG_B1=_config(DEPTHS_B, 2, 4),
    RepVGG_B2=_config(DEPTHS_B, 2.5, 5),
    RepVGG_B1g2=_config(DEPTHS_B, 2, 4, groups=2),
    RepVGG_B1g4=_config(DEPTHS_B, 2, 4, groups=4),
    RepVGG_B2g4=_config(DEPTHS_B, 2.5, 5, groups=4),
    RepVGG_B3=_config(DEPTHS_B, 3, 5),
    RepVGG_B3g4=_config(DEPTHS_B, 3, 5, groups=4),
    RepVGG_D2se=RepVGGConfig(depths=DEPTHS_D, width=2.5, last_width=5, squeeze_excite=True),
)
class RepVGG(FusibleModel):
    """Five stages of 3x3 layers. Images [N, in_channels, H, W] → logits [N, num_classes]."""

    head = ("linear",)
    config: RepVGGConfig

    def __init__(self, config: RepVGGConfig) -> None:
        super().__init__(config)
        first = min(64, int(64 * config.width))
        stem = RepVGGBlock(config.in_channels, first, 2, 1, config.squeeze_excite)
        self.append("stage0", "stage0", stem, first, 2)
        widths = (config.width, config.width, config.width, config.last_width)
        index = 0
        for number, (width, depth) in enumerate(zip(widths, config.depths, strict=True)):
            channels = int(STAGE_CHANNELS[number] * width)
            for position in range(depth):
                index += 1
                stride = 2 if position == 0 else 1
                groups = config.groups if index % 2 == 0 else 1
                block = RepVGGBlock(
                    self.out_channels, channels, stride, groups, config.squeeze_excite
                )
                stage = f"stage{number + 1}"
                self.append(stage, f"{stage}.{position}", block, channels, stride)
        self.close(self.out_channels)
