"""The heat map that an export gives beside its answer. Importing this module imports Paddle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.nn import functional
from ppclas_core.errors import ExportError
from ppclas_engine.loop.probe import linear_head

if TYPE_CHECKING:
    from ppclas_core.contracts.image_model import ImageModel

Kind = Literal["cam", "recipro-cam"]
_SMALLEST = 1e-12
_NEIGHBOURHOOD = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 16


class HeatNetwork(nn.Layer):
    """Images [N, C, H, W] → logits [N, classes] and heat maps [N, h, w] of the likeliest classes.

    A map is in 0..1, 1 at its strongest place, and as coarse as the features that the classifier
    sees. No gradients are needed. Where the classifier is the mean over places and one linear layer
    (``cam``), the map is ``relu(Σ_k W_kc A_k)``: Zhou et al. 2016, equation 2,
    https://arxiv.org/abs/1512.04150, which Grad-CAM comes to for such networks. Elsewhere
    (``recipro-cam``) it is the probability of the class where the classifier sees one place alone:
    Byun & Lee 2022, https://arxiv.org/abs/2209.14074.
    """

    def __init__(self, model: ImageModel, height: int, width: int) -> None:
        """``height`` and ``width`` of the images.

        Raises:
            ExportError: the model has no feature map [N, C, h, w].
        """
        super().__init__()
        model.eval()
        self.model = model
        probe = paddle.to_tensor(
            np.random.default_rng(0)
            .standard_normal((2, model.config.in_channels, height, width))
            .astype(np.float32)
        )
        with paddle.no_grad():
            features = model.forward_features(probe)
            if not isinstance(features, Tensor) or features.ndim != 4:
                raise ExportError(
                    f"{type(model).__name__} gives no feature map [N, C, h, w] to draw a heat map "
                    "from. Export it without --heatmap; 'ppclas explain --method occlusion' works "
                    "with every export."
                )
            self.height, self.width = (int(side) for side in features.shape[2:])
            head = linear_head(model)
            self.kind: Kind = "recipro-cam"
            if head is not None and _is_mean_and_linear(model, head, features):
                self.kind = "cam"
                self.register_buffer("class_weights", head.weight.t().detach())
            else:
                self.register_buffer(
                    "places", paddle.to_tensor(_place_masks(self.height, self.width))
                )
                self.register_buffer("classes", paddle.arange(model.config.num_classes))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.model.forward_features(images)
        logits = self.model.forward_head(features)
        chosen = logits.argmax(axis=1)
        if self.kind == "cam":
            weights = paddle.gather(self.class_weights, chosen)
            heat = paddle.matmul(weights.unsqueeze(1), features.flatten(2)).squeeze(1)
        else:
            heat = self._seen_alone(features, chosen)
        heat = functional.relu(heat)
        strongest = heat.max(axis=1, keepdim=True)
        heat = heat / paddle.maximum(strongest, paddle.full([1], _SMALLEST))
        return logits, heat.reshape([-1, self.height, self.width])

    def _seen_alone(self, features: Tensor, chosen: Tensor) -> Tensor:
        """[N, h · w]: the class's probability at each place, less the smallest one."""
        places, channels = self.height * self.width, features.shape[1]
        alone = features.unsqueeze(1) * self.places
        alone = alone.reshape([-1, channels, self.height, self.width])
        chances = functional.softmax(self.model.forward_head(alone), axis=1)
        chances = chances.reshape([-1, places, len(self.classes)])
        of_class = (self.classes.unsqueeze(0) == chosen.unsqueeze(1)).astype("float32")
        found = (chances * of_class.unsqueeze(1)).sum(axis=2)
        return found - found.min(axis=1, keepdim=True)


def _is_mean_and_linear(model: ImageModel, head: nn.Linear, features: Tensor) -> bool:
    pooled = features.mean(axis=[2, 3])
    if pooled.shape[1] != head.weight.shape[0]:
        return False
    own, short = model.forward_head(features).numpy(), head(pooled).numpy()
    return bool(np.allclose(own, short, rtol=1e-3, atol=1e-3 * float(np.abs(own).max())))


def _place_masks(height: int, width: int) -> np.ndarray:
    """[1, h · w, 1, h, w]: a Gaussian neighbourhood of each place."""
    padded = np.zeros((height * width, height + 2, width + 2), np.float32)
    for place in range(height * width):
        top, left = divmod(place, width)
        padded[place, top : top + 3, left : left + 3] = _NEIGHBOURHOOD
    return padded[None, :, None, 1:-1, 1:-1]
