"""Record feature maps of a model while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paddle import Tensor, nn


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
