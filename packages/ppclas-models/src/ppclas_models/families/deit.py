"""DeiT: ViTs that learn from ImageNet alone, with a token of their own for a teacher's labels.

Paper: "Training Data-Efficient Image Transformers & Distillation Through Attention", Touvron et al.
2020, https://arxiv.org/abs/2012.12877
"""

from __future__ import annotations

from functools import partial

from paddle import Tensor
from ppclas_core.contracts.variants import Variants

from ppclas_models.layers.mlp import linear
from ppclas_models.layers.vision_transformer import VisionTransformer, VisionTransformerConfig

models = Variants()


# The paper's table 1; 0.1 is its table 9's stochastic depth.
Tiny = partial(VisionTransformerConfig, embed_dim=192, depth=12, num_heads=3, drop_path_rate=0.1)
Small = partial(VisionTransformerConfig, embed_dim=384, depth=12, num_heads=6, drop_path_rate=0.1)
Base = partial(VisionTransformerConfig, embed_dim=768, depth=12, num_heads=12, drop_path_rate=0.1)


@models.register(
    DeiT_tiny_patch16_224=Tiny(),
    DeiT_small_patch16_224=Small(),
    DeiT_base_patch16_224=Base(),
    DeiT_base_patch16_384=Base(image_size=384),
)
class DeiT(VisionTransformer):
    """Images [N, in_channels, H, W] → logits [N, num_classes].

    Raises:
        ShapeError: an image is smaller than a patch.
    """


@models.register(
    DeiT_tiny_distilled_patch16_224=Tiny(),
    DeiT_small_distilled_patch16_224=Small(),
    DeiT_base_distilled_patch16_224=Base(),
    DeiT_base_distilled_patch16_384=Base(image_size=384),
)
class DistilledDeiT(VisionTransformer):
    """Images [N, in_channels, H, W] → logits [N, num_classes].

    A second token and classifier are for what a teacher says. In training the model gives the
    logits of both, first those for the true labels; in evaluation their mean (section 4).

    Raises:
        ShapeError: an image is smaller than a patch.
    """

    head = ("head", "head_dist")
    image_tokens = ("cls_token", "dist_token")

    def __init__(self, config: VisionTransformerConfig) -> None:
        super().__init__(config)
        if config.num_classes:
            self.head_dist = linear(config.embed_dim, config.num_classes)

    def forward_head(
        self, features: Tensor, pre_logits: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits [N, num_classes]; in training mode two of them. Without a classifier the mean of
        the two tokens, [N, embed_dim].
        """
        if pre_logits or not self.config.num_classes:
            return features[:, :2].mean(axis=1)
        logits = self.classify(features[:, 0])
        teacher_logits = self.head_dist(features[:, 1])
        return (logits, teacher_logits) if self.training else (logits + teacher_logits) / 2
