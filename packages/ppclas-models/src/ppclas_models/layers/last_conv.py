"""The end of the mobile networks since MobileNetV3: global pooling first, then the last 1x1
convolution, on one pixel.

Paper: "Searching for MobileNetV3", Howard et al. 2019, https://arxiv.org/abs/1905.02244,
section 5.1.
"""

from __future__ import annotations

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812

from ppclas_models.layers.chain import ChainModel
from ppclas_models.layers.conv import conv2d


class LastConvModel(ChainModel):
    """A chain of layers, a global pool, ``last_conv`` with its activation, and the classifier.

    Images [N, in_channels, H, W] → logits [N, num_classes]. The stage ``head`` holds ``last_conv``
    as well. A family calls ``close_last_conv`` instead of ``close``; after ``close`` there is no
    ``last_conv``, and the classifier reads the pooled features.
    """

    def close_last_conv(
        self, features: int, act: nn.Layer, dropout: nn.Layer | None = None
    ) -> None:
        """Add ``last_conv``, which gives ``features`` channels, its activation, and the
        classifier.
        """
        self.last_conv = conv2d(self.out_channels, features, 1)
        self.last_act = act
        self.close(features, dropout)

    def pool(self, features: Tensor) -> Tensor:
        """[N, C, h, w] → [N, features]: the mean over all positions, then ``last_conv``."""
        pooled = F.adaptive_avg_pool2d(features, 1)
        if self._has_last_conv():
            pooled = self.last_act(self.last_conv(pooled))
        return pooled.flatten(1)

    def stages(self) -> dict[str, tuple[str, ...]]:
        before = ("last_conv",) if self._has_last_conv() else ()
        return {**super().stages(), "head": (*before, *self.head)}

    def _has_last_conv(self) -> bool:
        return hasattr(self, "last_conv")
