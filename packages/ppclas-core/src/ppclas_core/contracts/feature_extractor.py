"""A model as a backbone: its feature maps instead of logits. Importing this imports Paddle."""

from __future__ import annotations

from collections.abc import Sequence

from paddle import Tensor, nn

from ppclas_core.contracts.image_model import Feature, ImageModel
from ppclas_core.errors import ConfigError


class FeatureExtractor(nn.Layer):
    """Images [N, in_channels, H, W] → maps [N, channels, ~H / stride, ~W / stride], finest first.

    ``info`` has the layer, the channels and the stride of each map. ``model`` is the model itself:
    load weights into that (``load_weights(backbone.model, path)``). Parameters that come after the
    last map get no gradient.

    Raises:
        ConfigError: ``out_indices`` is empty, not increasing, or beyond the model's maps.
    """

    info: tuple[Feature, ...]

    def __init__(self, model: ImageModel, out_indices: Sequence[int] | None = None) -> None:
        super().__init__()
        self.model = model
        self.info = _chosen(model, out_indices)
        self._maps: dict[str, Tensor] = {}
        layers = dict(model.named_sublayers())
        for feature in self.info:
            layers[feature.layer].register_forward_post_hook(_Keep(self._maps, feature.layer))

    def forward(self, images: Tensor) -> list[Tensor]:
        self.model.forward_features(images)
        maps = [self._maps[feature.layer] for feature in self.info]
        self._maps.clear()  # or the last batch would stay in memory
        return maps


class _Keep:
    """A hook, and no closure: a deep copy puts outputs into ``maps`` of its own."""

    def __init__(self, maps: dict[str, Tensor], name: str) -> None:
        self._maps, self._name = maps, name

    def __call__(self, _layer: nn.Layer, _inputs: object, output: Tensor) -> None:
        self._maps[self._name] = output


def _chosen(model: ImageModel, out_indices: Sequence[int] | None) -> tuple[Feature, ...]:
    info = model.feature_info()
    if out_indices is None:
        return tuple(info)
    indices = [index + len(info) if index < 0 else index for index in out_indices]
    if not indices or indices != sorted(set(indices)) or indices[0] < 0 or indices[-1] >= len(info):
        strides = ", ".join(str(feature.stride) for feature in info)
        raise ConfigError(
            f"out_indices={list(out_indices)}: expected increasing numbers from 0 to "
            f"{len(info) - 1} (negative ones count from the end); {type(model).__name__} has "
            f"{len(info)} feature maps, of strides {strides}"
        )
    return tuple(info[index] for index in indices)
