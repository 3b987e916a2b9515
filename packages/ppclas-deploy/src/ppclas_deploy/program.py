"""Trace a bundle's model into a Paddle program. Importing this module imports Paddle."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Literal

import paddle
from paddle import Tensor, nn
from paddle.static import InputSpec
from ppclas_core.bundle import Bundle
from ppclas_core.errors import ExportError


class _Logits(nn.Layer):
    """A model under the input name ``images``, whatever its own ``forward`` calls it."""

    def __init__(self, model: nn.Layer) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)


def save_program(bundle: Bundle, prefix: Path, *, batch: int | None, ir: Literal["pir", "old"]) -> Path:
    """Write ``<prefix>.json`` (``ir="pir"``) or ``<prefix>.pdmodel`` (``"old"``) and ``<prefix>.pdiparams``.

    The program maps ``images`` [batch, 3, H, W] (float32, normalised; any batch size if ``batch`` is None) to logits
    [batch, num_classes], without activation. Returns the structure's path.

    Raises:
        ExportError: the model returns something else.
    """
    height, width = bundle.image_size
    layer = _Logits(bundle.build_model())
    layer.eval()
    _require_logits(layer(paddle.zeros([1, 3, height, width])), bundle.manifest.architecture.num_classes)
    spec = InputSpec([batch, 3, height, width], "float32", "images")
    with paddle.pir_utils.OldIrGuard() if ir == "old" else contextlib.nullcontext():
        paddle.jit.save(paddle.jit.to_static(layer, input_spec=[spec], full_graph=True), str(prefix))
    return prefix.with_name(prefix.name + (".pdmodel" if ir == "old" else ".json"))


def _require_logits(outputs: Any, num_classes: int) -> None:
    if isinstance(outputs, Tensor) and outputs.shape == [1, num_classes]:
        return
    came = f"a tensor {outputs.shape}" if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
    raise ExportError(
        f"an exported model should return logits [N, {num_classes}] and nothing else in eval mode; "
        f"for one image this one returns {came}."
    )
