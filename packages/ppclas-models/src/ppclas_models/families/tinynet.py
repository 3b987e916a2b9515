"""TinyNet: EfficientNet shrunk, with resolution and depth kept at the cost of width.

Paper: "Model Rubik's Cube: Twisting Resolution, Depth and Width for TinyNets", Han et al. 2020,
https://arxiv.org/abs/2010.14819

By default the blocks of a stage are rounded up, as in EfficientNet and in what PaddleClas' classes
build by themselves. The paper's networks, and the weights that PaddleClas published, have the
nearest number, and their batch norms add 1e-5: ``nearest_depth=true`` and ``norm_epsilon=1e-5``,
which is how a model with the published weights is built (``weights_params`` in the catalogue).
"""

from __future__ import annotations

from ppclas_core.contracts.variants import Variants

from ppclas_models.families.efficientnet import EfficientNet, EfficientNetConfig

models = Variants()


def _config(width: float, depth: float, drop_path_rate: float = 0.0) -> EfficientNetConfig:
    return EfficientNetConfig(
        width=width,
        depth=depth,
        padded_for=None,
        scaled_ends=False,
        drop_path_rate=drop_path_rate,
    )


# The paper's table 3: the resolutions are 192, 188, 184, 152 and 106 pixels.
@models.register(
    TinyNet_A=_config(1.0, 1.2, 0.1),
    TinyNet_B=_config(0.75, 1.1, 0.1),
    TinyNet_C=_config(0.54, 0.85),
    TinyNet_D=_config(0.54, 0.695),
    TinyNet_E=_config(0.51, 0.6),
)
class TinyNet(EfficientNet):
    """Seven stages of inverted residuals. Images [N, in_channels, H, W] → logits [N,
    num_classes].
    """
