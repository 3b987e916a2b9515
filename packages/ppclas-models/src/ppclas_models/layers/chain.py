"""The frame of models that are one layer after another, then a pool and a linear classifier: most
of the zoo.
"""

from __future__ import annotations

from dataclasses import dataclass

from paddle import Tensor, nn
from paddle.nn.initializer import Initializer
from ppclas_core.contracts.image_model import Feature, ImageModel
from ppclas_core.contracts.model_config import ModelConfig

from ppclas_models.layers.pool import global_average_pool


@dataclass(frozen=True)
class Step:
    """A layer of the chain."""

    name: str
    """Its name in the model: the beginning of its state-dict keys."""
    stage: str
    channels: int
    """Of its output."""
    stride: int
    """Input pixels per output pixel, along height and width."""


class PointClassifier(nn.Conv2D):
    """Features [N, C] → logits [N, num_classes]; the weights are a 1x1 convolution's, as some
    checkpoints have them.
    """

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__(in_features, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.unsqueeze([2, 3])).flatten(1)


class ChainModel(ImageModel):
    """Classify images [N, in_channels, H, W] (float32, normalised) as logits [N, num_classes].

    A family calls ``append`` for each layer, from the input to the last feature map, then
    ``close``. The first name in ``head`` is the classifier's.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self._steps: list[Step] = []
        self.dropout: nn.Layer = nn.Identity()

    @property
    def out_channels(self) -> int:
        """Channels after the last layer so far."""
        return self._steps[-1].channels if self._steps else self.config.in_channels

    @property
    def out_stride(self) -> int:
        """Input pixels per pixel after the last layer so far."""
        return self._steps[-1].stride if self._steps else 1

    def append(
        self, stage: str, name: str, layer: nn.Layer, out_channels: int, stride: int = 1
    ) -> None:
        """Add a layer that maps [N, self.out_channels, H, W] to [N, out_channels, H / stride, W /
        stride].
        """
        self.add_sublayer(name, layer)
        self._steps.append(Step(name, stage, out_channels, self.out_stride * stride))

    def close(
        self,
        in_features: int,
        dropout: nn.Layer | None = None,
        weight: Initializer | None = None,
        *,
        point: bool = False,
    ) -> None:
        """Add the classifier, whose weights ``weight`` draws, and what drops features before it;
        with ``point``, one that is a 1x1 convolution.
        """
        if dropout is not None:
            self.dropout = dropout
        if self.config.num_classes:
            classes = self.config.num_classes
            classifier = (
                PointClassifier(in_features, classes)
                if point
                else nn.Linear(in_features, classes, weight_attr=weight)
            )
            self.add_sublayer(self.head[0], classifier)

    def check_images(self, images: Tensor) -> None:
        """Refuse images that the network cannot take; here none."""

    def forward_features(self, images: Tensor) -> Tensor:
        self.check_images(images)
        x = images
        for step in self._steps:
            x = self._sub_layers[step.name](x)
        return x

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        pooled = self.pool(features)
        if pre_logits or not self.config.num_classes:
            return pooled
        # Not by ``getattr``: the classifier's name can be that of a class attribute, as "head" is.
        return self._sub_layers[self.head[0]](self.dropout(pooled))

    def pool(self, features: Tensor) -> Tensor:
        """[N, C, h, w] → what the classifier sees, [N, in_features]."""
        return global_average_pool(features)

    def feature_info(self) -> list[Feature]:
        deepest = {
            step.stride: Feature(step.name, step.channels, step.stride) for step in self._steps
        }
        return list(deepest.values())

    def stages(self) -> dict[str, tuple[str, ...]]:
        names: dict[str, tuple[str, ...]] = {}
        for step in self._steps:
            names[step.stage] = (*names.get(step.stage, ()), step.name)
        return {**names, "head": self.head}
