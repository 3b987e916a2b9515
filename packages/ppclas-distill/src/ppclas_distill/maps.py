"""Find feature maps of a model, and record them while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ppclas_core.contracts.training import FeatureLoss
from ppclas_core.errors import ConfigError
from ppclas_core.wording import near_names

if TYPE_CHECKING:
    from paddle import Tensor, nn
    from ppclas_core.contracts.image_model import Feature, ImageModel


def find_map(model: ImageModel, loss: FeatureLoss, which: int | str, where: str) -> Feature:
    """The map of ``model`` that ``which`` stands for: a place in ``feature_info()``, or a path.

    A path of several numbered layers (``blocks5`` of ``blocks5.0``, ``blocks5.1``) is the last of
    them. ``where`` is the parameter, for messages.

    Raises:
        ConfigError: there is no such map, or ``loss`` needs to know its channels and nobody does.
    """
    from paddle import nn
    from ppclas_core.contracts.image_model import Feature

    info, title = model.feature_info(), f"objective.losses: {where}"
    if isinstance(which, int):
        if -len(info) <= which < len(info):
            return info[which]
        raise ConfigError(
            f"{title}: expected a number from {-len(info)} to {len(info) - 1}, got {which}."
        )
    sublayers = model.named_sublayers()
    paths = [path for path, layer in sublayers if not isinstance(layer, nn.LayerList)]
    numbered = [path for path in paths if _parent(path) == which]
    if which not in paths and not numbered:
        near = near_names(which, paths) or [feature.layer for feature in info]
        raise ConfigError(
            f"{title}: {type(model).__name__} has no layer {which!r}. Near ones: "
            f"{', '.join(near[:5])}."
        )
    layer = which if which in paths else numbered[-1]
    for feature in info:
        if feature.layer == layer:
            return feature
    if type(loss).layers is not FeatureLoss.layers:
        raise ConfigError(
            f"{title}: {type(loss).__name__} trains a layer that needs to know the map's channels. "
            f"Take one of {', '.join(feature.layer for feature in info)}."
        )
    return Feature(layer, 0, 0)


def _parent(path: str) -> str:
    """What a numbered layer belongs to; empty for others."""
    parent, _, last = path.rpartition(".")
    return parent if last.isdigit() else ""


class MapRecorder:
    """The outputs of some layers of ``model``, by their path in ``named_sublayers()``, since the
    last ``take``.

    Evaluation of a student would keep its last batch in memory for nothing: with ``training_only``,
    passes in eval mode are not recorded.
    """

    def __init__(
        self, model: nn.Layer, layers: Sequence[str], *, training_only: bool = False
    ) -> None:
        self._model, self._training_only = model, training_only
        self._maps: dict[str, Tensor] = {}
        sublayers = dict(model.named_sublayers())
        for path in layers:
            sublayers[path].register_forward_post_hook(self._keeper(path))

    def take(self) -> dict[str, Tensor]:
        """Layer → map [N, C, h, w] float32 of the last pass; they are forgotten here."""
        maps = {path: output.astype("float32") for path, output in self._maps.items()}
        self._maps.clear()
        return maps

    def _keeper(self, path: str) -> Callable[[nn.Layer, object, Tensor], None]:
        def keep(layer: nn.Layer, _inputs: object, output: Tensor) -> None:
            if self._model.training or not self._training_only:
                self._maps[path] = output

        return keep
