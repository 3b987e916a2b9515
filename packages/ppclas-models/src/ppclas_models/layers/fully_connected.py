"""The end of the networks before global pooling: a map of fixed size, flattened, and two wide
hidden layers.
"""

from __future__ import annotations

from typing import ClassVar

from paddle import Tensor, nn
from paddle.nn import functional as F  # noqa: N812

from ppclas_models.layers.chain import ChainModel

HIDDEN_FEATURES = 4096


class FullyConnectedModel(ChainModel):
    """A chain of layers, then two hidden layers of 4096 features and the classifier, dropout before
    two of the three.

    Images [N, in_channels, H, W] → logits [N, num_classes]. The hidden layers read a map of
    ``grid`` x ``grid``, which is what the published size gives; at other sizes the map is averaged
    to it. The stage ``head`` holds them as well.
    """

    grid: ClassVar[int]
    """Height and width of the map that the first hidden layer reads."""
    hidden: ClassVar[tuple[str, str]]
    """Names of the hidden layers."""
    dropped: ClassVar[tuple[str, str]]
    """Names of the layers whose input is dropped: of ``hidden`` or the classifier."""

    def close_fully_connected(self) -> None:
        """Add the hidden layers and the classifier."""
        in_features = self.out_channels * self.grid**2
        for name in self.hidden:
            self.add_sublayer(f"{name}_dropout", self._dropout_before(name))
            self.add_sublayer(name, nn.Linear(in_features, HIDDEN_FEATURES))
            in_features = HIDDEN_FEATURES
        self.close(HIDDEN_FEATURES, self._dropout_before(self.head[0]))

    def _dropout_before(self, name: str) -> nn.Layer:
        # Halves the features in evaluation rather than doubling them in training.
        return nn.Dropout(0.5, mode="downscale_in_infer") if name in self.dropped else nn.Identity()

    def pool(self, features: Tensor) -> Tensor:
        """[N, C, h, w] → [N, HIDDEN_FEATURES]."""
        x = F.adaptive_avg_pool2d(features, self.grid).flatten(1)
        for name in self.hidden:
            x = F.relu(getattr(self, name)(getattr(self, f"{name}_dropout")(x)))
        return x

    def stages(self) -> dict[str, tuple[str, ...]]:
        return {**super().stages(), "head": (*self.hidden, *self.head)}
