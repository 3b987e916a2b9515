"""InceptionV3: inception modules of factorised convolutions.

Paper: "Rethinking the Inception Architecture for Computer Vision", Szegedy et al. 2015,
https://arxiv.org/abs/1512.00567. The channels are those of the authors' code: the paper's table 1
gives few of them.
"""

from __future__ import annotations

from functools import partial

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812
from ppclas_core.contracts.model_config import ModelConfig
from ppclas_core.contracts.variants import Variants

from ppclas_models.layers import inception
from ppclas_models.layers.conv_norm import PLAIN
from ppclas_models.layers.inception import Branch, Conv, InceptionModel, reducing

models = Variants()

conv_relu = partial(inception.conv_relu, keys=PLAIN)


def module_a(pooled: int) -> tuple[Branch, ...]:
    """Figure 5, but for the one 5x5; ``pooled`` channels after the pool."""
    return (
        Branch((Conv("branch1x1", 64),)),
        Branch((Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, 5))),
        Branch(
            (
                Conv("branch3x3dbl_1", 64),
                Conv("branch3x3dbl_2", 96, 3),
                Conv("branch3x3dbl_3", 96, 3),
            )
        ),
        Branch(pooled=True, path=(Conv("branch_pool_conv", pooled),)),
    )


def module_c(width: int) -> tuple[Branch, ...]:
    """Figure 6 with n = 7; ``width`` channels between the convolutions of a branch."""
    return (
        Branch((Conv("branch1x1", 192),)),
        Branch(
            (
                Conv("branch7x7_1", width),
                Conv("branch7x7_2", width, (1, 7)),
                Conv("branch7x7_3", 192, (7, 1)),
            )
        ),
        Branch(
            (
                Conv("branch7x7dbl_1", width),
                Conv("branch7x7dbl_2", width, (7, 1)),
                Conv("branch7x7dbl_3", width, (1, 7)),
                Conv("branch7x7dbl_4", width, (7, 1)),
                Conv("branch7x7dbl_5", 192, (1, 7)),
            )
        ),
        Branch(pooled=True, path=(Conv("branch_pool_conv", 192),)),
    )


MODULE_B = (
    Branch((reducing("branch3x3", 384),)),
    Branch(
        (
            Conv("branch3x3dbl_1", 64),
            Conv("branch3x3dbl_2", 96, 3),
            reducing("branch3x3dbl_3", 96),
        )
    ),
    Branch(pooled=True),
)
"""Figure 10."""

MODULE_D = (
    Branch((Conv("branch3x3_1", 192), reducing("branch3x3_2", 320))),
    Branch(
        (
            Conv("branch7x7x3_1", 192),
            Conv("branch7x7x3_2", 192, (1, 7)),
            Conv("branch7x7x3_3", 192, (7, 1)),
            reducing("branch7x7x3_4", 192),
        )
    ),
    Branch(pooled=True),
)
"""Figure 10 again, the second branch with a 7x7, factorised."""

MODULE_E = (
    Branch((Conv("branch1x1", 320),)),
    Branch(
        path=(Conv("branch3x3_1", 384),),
        fork=(Conv("branch3x3_2a", 384, (1, 3)), Conv("branch3x3_2b", 384, (3, 1))),
    ),
    Branch(
        path=(Conv("branch3x3dbl_1", 448), Conv("branch3x3dbl_2", 384, 3)),
        fork=(Conv("branch3x3dbl_3a", 384, (1, 3)), Conv("branch3x3dbl_3b", 384, (3, 1))),
    ),
    Branch(pooled=True, path=(Conv("branch_pool_conv", 192),)),
)
"""Figure 7."""

MODULES = (
    ("A", module_a(32)),
    ("A", module_a(64)),
    ("A", module_a(64)),
    ("C", MODULE_B),
    ("C", module_c(128)),
    ("C", module_c(160)),
    ("C", module_c(160)),
    ("C", module_c(192)),
    ("E", MODULE_D),
    ("E", MODULE_E),
    ("E", MODULE_E),
)
"""From the stem to the pool, with the letter of their stage."""


class InceptionV3Config(ModelConfig):
    """InceptionV3, which has no options of its own."""


class Stem(nn.Layer):
    """[N, in_channels, H, W] → [N, 192, h, w], h and w about an eighth, since most layers do not
    pad.
    """

    out_channels = 192

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.conv_1a_3x3 = conv_relu(in_channels, 32, 3, 2, 0)
        self.conv_2a_3x3 = conv_relu(32, 32, 3, 1, 0)
        self.conv_2b_3x3 = conv_relu(32, 64, 3)
        self.conv_3b_1x1 = conv_relu(64, 80)
        self.conv_4a_3x3 = conv_relu(80, 192, 3, 1, 0)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv_2b_3x3(self.conv_2a_3x3(self.conv_1a_3x3(images)))
        x = self.conv_4a_3x3(self.conv_3b_1x1(F.max_pool2d(x, 3, 2)))
        return F.max_pool2d(x, 3, 2)


@models.register(InceptionV3=InceptionV3Config())
class InceptionV3(InceptionModel):
    """Stem and eleven modules, two of which shrink the map. Images [N, in_channels, H, W] →
    logits [N, num_classes].

    The stage of a module that shrinks is that of the modules after it. There is no auxiliary
    classifier.

    Raises:
        ShapeError: H or W is below 75 pixels: so many layers without padding would leave nothing.
    """

    keys = PLAIN

    def __init__(self, config: InceptionV3Config) -> None:
        super().__init__(config)
        self.append("stem", "inception_stem", Stem(config.in_channels), Stem.out_channels, 8)
        for index, (letter, branches) in enumerate(MODULES):
            shrinks = branches in (MODULE_B, MODULE_D)
            # The zeros around the map count for the mean, unlike in InceptionV4.
            mean = nn.AvgPool2D(3, 1, padding=1, exclusive=False)
            self.append_module(
                f"inception{letter}",
                f"inception_block_list.{index}",
                branches,
                nn.MaxPool2D(3, 2) if shrinks else mean,
                2 if shrinks else 1,
            )
        # Scales by 0.8 in evaluation rather than by 1.25 in training.
        self.close(self.out_channels, nn.Dropout(0.2, mode="downscale_in_infer"))
